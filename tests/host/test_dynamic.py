"""Dynamic VRAM loading, acted out on the CPU (`dynamic.py`): our MODELs, CLIPs and VAEs, and LoRAs on core's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.loaders.lora.models import FAMILIES
from opent2v.tests.loaders.lora.table import CORE_CELLS, HOST_CELLS

from .report import cases_of, report_of

pytestmark = pytest.mark.host
CLOSE = 2e-6


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    report = report_of(python, "inside_dynamic.py", comfyui, timeout=1800)
    if not report:
        pytest.skip("this ComfyUI is older than dynamic loading")
    return cases_of(report, "dynamic ")


def wrong(formats: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: one for name, one in formats.items() if one["off"] > 5 * CLOSE or one["effect"] <= 0.02}


@pytest.mark.parametrize("family", ["wan", "ltx_video", "hunyuan_video"])
def test_every_lora_format_on_cores_own_models(inside, family):
    found = inside(f"core model {family}")
    assert found["dynamic"] is True and found["untouched"] is True
    assert set(found["formats"]) == {name for one, name in CORE_CELLS if one == family}
    assert wrong(found["formats"]) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_our_models_compute_what_plain_ones_do(inside, family):
    """With weights that come for the first time, that are there already, and that find no room."""
    found = inside(f"ours {family}")
    assert found["dynamic"] is True and found["plain"] is True
    # VideoCrafter2's latents of random weights are some 25 wide, all others' about 1.
    close = 5 * CLOSE if family == "videocrafter" else CLOSE
    assert found["off"] <= close and found["prompt"] <= CLOSE and found["untouched"] is True


@pytest.mark.parametrize("family", FAMILIES)
def test_every_lora_format_on_our_models(inside, family):
    found = inside(f"ours {family}")
    assert set(found["formats"]) == {name for one, name in HOST_CELLS if one == family}
    assert wrong(found["formats"]) == {}


def test_a_change_is_not_rounded_into_fp8_weights(inside):
    for family, found in inside("small_storage").items():
        assert max(found["off"]) <= 2e-5 and found["rounded"] > 500 * max(found["off"]), family
        assert found["untouched"] is True


def test_the_host_makes_our_models_again(inside):
    found = inside("made_again")
    assert found.pop("untouched") is True
    assert set(found) == {"plain", "delegate", "cpu", "default", "another", "compiled"}
    for name, one in found.items():
        assert one["off"] <= CLOSE and one["own"] is True and one["of"] is True, name
        assert one["dynamic"] is (name == "another"), name


def test_a_lora_hook_on_the_prompt(inside):
    found = inside("hooks")
    assert found["off"] <= CLOSE and found["untouched"] is True


def test_the_host_makes_our_clips_and_vaes_again(inside):
    found = inside("text_and_vae")
    for name in ("cpu", "plain"):
        assert found[name] <= CLOSE and found[f"{name} own"] is True and found[f"{name} dynamic"] is False
    assert found["vae"] == 0 and found["vae own"] is True


def test_model_save_writes_a_lora_once(inside):
    found = inside("saved")
    assert found["apart"] <= 1e-6 and found["untouched"] is True


def test_both_prompts_at_once_on_two_gpus(inside):
    found = inside("several_gpus")
    assert found["off"] <= 1e-5 < found["effect"] and found["untouched"] is True
    assert set(found["ran"]) == {"cpu", "cpu:0"} and len(set(found["ran"].values())) == 1
    assert found["cached"].startswith("SamplingError: This MODEL is split over several GPUs by MultiGPU CFG Split")
