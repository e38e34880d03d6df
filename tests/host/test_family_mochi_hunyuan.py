"""Mochi and HunyuanVideo: both hosts agree, core's networks give what ours give from the same file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
NETWORKS = (
    ("mochi", "prediction"),
    ("mochi_vae", "decode"),
    ("mochi_vae", "encode"),
    ("hunyuan_video_t2v", "prediction"),
    ("hunyuan_video_image_to_video", "prediction"),
)


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_mochi_hunyuan.py gave."""
    return cases_of(report_of(python, "inside_mochi_hunyuan.py", comfyui), "mochi_hunyuan ")


@pytest.mark.parametrize("family", ["mochi", "hunyuan"])
def test_both_hosts_agree_and_core_nodes_take_our_objects(inside, family):
    hosts = inside("hosts")[family]
    assert hosts["conditioning"] <= 1e-5 and hosts["latents"] <= 1e-4 and hosts["frames"] <= 1e-4
    assert hosts["core text"] <= 1e-6
    assert hosts["ksampler"] is True


@pytest.mark.parametrize(("name", "what"), NETWORKS)
def test_cores_own_network_gives_what_ours_gives(inside, name, what):
    result = inside(name)[what]
    assert result["size"] > 0.01
    assert result["difference"] <= 1e-4


@pytest.mark.parametrize(
    ("model", "family", "task"),
    [
        ("mochi", "mochi", "text"),
        ("hunyuan_video_t2v", "hunyuan_video", "text"),
        ("hunyuan_video_image_to_video", "hunyuan_video", "image"),
    ],
)
def test_cores_model_in_our_sampler(inside, model, family, task):
    found = inside(model)["in our sampler"]
    assert (found["family"], found["task"], found["same schedule"]) == (family, task, True)
    assert found["apart"] <= 1e-4 and found["scale"] > 1
    assert found["clips"] <= 1e-5 * found["scale"]


@pytest.mark.parametrize("model", ["mochi", "hunyuan_t2v", "hunyuan_masked", "hunyuan_image_to_video"])
def test_normalised_attention_guidance_is_the_same_on_both_hosts_and_on_cores_network(inside, model):
    """The embedded host's is compared with the paper's formula in tests/sampling/test_nag_joint.py."""
    found = inside(f"nag_{model}")
    assert found["ours"] <= 1e-5 and found["embedded"] <= 1e-5 and found["without"] > 1e-3


def test_cores_hunyuan_video_is_told_cfg_as_guidance(inside):
    result = inside("guidance")
    assert result["effect"] > 1e-2
    assert result["set by a node"] == 0  # a node in front, such as FluxGuidance, wins over cfg
    assert result["calls"] == 9  # three runs of three steps, one call each: no negative prompt


def test_cores_relatives_of_hunyuan_video_are_refused(inside):
    assert inside("relative").startswith("This MODEL is HunyuanImage 2.1, and our nodes do not know how it is sampled.")
