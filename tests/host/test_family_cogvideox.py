"""CogVideoX inside a real ComfyUI: the same on both hosts, and at home with core's nodes, which have no such family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.tiny.cogvideox import KINDS

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_cogvideox.py gave."""
    return cases_of(report_of(python, "inside_cogvideox.py", comfyui), "cogvideox ")


def test_the_same_latents_on_both_hosts(inside):
    assert len(inside("hosts")) == 2 * 9 + 3 * 2
    assert {case: error for case, error in inside("hosts").items() if error > 5e-5} == {}


@pytest.mark.parametrize("kind", ["5b-i2v", "1.5"])
def test_normalised_attention_guidance_is_the_same_on_both_hosts(inside, kind):
    """On core's own network: test_core_models.py; against the paper's formula: tests/sampling/test_nag_joint.py."""
    found = inside("nag")[kind]
    assert found["apart"] <= 1e-5 and found["without"] > 1e-3


def test_cores_arithmetic_of_v_models_is_ours(inside):
    for kind in ("2b", "5b"):
        found = inside("core_sampling")[kind]
        assert found["timesteps"] is True and found["class"] == ["ModelSamplingDiscrete", "V_PREDICTION"]
        assert found["sigma"] <= 1e-5 and found["input"] <= 1e-5 and found["denoised"] <= 1e-5, found


def test_cores_euler_is_our_euler(inside):
    assert set(inside("core_euler")) == set(KINDS) - {"1.5-i2v"}
    assert {kind: error for kind, error in inside("core_euler").items() if error > 1e-3} == {}


def test_core_ksampler_takes_our_models(inside):
    assert len(inside("core_ksampler")) == 3 * len(KINDS)
    assert all(inside("core_ksampler").values()), inside("core_ksampler")


def test_latents_have_a_format_of_their_own(inside):
    """Neither host has one for this family; another family's preview factors would show nonsense."""
    found = dict(inside("latent_format"))
    assert found.pop("in") <= 1e-6 and found.pop("out") <= 1e-6
    assert found == {
        "name": "CogVideoX", "is plain": True, "is Wan's": False, "channels": 16, "dimensions": 3, "factors": None,
        "preview model": None,
    }  # fmt: skip


def test_core_nodes_work_on_the_vae_and_the_text_encoder(inside):
    results = inside("core_nodes")
    assert results["decode"] <= 1e-5 and results["text"] == 0
    assert results["tiled"] == [[33, 96, 96, 3]] * 3
    assert results["encode"] == [[1, 16, 1, 4, 6], [1, 16, 3, 4, 6], [1, 16, 5, 4, 6]]


def test_half_the_storage_gives_nearly_the_same(inside):
    assert set(inside("bf16")) == set(KINDS)
    assert all(0 < error < 0.05 for error in inside("bf16").values()), inside("bf16")


def test_a_model_without_its_picture_says_so_in_comfyui_too(inside):
    assert inside("without_picture").startswith(
        "CogVideoX tiny 1.5-i2v starts from a picture and the conditioning has none."
    )
