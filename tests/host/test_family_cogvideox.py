"""CogVideoX inside a real ComfyUI: the same on both hosts, and at home with core's nodes, which have no such family."""

from __future__ import annotations

from pathlib import Path

import pytest

from opent2v.tests.tiny.cogvideox import KINDS

from .report import report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str) -> dict:
    return report_of(python, "inside_cogvideox.py", comfyui)


def test_the_same_latents_on_both_hosts(report):
    assert len(report["hosts"]) == 2 * 9 + 3 * 2
    assert {case: error for case, error in report["hosts"].items() if error > 5e-5} == {}


def test_cores_arithmetic_of_v_models_is_ours(report):
    for kind in ("2b", "5b"):
        found = report["core sampling"][kind]
        assert found["timesteps"] is True and found["class"] == ["ModelSamplingDiscrete", "V_PREDICTION"]
        assert found["sigma"] <= 1e-5 and found["input"] <= 1e-5 and found["denoised"] <= 1e-5, found


def test_cores_euler_is_our_euler(report):
    assert set(report["core euler"]) == set(KINDS) - {"1.5-i2v"}
    assert {kind: error for kind, error in report["core euler"].items() if error > 1e-3} == {}


def test_core_ksampler_takes_our_models(report):
    assert len(report["core ksampler"]) == 3 * len(KINDS)
    assert all(report["core ksampler"].values()), report["core ksampler"]


def test_latents_have_a_format_of_their_own(report):
    """Neither host has one for this family; another family's preview factors would show nonsense."""
    found = report["latent format"]
    assert found.pop("in") <= 1e-6 and found.pop("out") <= 1e-6
    assert found == {
        "name": "CogVideoX", "is plain": True, "is Wan's": False, "channels": 16, "dimensions": 3, "factors": None,
        "preview model": None,
    }  # fmt: skip


def test_core_nodes_work_on_the_vae_and_the_text_encoder(report):
    assert report["core decode"] <= 1e-5 and report["core text"] == 0
    assert report["core tiled"] == [[33, 96, 96, 3]] * 3
    assert report["core encode"] == [[1, 16, 1, 4, 6], [1, 16, 3, 4, 6], [1, 16, 5, 4, 6]]


def test_half_the_storage_gives_nearly_the_same(report):
    assert set(report["bf16"]) == set(KINDS)
    assert all(0 < error < 0.05 for error in report["bf16"].values()), report["bf16"]


def test_a_model_without_its_picture_says_so_in_comfyui_too(report):
    assert report["without picture"].startswith(
        "CogVideoX tiny 1.5-i2v starts from a picture and the conditioning has none."
    )
