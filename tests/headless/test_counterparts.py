"""The error about a foreign node names ours."""

from __future__ import annotations

import pytest

from opent2v.headless.counterparts import COUNTERPARTS
from opent2v.headless.workflow import WorkflowError, load_workflow, validate
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS


def test_every_counterpart_is_a_node_of_this_pack():
    assert set(COUNTERPARTS.values()) <= NODE_CLASS_MAPPINGS.keys()
    assert not COUNTERPARTS.keys() & NODE_CLASS_MAPPINGS.keys()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("KSampler", r"KSampler is a node of ComfyUI itself and needs ComfyUI; .* or use .*OpenT2VSampler"),
        ("PreviewAny", r"PreviewAny is a node of ComfyUI itself and needs ComfyUI; .* or use this pack's nodes"),
        ("VHS_VideoCombine", r"unknown node class VHS_VideoCombine; use .*OpenT2VSaveVideo.* instead\. Headless, only"),
    ],
)
def test_the_error_names_it(kind, message):
    graph = load_workflow({"1": {"class_type": kind, "inputs": {}}}, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    with pytest.raises(WorkflowError, match=message):
        validate(graph, NODE_CLASS_MAPPINGS)
