"""Train Video LoRA in a real ComfyUI: the same numbers as on the embedded host, and a file that its loader reads."""

from __future__ import annotations

import subprocess

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui, python):
    check = subprocess.run([python, "-c", "import peft"], capture_output=True)
    if check.returncode:
        pytest.skip("this ComfyUI's Python has no peft")
    return cases_of(report_of(python, "inside_train.py", comfyui, timeout=900), "train ")


def test_the_node_trains_as_the_embedded_host_does(inside):
    # bf16 in the file: the last bit of a number near 0.2
    assert inside("node")["embedded"] <= 1e-3
    assert inside("node")["report"].startswith("3 clips for Wan tiny, 0 refused")


def test_the_file_works_in_our_node_and_in_cores_loader(inside):
    assert inside("node")["effect"] > 1e-4
    assert inside("node")["ours"] <= 1e-5 and inside("node")["core"] <= 1e-5
    assert inside("node")["restored"] == 0


def test_a_model_of_cores_loader_is_trained_as_ours(inside):
    outcome = inside("core_model")
    if "refused" in outcome:  # ComfyUI 0.8 does not remember files
        assert "does not tell which file it is from" in outcome["refused"]
        return
    assert outcome["weights"] == 0
    assert outcome["effect"] > 1e-4 and outcome["difference"] <= 1e-4


def test_a_model_without_a_file_is_refused(inside):
    assert "does not tell which file it is from" in inside("core_model_without_a_file")
