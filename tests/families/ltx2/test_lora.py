"""LoRAs for LTX-2 in every format that people have: each layer goes to its place, and the verdict says the version.

Tests: families/ltx2/lora.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import Target
from opent2v.families.ltx2.lora import other_version
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.tiny import ltx2 as tiny

# Layers in diffusers' names: both streams, both ways between them, modulation, a connector.
LAYERS = (
    "transformer_blocks.1.attn1.to_q", "transformer_blocks.0.attn2.to_out.0", "transformer_blocks.1.audio_attn1.to_v",
    "transformer_blocks.0.audio_to_video_attn.to_k", "transformer_blocks.1.video_to_audio_attn.to_q",
    "transformer_blocks.0.ff.net.0.proj", "transformer_blocks.1.audio_ff.net.2", "proj_in", "time_embed.linear",
    "av_cross_attn_video_scale_shift.linear", "video_connector.transformer_blocks.0.ff.net.2",
    "audio_connector.transformer_blocks.1.attn1.to_v",
)  # fmt: skip
LINEAR = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")


def theirs(layer):
    return layout.original(f"{layer}.weight").removesuffix(".weight")


def with_prefix(prefix):
    return lambda layer: prefix + theirs(layer)


def kohya(layer):
    return "lora_unet_" + theirs(layer).replace(".", "_")


def diffusers(layer):
    return f"connectors.{layer}" if "connector" in layer else f"transformer.{layer}"


# Format -> (layer's name in it, ends of the two matrices, has alpha, metadata).
FORMATS = {
    "official trainer, ComfyUI": (with_prefix("diffusion_model."), LINEAR, False, {}),
    "ai-toolkit": (with_prefix("diffusion_model."), LINEAR, False, {"software": '{"name": "ai-toolkit"}'}),
    "musubi": (kohya, KOHYA, True, {"ss_network_module": "networks.lora_ltx2"}),
    "diffusers": (diffusers, LINEAR, False, {}),
    "PEFT": (lambda layer: f"base_model.model.{layer}", LINEAR, False, {}),
    "a checkpoint's prefix": (with_prefix("model.diffusion_model."), LINEAR, True, {}),
    "no prefix": (theirs, LINEAR, False, {}),
}  # fmt: skip


def target(version):
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny.transformer(version).items()}
    variant = tiny.variant_of(version)[1]
    return Target(variant.title, variant, shapes, (), "", "fp32", True)


def written(path, version, name):
    """(the file, layer -> what it adds to the weight)."""
    spell, (down, up), has_alpha, metadata = FORMATS[name]
    tensors, expected = {}, {}
    for n, layer in enumerate(LAYERS):
        rows, columns = tiny.transformer(version)[f"{layer}.weight"].shape
        generator = torch.Generator().manual_seed(n)
        a, b = torch.randn(4, columns, generator=generator), torch.randn(rows, 4, generator=generator)
        tensors |= {f"{spell(layer)}.{down}": a, f"{spell(layer)}.{up}": b}
        if has_alpha:
            tensors[f"{spell(layer)}.alpha"] = torch.tensor(2.0)
        expected[f"{layer}.weight"] = b @ a * (0.5 if has_alpha else 1.0)
    save_file(tensors, path, metadata)
    return path, expected


@pytest.mark.parametrize("version", layout.VERSIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_layer_goes_to_its_place(tmp_path, version, name):
    path, expected = written(tmp_path / "style.safetensors", version, name)
    verdict = match(read_lora(path), target(version))
    verdict.check()
    assert (verdict.matched, verdict.total) == (len(LAYERS), len(LAYERS)), verdict.unplaced()
    changes = {change.key: change for change in load_patches(verdict)}
    assert changes.keys() == expected.keys()
    for key, change in changes.items():
        delta = change.tensors["up"] @ change.tensors["down"] * change.scale
        torch.testing.assert_close(delta, expected[key], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ltx-2.3-22b-style", "style_LTX23", "Ltx2_3-person", "ltxv-2.3-camera"])
def test_the_verdict_says_that_a_lora_of_another_version_fits_by_shape_only(tmp_path, name):
    path, _ = written(tmp_path / f"{name}.safetensors", "2.5", "official trainer, ComfyUI")
    lines = "\n".join(match(read_lora(path), target("2.5")).lines())
    assert f"{len(LAYERS)} of {len(LAYERS)} match." in lines
    assert "It fits by shape; by its name it was made for LTX-2 2.3, and this model is LTX-2 2.5" in lines
    assert "fits by shape" not in "\n".join(match(read_lora(path), target("2.3")).lines())


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        (("ltx-2-19b-lora-camera-control-dolly-left.safetensors",), "LTX-2 2.0"),
        (("x.safetensors", "Lightricks/LTX-2.5"), "LTX-2 2.5"),
        (("ltx-2.3-22b.safetensors",), ""),
        (("style.safetensors", "step 2500"), ""),
        (("ltx-2500.safetensors",), ""),
    ],
)
def test_the_version_is_read_from_names_and_metadata(texts, version):
    assert other_version(tiny.variant_of("2.3")[1], texts) == version
