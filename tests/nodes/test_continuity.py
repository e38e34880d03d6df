"""Measure Long Video: a line for each joint, drift and loop, and numbers that cannot be read."""

from __future__ import annotations

import pytest
import torch

from opent2v.tests.nodes.calls import call, remarks


def test_a_line_for_each_joint_and_two_more():
    images = torch.rand(9, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    audio = {"waveform": torch.zeros(1, 1, 9000), "sample_rate": 16000}
    (report, _), ui = call("OpenT2VMeasureVideo", images=images, joints="6, 3,3", audio=audio)
    lines = report.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "joint at frame 3", "joint at frame 6", "drift a second", "end to start",
    ]  # fmt: skip
    assert "wave 0.00" in lines[0] and report == remarks(ui)
    assert len(call("OpenT2VMeasureVideo", images=images)[0][0].splitlines()) == 2


def test_numbers_that_cannot_be_read_are_named():
    with pytest.raises(ValueError, match="joints holds 'seventeen'; expected whole numbers with commas between"):
        call("OpenT2VMeasureVideo", images=torch.rand(9, 16, 16, 3), joints="17, seventeen")
