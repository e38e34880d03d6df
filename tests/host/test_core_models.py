"""Every class of model that ComfyUI loads: one of ours, exactly, or refused by its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
# Class -> what the instances of it are taken for.
OURS = {
    "GenmoMochi": ["Mochi 1"],
    "LTXAV": ["LTX-2 2.0"],
    "LTXV": ["LTX-Video 2B", "LTX-Video 13B"],
    "MiniMaxH3": ["MiniMax H3"],
    "HunyuanVideo": ["HunyuanVideo T2V"],
    "HunyuanVideoI2V": ["HunyuanVideo I2V"],
    "HunyuanVideoSkyreelsI2V": ["HunyuanVideo T2V"],
    "WAN21_T2V": ["Wan 2.1 T2V 1.3B", "Wan 2.1 T2V 14B", "Wan 2.2 I2V A14B"],
    "WAN21_I2V": ["Wan 2.1 I2V 14B"],
    "WAN22_T2V": ["Wan 2.2 TI2V 5B"],
}
# Class -> how it is called where it is refused.
NAMES = {
    "CogVideoX_Inpaint": "CogVideoX-Fun (inpainting)",
    "CosmosI2V": "Cosmos 1 video to world",
    "CosmosI2VPredict2": "Cosmos Predict2 video to world",
    "CosmosT2IPredict2": "Cosmos Predict2 text to image",
    "CosmosT2V": "Cosmos 1 text to world",
    "HunyuanImage21": "HunyuanImage 2.1",
    "HunyuanImage21Refiner": "HunyuanImage 2.1's refiner",
    "HunyuanVideo15": "HunyuanVideo 1.5",
    "HunyuanVideo15_SR_Distilled": "HunyuanVideo 1.5's upscaler",
    "Kandinsky5": "Kandinsky 5",
    "Kandinsky5Image": "Kandinsky 5 Image",
    "WAN21_Camera": "Wan 2.1 Fun Camera",
    "WAN21_CausalAR_T2V": "causal Wan (Self-Forcing and others)",
    "WAN21_FlowRVS": "FlowRVS",
    "WAN21_FunControl2V": "Wan 2.1 Fun Control",
    "WAN21_HuMo": "HuMo",
    "WAN21_SCAIL": "SCAIL",
    "WAN21_SCAIL2": "SCAIL 2",
    "WAN21_Vace": "Wan VACE",
    "WAN22_Animate": "Wan 2.2 Animate",
    "WAN22_Camera": "Wan 2.2 Fun Camera",
    "WAN22_S2V": "Wan 2.2 S2V",
    "WAN22_WanDancer": "WanDancer",
    "WAN_Animate2": "Wan Animate 2",
}
# Not built here, and of no family's kind: their networks have neither blocks nor names in common with any.
UNBUILT = {"SVD_img2vid", "SeedVR2"}


@pytest.fixture(scope="module")
def core(comfyui: Path, python: str):
    return cases_of(report_of(python, "inside_core_models.py", comfyui, timeout=900), "core_models ")


def test_every_class_is_ours_or_refused_by_its_name(core):
    report = core("classes")
    assert len(report["found"]) > 60
    for kind, said in report["found"].items():
        if kind in OURS:
            assert said == OURS[kind], kind
        elif kind in NAMES:
            refusals = (
                f"This MODEL is {NAMES[kind]}, and our nodes do not know how it is sampled.",
                f"No family here recognises this MODEL ({NAMES[kind]}), so its sizes and schedule are not known",
            )
            assert said, kind
            for one in said:
                assert one.startswith(refusals), f"{kind}: {one}"
        elif not kind.startswith("CogVideoX"):
            assert kind in UNBUILT or kind in report["others"], (
                f"{kind} is new in this ComfyUI: say in inside_core_models.py what it is built from, or that it makes "
                "no videos"
            )


def test_of_cores_cogvideox_only_what_the_makers_compute_is_taken(core):
    found = core("classes")["found"]
    if "CogVideoX_T2V" not in found:  # ComfyUI before 0.21
        assert core("cogvideox_15") == {}
        return
    positions = "gives tokens other positions than the model's makers"
    pictures = "scales the latents of pictures in another way than the model's makers"
    for kind, titles in (
        ("CogVideoX_T2V", {"1.5 5B": "", "5B": positions, "2B": positions}),
        ("CogVideoX_I2V", {"1.5 5B I2V": pictures, "5B I2V": positions}),
    ):
        for said, (title, differs) in zip(found[kind], titles.items(), strict=True):
            assert said == (
                f"This MODEL is CogVideoX {title} of ComfyUI's own loader, which {differs}: our nodes would make "
                "another video than theirs. Load the same file with Load Video Diffusion Model."
                if differs
                else f"CogVideoX {title}"
            )


def test_cores_cogvideox_15_in_our_sampler_is_ours(core):
    found = core("cogvideox_15")
    if found:
        assert len(found["apart"]) == 3
        assert {name: apart for name, apart in found["apart"].items() if apart > 1e-5} == {}
        assert found["still core's"] is True


def test_cores_hunyuan_video_by_its_older_and_newer_names(core):
    found = core("hunyuan_video")
    for spelling in ("scale", "weight"):
        assert found[spelling]["title"] == "HunyuanVideo T2V"
    # ComfyUI before 0.14 reads the older names only; ours reads both there as well.
    apart = {spelling: one["apart"] for spelling, one in found.items() if isinstance(one, dict) and "apart" in one}
    assert "scale" in apart and max(apart.values()) < 1e-4
    assert found["alike"] == 0 and found["saved"] < 1e-4


def test_an_empty_latent_of_another_scale_has_the_size_that_ksampler_makes(core):
    found = core("empty_latents")
    refused, fitted = found.pop("uneven")
    assert refused == (
        "The latent is 21 x 21; this model needs multiples of 2 (pictures in multiples of 24 pixels). Make it with "
        "Empty Video Latent."
    )
    assert fitted == [1, 16, 1, 22, 22]
    assert len(found) >= 4
    for name, (theirs, ours, left) in found.items():
        assert ours == theirs and left == ["samples"], name
    if "of another length" in found:  # hosts whose nodes state a scale
        assert found["EmptyLTXVLatentVideo"][1] == [1, 16, 3, 16, 16] and found["of another length"][1][2] == 6


def test_cores_tiny_vae_decodes_in_our_nodes(core):
    found = core("tiny_vae")
    assert found["shape"] == [9, 64, 64, 3] and found["decoded"] <= 1e-6 and found["in pieces"] <= 1e-6
