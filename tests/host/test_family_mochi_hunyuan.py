"""Mochi and HunyuanVideo: both hosts agree, core's networks give what ours give from the same file."""

from __future__ import annotations

from pathlib import Path

import pytest

from .report import report_of

pytestmark = pytest.mark.host
NETWORKS = ("mochi prediction", "mochi decode", "mochi encode", "hunyuan_video_t2v", "hunyuan_video_image_to_video")


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str) -> dict:
    return report_of(python, "inside_mochi_hunyuan.py", comfyui)


@pytest.mark.parametrize("family", ["mochi", "hunyuan"])
def test_both_hosts_agree_and_core_nodes_take_our_objects(report, family):
    hosts = report[f"{family} hosts"]
    assert hosts["conditioning"] <= 1e-5 and hosts["latents"] <= 1e-4 and hosts["frames"] <= 1e-4
    assert hosts["core text"] <= 1e-6
    assert hosts["ksampler"] is True


@pytest.mark.parametrize("network", NETWORKS)
def test_cores_own_network_gives_what_ours_gives(report, network):
    assert report[network]["size"] > 0.01
    assert report[network]["difference"] <= 1e-4


@pytest.mark.parametrize(
    ("model", "family", "task"),
    [
        ("mochi", "mochi", "text"),
        ("hunyuan_video_t2v", "hunyuan_video", "text"),
        ("hunyuan_video_image_to_video", "hunyuan_video", "image"),
    ],
)
def test_cores_model_in_our_sampler(report, model, family, task):
    found = report[f"{model} in our sampler"]
    assert (found["family"], found["task"], found["same schedule"]) == (family, task, True)
    assert found["apart"] <= 1e-4 and found["scale"] > 1


def test_cores_hunyuan_video_is_told_cfg_as_guidance(report):
    assert report["guidance"]["effect"] > 1e-2
    assert report["guidance"]["set by a node"] == 0  # a node in front, such as FluxGuidance, wins over cfg
    assert report["guidance"]["calls"] == 9  # three runs of three steps, one call each: no negative prompt


def test_cores_relatives_of_hunyuan_video_are_refused(report):
    assert report["relative"].startswith("This MODEL is HunyuanImage 2.1, and our nodes do not know how it is sampled.")
