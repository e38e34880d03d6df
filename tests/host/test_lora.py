"""LoRA on a real ComfyUI: our MODELs and core's own, whole and partly loaded, beside weights merged by hand.

Of the table of formats and families our MODELs meet `HOST_CELLS` here: every format and every family. All its cells are
tried on the embedded host, by tests/loaders/lora/test_formats.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES
from opent2v.tests.loaders.lora.table import CORE_CELLS, HOST_CELLS

from .report import cases_of, report_of

pytestmark = pytest.mark.host
CLOSE = 1e-5


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    """What a case of `cases_lora*.py` found; all of them run once, in one ComfyUI."""
    return cases_of(report_of(python, "inside_lora.py", comfyui, timeout=1800))


def holds(found: dict) -> bool:
    """Whole and partly loaded give what merging by hand gives, and a part was really left behind.

    A newer host leaves all of it behind where one layer is much of a tiny model.
    """
    return found["whole"] <= CLOSE and found["partly"] <= CLOSE and all(share < 1 for share in found["shares"])


@pytest.mark.parametrize(("family", "name"), HOST_CELLS)
def test_our_models(inside, family, name):
    found = inside(f"lora ours {family}")["formats"][name]
    assert holds(found) and found["effect"] > 0.02


@pytest.mark.parametrize(("family", "name"), CORE_CELLS)
def test_cores_own_models(inside, family, name):
    found = inside(f"lora core model {family}")["formats"][name]
    assert holds(found) and found["effect"] > 0.02


@pytest.mark.parametrize("family", sorted({family for family, _ in CORE_CELLS}))
def test_cores_own_models_are_restored_bit_for_bit(inside, family):
    found = inside(f"lora core model {family}")
    assert found["untouched"] is True
    classes = {"wan": "WanModel", "ltx_video": "LTXVModel", "hunyuan_video": "HunyuanVideo", "mochi": "AsymmDiTJoint"}
    assert found["class"] == classes[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_our_models_are_restored_bit_for_bit(inside, family):
    found = inside(f"lora ours {family}")
    assert found["untouched"] is True
    assert all(0 < share < 1 for one in found["formats"].values() for share in one["shares"])


@pytest.mark.parametrize("family", FAMILIES)
def test_cores_lora_loader_on_our_models(inside, family):
    found = inside(f"lora core loader {family}")
    assert {"diffusers", "original", "kohya"} <= set(found["formats"]) <= set(FORMATS)
    assert {name: one for name, one in found["formats"].items() if not holds(one)} == {}
    assert found["untouched"] is True


def test_cores_lora_hook_on_our_models(inside):
    found = inside("lora hooks")
    assert max(found["diffusers"], found["original"], found["kohya"]) <= CLOSE and found["untouched"] is True


def test_text_encoders(inside):
    found = inside("lora text")
    assert len(found) == 2 * (4 * 3 + 1)
    wrong = {
        name: value
        for name, value in found.items()
        if (value <= 1e-3 if name.endswith("effect") else value > (0 if name.endswith("restored") else CLOSE))
    }
    assert wrong == {}


def test_strengths_stack_and_block_filter(inside):
    found = inside("lora strengths")
    assert found.pop("untouched") is True and found.pop("0.0") == 0
    assert {name: value for name, value in found.items() if value > CLOSE} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_fp8_storage_is_not_rounded_into(inside, family):
    found = inside("lora small_storage")[family]
    assert found["computes"] == "torch.float32" and found["floor"] <= CLOSE
    for name, one in found["formats"].items():
        assert holds(one), name
        assert one["rounded"] > 100 * CLOSE  # what a merge into the storage would be off
    assert found["untouched"] is True


def test_models_of_others_are_asked_as_without_us(inside):
    found = inside("lora others")
    assert found == {"model_lora_keys_unet": True, "model_lora_keys_clip": True, "load_lora": True, "twice": True}


def test_a_bypass_loader_fails_rather_than_dropping_a_change(inside):
    assert inside("lora bypassed") == (
        "FamilyError: A bypass LoRA loader cannot apply this LoRA (lora on a.weight). Use Load Video LoRA, or "
        "ComfyUI's LoRA loader without bypass."
    )


def test_a_model_of_which_the_host_takes_a_part_out_again(inside):
    found = inside("lora partly_unloaded")
    # Layers with a change beside their fp8 weights stay: the host would add it a second time to what it takes out.
    assert found["freed"] > 0.1
    assert found["first"] <= CLOSE and found["again"] <= CLOSE and found["untouched"] is True


def test_a_step_caches_profile_is_of_the_loras_too(inside):
    found = inside("lora profile")
    assert found.pop("untouched") is True
    assert found.pop("none") == found.pop("the same") == "sampled"
    assert len(found) == 5
    for name, said in found.items():
        assert said.startswith("SamplingError: The step cache's profile was made with other LoRAs."), name


def test_model_save_after_our_node(inside):
    found = inside("lora saved")
    assert found["apart"] <= 1e-6 and found["untouched"] is True


def test_bad_files_are_refused_and_the_host_goes_on(inside):
    found = inside("lora bad_files")
    assert "cut short" in found["cut"] and "pickle" in found["pickle"] and "no tensor" in found["empty"]
    assert "holds NaN" in found["nan"] and "0 of 24 match" in found["other"]
    assert "0 of 24 match" in found["core's loader"] and "Load Video LoRA says more of it" in found["core's loader"]
    assert all(found[name].startswith(("ModelFileError: ", "FamilyError: ")) for name in found if name != "untouched")
    assert found["untouched"] is True


def test_on_scaled_fp8_the_change_is_not_rounded(inside):
    """As far off as the scaled weights are without a LoRA; core's own loader rounds the change into fp8 as well."""
    found = inside("lora core model scaled fp8")
    assert found["effect"] > 0.1 and found["restored"]
    assert found["with"] <= 1.1 * found["without"] + 1e-5
    assert found["with"] < found["core's own"]
    assert "computing precision" in found["report"]
