"""Packed files of every format in a real ComfyUI, beside the numbers that they stand for.

Where ComfyUI has its own quantised layers (0.33), ours are those, and compute as they do: int8 and w4a8 round the
inputs of each layer to 8 bits (relative error 5e-3 a layer), w4a4 to 4 (0.1 a layer). No kernel for fp8 or fp4 is on a
CPU, so those compute with the numbers of the weights. Everywhere else, and wherever a LoRA is beside the weights, all
do.

Tests: host/comfyui/quantised.py, host/comfyui/saving.py, host/comfyui/finish_loading.py
"""

from __future__ import annotations

import pytest

from opent2v.tests.tiny import packed

from .report import cases_of, report_of

pytestmark = pytest.mark.host
CLOSE = 1e-5
FAMILIES = ("wan", "ltx_video", "hunyuan_video")
# What the kernels that round a layer's inputs may add to the sampled latents: a part of them.
INPUTS_ROUNDED = {"int8": 0.03, "int8_tensor": 0.03, "int8_convrot": 0.03, "asym_w4a8": 0.03, "convrot_w4a4": 0.3}
# Formats that ComfyUI 0.33's layers do not hold as the file has them.
OURS = ("fp8_rows", "awq_w4a16")
# What packing a changed weight anew may add, where ModelSave does: a part of the latents. The tests' own codebook of
# w4a8 suits no other weights.
PACKED_ANEW = {"nvfp4": 0.2, "nvfp4_awq": 0.2, "convrot_w4a4": 0.4, "asym_w4a8": 0.6}


@pytest.fixture(scope="module")
def inside(comfyui, python):
    return cases_of(report_of(python, "inside_packed_formats.py", comfyui, timeout=1800), "packed ")


@pytest.fixture(scope="module")
def dynamic(comfyui, python):
    report = report_of(python, "inside_packed_dynamic.py", comfyui, timeout=1800)
    if not report:
        pytest.skip("this ComfyUI is older than dynamic loading")
    return cases_of(report, "packed ")


def is_held(found) -> bool:
    return found["core's"] == found["layers"] > 0


def alone_limit(kind, found) -> float:
    return INPUTS_ROUNDED.get(kind, CLOSE) if is_held(found) else CLOSE


def check(family, kind, found):
    """What is true of every format, however it is loaded."""
    # Wan's LoRA sits on every packed layer; the other families' leave some, which still round their inputs.
    lora_limit = CLOSE if family == "wan" else alone_limit(kind, found)
    assert found["alone"] <= alone_limit(kind, found) and found["in part"] <= alone_limit(kind, found)
    assert abs(found["size"] - 1) < 0.1
    assert found["effect"] > 1e-3
    for way in ("lora", "lora again", "lora in part", "core's lora", "core's lora in part"):
        assert found[way] <= lora_limit, way
    assert found["strength 0"] is True and found["kept"] is True and found["fingerprint"] is True
    assert packed.KINDS[kind][1] in found["report"] and "weights stay as they are" in found["report"]


@pytest.mark.parametrize("kind", packed.KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_what_its_numbers_do_and_loras_beside_them(inside, family, kind):
    found = inside(family)[kind]
    check(family, kind, found)
    assert found["core's"] in (0, found["layers"]) and found["dynamic"] is False


@pytest.mark.parametrize("kind", packed.KINDS)
def test_dynamic_loading_changes_nothing(dynamic, kind):
    found = dynamic("wan")[kind]
    check("wan", kind, found)
    assert found["dynamic"] is is_held(found) is (kind not in OURS)


@pytest.mark.parametrize("family", FAMILIES)
def test_cores_own_model_of_the_file_samples_the_same(inside, family):
    """To 1e-4, and where layers round their inputs, to 1e-5 without that rounding.

    With it they are as near as core is to itself when the numbers of its prompt change by a millionth: one input that
    is rounded the other way moves all later layers.
    """
    compared = {kind: found for kind, found in inside(family).items() if "core" in found}
    if any(is_held(found) for found in inside(family).values()):
        assert set(packed.KINDS) - set(OURS) == set(compared)
    rounded = {kind: found for kind, found in compared.items() if "unrounded" in found}
    assert {
        kind: found["core"] for kind, found in compared.items() if kind not in rounded and found["core"] > 1e-4
    } == {}
    for kind, found in rounded.items():
        assert found["unrounded"] <= CLOSE and found["rounding"] > 1e-3, kind
        assert found["core"] <= INPUTS_ROUNDED[kind], kind
    if rounded:
        own = max(found["core to itself"] for found in rounded.values())
        assert own > 1e-4 and max(found["core"] for found in rounded.values()) <= 3 * own


@pytest.mark.parametrize("kind", packed.KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_loads_again_or_is_refused_by_name(inside, family, kind):
    found = inside(family)[kind]
    if is_held(found):
        assert found["saved"] <= CLOSE
        assert found["saved with lora"] <= PACKED_ANEW.get(kind, 0.1)
    else:
        assert found["refused"] == (
            f"FamilyError: This MODEL's weights are stored as {packed.KINDS[kind][1]}, which cannot be saved again. "
            "Load its file with dtype bf16 or fp16, then save."
        )


@pytest.mark.parametrize("kind", ["fp8", "nvfp4_awq", "awq_w4a16", "int8_convrot"])
def test_nodes_of_core(inside, kind):
    found = inside("nodes_of_core")[kind]
    limit = INPUTS_ROUNDED.get(kind, CLOSE)
    assert {node: found[node] for node in ("KSampler", "TorchCompileModel", "EasyCache") if found[node] > limit} == {}
    assert found["copy"] is True
    assert found["hook"].startswith("PackedInPlace: LoRA hooks of a prompt and merges of models work on the weights")
    assert f"stored as {packed.KINDS[kind][1]}, where a change would be rounded" in found["hook"]


def test_cores_own_model_with_our_lora(inside):
    """AWQ among them, which core's own merge gets wrong; saving after a partial load, which fails on core's alone."""
    for kind, found in inside("cores_own_model").items():
        assert found["lora"] <= CLOSE and found["lora in part"] <= CLOSE, kind
        assert found["alone"] <= 1e-4 and found["saved"] <= PACKED_ANEW.get(kind, 0.05), kind


@pytest.mark.parametrize("kind", ["fp8", "int8_convrot", "nvfp4", "awq_w4a16"])
@pytest.mark.parametrize("encoder", ["t5", "umt5"])
def test_text_encoders(inside, encoder, kind):
    found = inside("text_encoders")[f"{encoder} {kind}"]
    assert found["layers"] >= 14 and found["size"] < 0.4
    assert found["off"] <= INPUTS_ROUNDED.get(kind, CLOSE)
    assert found["refused"].startswith(f"FamilyError: This CLIP's weights are stored as {packed.KINDS[kind][1]}, which")
