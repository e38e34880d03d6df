"""Attention of our MODELs goes through the host's, and is bit for bit torch's where the host takes that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.loaders.lora.models import FAMILIES

from .report import cases_of, report_of

pytestmark = pytest.mark.host
# Calls of torch's attention that no processor makes: Mochi's pool of the prompt, which ComfyUI leaves to torch as well.
OTHERS = {"mochi": 1}


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    return cases_of(report_of(python, "inside_attention.py", comfyui, timeout=900), "attention ")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(inside, family):
    found = inside(family)
    assert found["processors"] > 0
    assert found["same"] is True  # with the host's own choice
    # An override of the host's attention is asked each time, with what the host knows of the call, and then no more.
    assert found["seen"] == found["calls"] - OTHERS.get(family, 0) > 0
    assert found["overridden"] is True and found["taken away"] is True
    assert found["effect"] > 0.01
    assert max(found["functions"].values()) <= 2e-5  # the host's own ways of computing it, masks included


def test_the_function_that_a_flag_has_chosen(inside):
    found = inside("flags")
    assert found["same"] is True and found["calls"] == found["wanted"] > 0


def test_cores_node_of_attention_backends(inside):
    found = inside("node")
    assert found is None or (found["same"] is True and found["calls"] > 0)  # the node is newer than 0.8


def test_masks_heads_and_scales(inside):
    found = inside("numbers")
    assert len(found) == 28
    assert {name: off for name, off in found.items() if off > 1e-6} == {}


def test_torch_compile_makes_one_graph_of_it(inside):
    found = inside("compiled")
    assert max(found["before"], found["off"], found["overridden"]) <= 1e-6
