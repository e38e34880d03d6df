"""LoRAs of families whose layers share names and sizes, at the published sizes: the verdict names the right one.

Tests: loaders/lora/origin.py
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders.lora import match, origin_text, read_lora
from opent2v.tests.loaders.lora import sites
from opent2v.tests.loaders.lora.real_models import REAL, meta_state, model, write

OPEN_SORA, HUNYUAN, VIDEOCRAFTER = "Open-Sora 2.0", "HunyuanVideo", "VideoCrafter2"


@pytest.fixture
def lora(tmp_path) -> Callable:
    def lora(name: str, prefix="diffusion_model.", flat=False, diffusers=False, fused=False, comfyui=False, keep="."):
        """A LoRA for every layer of a model whose original name has `keep` in it."""
        state, shapes = meta_state(name), {}
        every = [s for s in REAL[name][1].matrices if re.search(keep, s.original)]
        if fused:
            every = [joined for site in every for joined in _fused(site)]
        for site in [one for s in every for one in s.alone()] if diffusers else every:
            rows, columns = site.weight(state).shape
            layer = sites.in_comfyui(site.original) if comfyui else site.original
            stem = prefix + (layer.replace(".", "_") if flat else layer)
            shapes |= {f"{stem}.lora_down.weight": (2, columns), f"{stem}.lora_up.weight": (rows, 2)}
        write(tmp_path / "any.safetensors", shapes, {})
        return read_lora(tmp_path / "any.safetensors")

    return lora


def _fused(site: sites.Site) -> list[sites.Site]:
    """A published layer of Open-Sora as where its attention is fused: qkv stands where query did."""
    if re.search(r"\.[kv]_(proj|mlp)$|attn\.[kv]_proj$", site.original):
        return []
    if not site.original.endswith("q_proj"):
        return [site]
    (query,) = site.parts
    if "single" in site.original:
        others = [query.replace("to_q", n) for n in ("to_k", "to_v")] + [query.replace("attn.to_q", "proj_mlp")]
        return [sites.Site(site.original.replace("q_proj", "linear1"), (query, *others))]
    others = tuple(query.replace("_q", f"_{n}") for n in "kv")
    return [sites.Site(site.original.replace("q_proj", "qkv"), (query, *others))]


DOUBLE, SINGLE, ATTENTION = r"double_blocks", r"single_blocks", r"_blocks.*(attn|linear|q_proj|k_proj|v_mlp)"
SPELLED = {
    "published": {},
    "kohya": {"prefix": "lora_unet_", "flat": True},
    "diffusers": {"prefix": "transformer.", "diffusers": True},
}


@pytest.mark.parametrize("keep", [".", "_blocks", DOUBLE, SINGLE, ATTENTION])
@pytest.mark.parametrize("given", [*SPELLED.values(), {"fused": True}, {"fused": True, **SPELLED["kohya"]}], ids=str)
def test_an_open_sora_lora_is_no_hunyuan_video_lora(given, keep, lora):
    file = lora(OPEN_SORA, **given, keep=keep)
    assert origin_text(file) == "made for Open-Sora 2.0 (or Flux)"
    found = match(file, embedded.patch_target(model(OPEN_SORA)))
    assert found.matched == found.total and "WARNING" not in "".join(found.lines())
    other = match(file, embedded.patch_target(model(HUNYUAN)))
    assert other.matched == 0 or "WARNING" in "".join(other.lines())
    assert "Made for Open-Sora 2.0 (or Flux); this model is HunyuanVideo" in "\n".join(other.lines())


@pytest.mark.parametrize("keep", [".", "_blocks", DOUBLE, SINGLE, ATTENTION])
@pytest.mark.parametrize("given", [*SPELLED.values(), {"comfyui": True}], ids=str)
def test_a_hunyuan_video_lora_is_no_open_sora_lora(given, keep, lora):
    file = lora(HUNYUAN, **given, keep=keep)
    assert origin_text(file) == "made for HunyuanVideo"
    other = match(file, embedded.patch_target(model(OPEN_SORA)))
    assert other.matched == 0 or "WARNING" in "".join(other.lines())


def test_the_refusal_names_both(lora):
    published = lora(HUNYUAN, keep=DOUBLE)
    with pytest.raises(FamilyError, match=r"made for HunyuanVideo, this model is Open-Sora 2\.0: 0 of \d+ match"):
        match(published, embedded.patch_target(model(OPEN_SORA))).check()
    with pytest.raises(FamilyError, match=r"made for Open-Sora 2\.0 \(or Flux\), this model is HunyuanVideo: 0 of"):
        match(lora(OPEN_SORA, keep="q_proj|k_proj"), embedded.patch_target(model(HUNYUAN))).check()
    for name, known in ((VIDEOCRAFTER, "VideoCrafter2"), (OPEN_SORA, r"Open-Sora 2\.0 \(or Flux\)")):
        with pytest.raises(FamilyError, match=rf"made for {known}, this model is Wan 2\.1 T2V 14B: 0 of"):
            match(lora(name), embedded.patch_target(model("Wan 2.1 T2V 14B"))).check()


def test_few_blocks_of_names_that_both_have_are_taken_for_the_one_with_more_loras(lora):
    few = r"double_blocks\.[0-4]\."
    assert origin_text(lora(OPEN_SORA, keep=few, fused=True)) == "made for HunyuanVideo"
    assert origin_text(lora(OPEN_SORA, keep=few)) == "made for Open-Sora 2.0 (or Flux)"  # q_proj is its own


@pytest.mark.parametrize("given", SPELLED.values(), ids=str)
def test_a_videocrafter_lora_is_known_by_its_layers_over_time(given, lora):
    file = lora(VIDEOCRAFTER, **given)
    assert origin_text(file) == "made for VideoCrafter2"
    found = match(file, embedded.patch_target(model(VIDEOCRAFTER)))
    assert found.matched == found.total == len(REAL[VIDEOCRAFTER][1].matrices)
    for name in REAL:
        if name != VIDEOCRAFTER:
            assert match(file, embedded.patch_target(model(name))).matched <= 0.05 * found.total, name


def test_a_picture_models_lora_is_called_one(tmp_path):
    """Stable Diffusion's UNets have the layers in space; only version 2 reads prompts that are as wide."""
    for width, title in ((768, "Stable Diffusion 1"), (1024, "VideoCrafter2 or Stable Diffusion 2")):
        shapes = {}
        for block, rows in (("down_blocks_0", 320), ("down_blocks_1", 640), ("up_blocks_3", 320)):
            for layer, inputs in (("attn1_to_q", rows), ("attn2_to_k", width), ("attn2_to_v", width)):
                stem = f"lora_unet_{block}_attentions_0_transformer_blocks_0_{layer}"
                shapes |= {f"{stem}.lora_down.weight": (2, inputs), f"{stem}.lora_up.weight": (rows, 2)}
        write(tmp_path / "any.safetensors", shapes, {})
        assert origin_text(read_lora(tmp_path / "any.safetensors")) == f"made for {title}"
