"""Mochi's single files: recognised in every layout, names and tensors equal to the diffusers modules'."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError, Recognised
from opent2v.base.keys import translate
from opent2v.families import families, mochi
from opent2v.loaders import load_model, load_vae, open_file
from opent2v.loaders.weights import build
from opent2v.tests.families.layouts.mochi import original_of, original_transformer
from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import mochi as tiny_mochi

PREFIXES = ["", "model.diffusion_model."]


def translated(found: Recognised, shapes):
    names = {}
    for name, shape in shapes.items():
        renamed = translate(name, found.rules, found.prefix)
        names.update(zip(renamed.names, renamed.shapes(shape), strict=True))
    return names


def wanted(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_the_published_transformer(prefix, layout):
    shapes = original_transformer(48)
    if layout == "diffusers":
        shapes = wanted(build("MochiTransformer3DModel", {}))
    shapes = {prefix + name: shape for name, shape in shapes.items()}
    found = mochi.find(shapes, "anything.safetensors")
    assert isinstance(found, Recognised)
    assert (found.part, found.layout, found.prefix, found.variant.title) == ("transformer", layout, prefix, "Mochi 1")
    module = build(found.class_name, found.config)
    assert translated(found, shapes) == wanted(module) == wanted(build("MochiTransformer3DModel", {}))
    others = [f for f in families().values() if f.id != "mochi"]
    assert [f.id for f in others if isinstance(f.recognise(shapes, "anything.safetensors"), Recognised)] == []


def test_the_rules_agree_with_diffusers_own_converter():
    """On 48 blocks of two numbers' width: the converter has the depth built in."""
    from diffusers.loaders.single_file_utils import convert_mochi_transformer_checkpoint_to_diffusers

    torch.manual_seed(0)
    shapes = original_transformer(48, width=12, text=6, head=6, t5=4, time_dim=8)
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    expected = convert_mochi_transformer_checkpoint_to_diffusers(dict(tensors))
    found = mochi.find(shapes, "")
    made = {}
    for name, tensor in tensors.items():
        renamed = translate(name, found.rules, "")
        made.update(zip(renamed.names, renamed.tensors(tensor), strict=True))
    assert set(made) == set(expected)
    assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_a_tiny_file_loads_to_the_very_tensors(tmp_path):
    module = tiny_mochi.transformer()
    shapes = original_transformer(2, width=24, text=16, head=12, t5=16, time_dim=16)
    found = mochi.find(shapes, "")
    path = save(tmp_path / "dit.safetensors", original_of(module, found.rules, shapes))
    loaded = load_model(open_file(path), torch.float32).transformer
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in module.state_dict().items())


# --- VAE ---


def original_vae():
    """Name -> shape of ComfyUI's mochi_vae.safetensors: genmo's encoder and decoder behind prefixes."""

    def resnet(width):
        norm = {f"stack.{n}.{part}": (width,) for n in (0, 3) for part in ("weight", "bias")}
        return norm | {
            f"stack.{n}.{part}": (width, width, 3, 3, 3) if part == "weight" else (width,)
            for n in (2, 5)
            for part in ("weight", "bias")
        }

    def attention(width):
        return {
            "attn_block.norm.weight": (width,), "attn_block.norm.bias": (width,),
            "attn_block.attn.qkv.weight": (3 * width, width), "attn_block.attn.out.weight": (width, width),
            "attn_block.attn.out.bias": (width,),
        }  # fmt: skip

    shapes = {
        "decoder.blocks.0.0.weight": (768, 12, 1, 1, 1), "decoder.blocks.0.0.bias": (768,),
        "decoder.output_proj.weight": (3, 128), "decoder.output_proj.bias": (3,),
        "encoder.layers.0.weight": (64, 15), "encoder.layers.0.bias": (64,),
        "encoder.output_norm.weight": (384,), "encoder.output_norm.bias": (384,),
        "encoder.output_proj.weight": (24, 384),
    }  # fmt: skip

    def add(stem, entries):
        shapes.update({f"{stem}.{name}": shape for name, shape in entries.items()})

    for n in range(3):
        add(f"decoder.blocks.0.{n + 1}", resnet(768))
        add(f"decoder.blocks.4.{n}", resnet(128))
        add(f"encoder.layers.{n + 1}", resnet(64))
        add(f"encoder.layers.{n + 7}", resnet(384) | attention(384))
    for n, (width, after, count, t) in enumerate(((768, 512, 6, 3), (512, 256, 4, 2), (256, 128, 3, 1))):
        for i in range(count):
            add(f"decoder.blocks.{n + 1}.blocks.{i}", resnet(width))
        add(f"decoder.blocks.{n + 1}", {"proj.weight": (after * t * 4, width), "proj.bias": (after * t * 4,)})
    for n, (before, width, count, t) in enumerate(((64, 128, 3, 1), (128, 256, 4, 2), (256, 384, 6, 3))):
        stem = f"encoder.layers.{n + 4}.layers"
        add(stem, {"0.weight": (width, before, t, 2, 2), "0.bias": (width,)})
        for i in range(count):
            add(f"{stem}.{i + 1}", resnet(width) | attention(width))
    return shapes


def test_the_published_vae():
    shapes = original_vae()
    found = mochi.find(shapes, "mochi_vae.safetensors")
    assert isinstance(found, Recognised) and (found.part, found.layout) == ("vae", "original")
    module = build(found.class_name, found.config)
    assert translated(found, shapes) == wanted(module) == wanted(build("AutoencoderKLMochi", {}))
    assert len(wanted(module)) == 437
    diffusers = mochi.find(wanted(module), "")
    assert isinstance(diffusers, Recognised) and diffusers.layout == "diffusers"
    assert wanted(build(diffusers.class_name, diffusers.config)) == wanted(module)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("bare", [True, False])
def test_half_a_vae_is_named(half, bare):
    shapes = {
        name.removeprefix(f"{half}.") if bare else name: shape
        for name, shape in original_vae().items()
        if name.startswith(half)
    }
    with pytest.raises(FamilyError, match=f"This is the {half} of Mochi's VAE alone. Expected both halves"):
        mochi.find(shapes, "")


def test_a_vae_file_loads_to_the_very_tensors(tmp_path):
    from diffusers import AutoencoderKLMochi

    torch.manual_seed(0)
    small = {"decoder_block_out_channels": (32, 64, 128, 192), "encoder_block_out_channels": (32, 64, 128, 192)}
    module = AutoencoderKLMochi(**small).eval()
    path = save(tmp_path / "vae.safetensors", module.state_dict())
    loaded = load_vae(open_file(path), torch.float32).vae
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in module.state_dict().items())


def test_another_file_is_none_of_mochis():
    said = mochi.find({"head.modulation": (1, 2, 3)}, "")
    assert said == "'t5_yproj.weight' (or 'time_embed.pooler.to_kv.weight') is missing"
