"""Single files of every size, version and layout are told from their tensors, and read as diffusers' twins."""

from __future__ import annotations

import json
import time
from functools import cache

import pytest
import torch

from opent2v.base import FamilyError, Recognised
from opent2v.base.keys import translate
from opent2v.families import families, ltx_video
from opent2v.families.ltx_video.versions import DYNAMIC, FINISH, FIRST_PASS, STATIC, linear_quadratic, version_in
from opent2v.loaders.single import load_model, load_vae, open_file
from opent2v.loaders.weights import build, fill
from opent2v.tests.families.layouts.ltx_video import (
    SIZES,
    VAES,
    original_transformer,
    original_vae,
    shapes_of,
    vae_shapes,
    written,
)
from opent2v.tests.tiny import ltx_video as tiny


@cache
def transformer_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a full-size transformer, as diffusers has them."""
    return shapes_of(build("LTXVideoTransformer3DModel", SIZES[size]))


LAYOUTS = [
    ("diffusers", ""),
    ("original", ""),
    ("original", "model.diffusion_model."),
    ("original", "diffusion_model."),
]


def recognised(shapes, name: str) -> Recognised:
    """What this family says of a file, after asking that no other takes it for its own."""
    begin = time.perf_counter()
    found = ltx_video.FAMILY.recognise(shapes, name)
    assert time.perf_counter() - begin < 1
    assert isinstance(found, Recognised), found
    for family in families().values():
        if family.id != "ltx_video":
            assert isinstance(family.recognise(shapes, name), str), f"{family.title} takes it too"
    return found


def assert_fits(found: Recognised, shapes, module_shapes) -> None:
    """Every name and shape of the file lands on the module that the config builds."""
    begin, made = time.perf_counter(), {}
    for name, shape in shapes.items():
        renamed = translate(name, found.rules, found.prefix)
        if renamed is not None and renamed.names:
            made.update(zip(renamed.names, renamed.shapes(shape), strict=True))
    assert time.perf_counter() - begin < 1
    assert made == module_shapes == shapes_of(build(found.class_name, found.config))


# --- transformers ---


@pytest.mark.parametrize(("layout", "prefix"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_transformers_of_every_size_and_layout(size, layout, prefix):
    shapes = written(transformer_shapes(size), layout, prefix)
    found = recognised(shapes, f"ltxv-{size.lower()}-0.9.8-dev.safetensors")
    assert (found.part, found.layout, found.prefix) == ("transformer", layout, prefix)
    assert found.variant.title == f"LTX-Video {size} 0.9.8" and found.remark == ""
    assert (found.variant.context_width, found.variant.geometry.channels) == (4096, 128)
    assert_fits(found, shapes, transformer_shapes(size))


def test_diffusers_own_converter_names_the_same():
    from diffusers.loaders.single_file_utils import convert_ltx_transformer_checkpoint_to_diffusers as convert

    shapes = written(transformer_shapes("2B"), "original", "model.diffusion_model.")
    assert convert(dict(shapes)) == transformer_shapes("2B")


@pytest.mark.parametrize(
    ("size", "name", "title", "steps", "cfg", "fps", "causal", "dynamic"),
    [
        ("2B", "ltx-video-2b-v0.9.safetensors", "2B 0.9.0", 40, 3, 25, False, True),
        ("2B", "ltx-video-2b-v0.9.1.safetensors", "2B 0.9.1", 40, 3, 25, False, True),
        ("2B", "ltx-video-2b-v0.9.5.safetensors", "2B 0.9.5", 40, 3, 25, True, False),
        ("2B", "ltxv-2b-0.9.6-dev-04-25.safetensors", "2B 0.9.6", 40, 3, 30, True, False),
        ("2B", "ltxv-2b-0.9.6-distilled-04-25.safetensors", "2B 0.9.6 distilled", 8, 1, 30, True, False),
        ("2B", "ltxv-2b-0.9.8-distilled-fp8.safetensors", "2B 0.9.8 distilled", 7, 1, 30, True, False),
        ("13B", "ltxv-13b-0.9.7-dev.safetensors", "13B 0.9.7", 30, 3, 30, True, False),
        ("13B", "ltxv-13b-0.9.8-distilled.safetensors", "13B 0.9.8 distilled", 7, 1, 30, True, False),
        ("13B", "my favourite.safetensors", "13B", 30, 3, 30, True, False),
        ("2B", "my favourite.safetensors", "2B", 40, 3, 25, False, True),
    ],
)  # fmt: skip
def test_the_name_tells_versions_of_one_architecture_apart(size, name, title, steps, cfg, fps, causal, dynamic):
    found = recognised(written(transformer_shapes(size), "original", "model.diffusion_model."), name)
    variant = found.variant
    own = variant.defaults
    assert variant.title == f"LTX-Video {title}"
    assert (own.steps, own.guidance, own.fps, variant.facts["is_causal"]) == (steps, cfg, fps, causal)
    assert variant.facts["schedule"] == (DYNAMIC if dynamic else STATIC)
    if "distilled" in name:
        assert found.remark.startswith(f"Distilled: {steps} steps at its own noise levels, cfg 1.")
        assert ("8 steps add a last, finer one." in found.remark) == (variant.sigmas == FIRST_PASS)
    elif title == "2B":
        assert found.remark.startswith("The file's name tells no version, so this is taken as 0.9.1 or older.")
    else:
        assert found.remark == ""


ALL_LEVELS = [*FIRST_PASS, FINISH]


def header(causal=None, **entries):
    """Metadata of a checkpoint as Lightricks writes it."""
    transformer = {"_class_name": "Transformer3DModel"}
    transformer |= {} if causal is None else {"causal_temporal_positioning": causal}
    return {"config": json.dumps({"transformer": transformer, **entries})}


@pytest.mark.parametrize(
    ("name", "metadata", "causal", "sigmas"),
    [
        ("any.safetensors", header(True, allowed_inference_steps=ALL_LEVELS), True, FIRST_PASS),
        ("ltxv-2b-0.9.1.safetensors", header(True, allowed_inference_steps=ALL_LEVELS), True, FIRST_PASS),
        ("ltxv-distilled.safetensors", header(True), True, FIRST_PASS),
        ("any.safetensors", header(None, allowed_inference_steps=[1.0, 0.75, 0.5, 0.0]), True, (1.0, 0.75, 0.5)),
        ("any.safetensors", header(True), True, ()),
        ("ltxv-2b-0.9.8-dev.safetensors", header(False), False, ()),
        ("any.safetensors", {"config": "[1]"}, False, ()),
        ("any.safetensors", {"config": "{"}, False, ()),
        ("any.safetensors", {"config": '{"transformer": 3, "allowed_inference_steps": "8"}'}, False, ()),
        ("ltxv_096_distilled.safetensors", {}, True, tuple(linear_quadratic(8))),
        ("LTX_Video_2B_098_Distilled.safetensors", {}, True, FIRST_PASS),
        ("ltxv-2b-distill.safetensors", {}, True, FIRST_PASS),
    ],
)
def test_the_header_tells_more_than_the_name(name, metadata, causal, sigmas):
    """Every distilled checkpoint is 0.9.6 or newer, whatever its name lacks."""
    shapes = {original_transformer(k): s for k, s in transformer_shapes("2B").items()}
    file = ltx_video.FAMILY.recognise(shapes, name, metadata)
    assert isinstance(file, Recognised)
    variant = file.variant
    assert (variant.facts["is_causal"], variant.sigmas) == (causal, sigmas)
    assert variant.facts["schedule"] == (STATIC if causal else DYNAMIC)
    assert (variant.defaults.guidance == 1.0, variant.defaults.steps) == (bool(sigmas), len(sigmas) or 40)
    assert ("put its version" in file.remark) is (name == "any.safetensors" and not causal)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("ltxv-13b-0.9.8-dev-fp8.safetensors", "0.9.8"),
        ("ltx-video-2b-v0.9.safetensors", "0.9.0"),
        ("LTX_Video_2B_098_distilled", "0.9.8"),
        ("ltxv_0_9_6", "0.9.6"),
        ("ltxv-0.9-8steps", "0.9.0"),
        ("2024_0951", ""),
        ("ltxv-10.9.8", ""),
    ],
)
def test_versions_in_names(name, version):
    assert version_in(name) == version


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_tiny_file_in_original_names_reads_as_its_diffusers_twin(prefix, tmp_path):
    from diffusers import LTXVideoTransformer3DModel
    from safetensors.torch import save_file

    config = {"num_attention_heads": 32, "attention_head_dim": 2, "cross_attention_dim": 64, "num_layers": 2}
    twin = LTXVideoTransformer3DModel(**config, caption_channels=16).eval()
    path = tmp_path / "ltxv-2b-0.9.5.safetensors"
    save_file({prefix + original_transformer(n): t for n, t in twin.state_dict().items()}, path)
    found = recognised(written(shapes_of(twin), "original", prefix), path.name)
    read = fill(build(found.class_name, found.config), (path,), rules=found.rules, prefix=found.prefix)
    assert {k: v for k, v in read.config.items() if k in config} == config
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in read.state_dict().items())
    call = {
        "hidden_states": torch.randn(1, 6, 128), "encoder_hidden_states": torch.randn(1, 4, 16),
        "timestep": torch.tensor([500.0]), "encoder_attention_mask": None, "num_frames": 1, "height": 2, "width": 3,
    }  # fmt: skip
    with torch.inference_mode():
        error = (read(**call).sample - twin(**call).sample).abs().max()
    assert error <= 1e-5  # weights in a mapped file lie elsewhere in memory, and another kernel sums them up


# --- VAEs ---


@pytest.mark.parametrize("layout", ["diffusers", "original"])
@pytest.mark.parametrize("version", VAES)
def test_vaes_of_every_version_and_layout(version, layout):
    shapes = written(vae_shapes(version), layout, version=version)
    shapes |= (
        {f"per_channel_statistics.{n}": (128,) for n in ("channel", "mean-of-stds")} if layout == "original" else {}
    )
    found = recognised(shapes, "vae.safetensors")
    assert (found.part, found.layout, found.prefix) == ("vae", layout, "")
    assert found.variant.title == f"LTX-Video 2B {version}"
    assert {name: found.config[name] for name in VAES[version]} == VAES[version]
    assert_fits(found, shapes, vae_shapes(version))


@pytest.mark.parametrize("version", VAES)
def test_diffusers_own_vae_converter_names_the_same(version):
    from diffusers.loaders.single_file_utils import convert_ltx_vae_checkpoint_to_diffusers as convert

    class Shape(tuple):
        @property
        def shape(self):
            return self

    shapes = {"vae." + n: Shape(s) for n, s in written(vae_shapes(version), "original", version=version).items()}
    converted = convert(dict(shapes))
    assert {name: tuple(shape) for name, shape in converted.items()} == vae_shapes(version)


@pytest.mark.parametrize("version", VAES)
def test_a_tiny_vae_in_original_names_reads_as_its_diffusers_twin(version, tmp_path):
    from safetensors.torch import save_file

    twin = tiny.vae(version)
    path = tmp_path / "vae.safetensors"
    named = {original_vae(n, version): t.clone() for n, t in twin.state_dict().items()}
    save_file(named | {"per_channel_statistics.mean-of-stds_over_std-of-means": torch.ones(128)}, path)
    found = recognised({n: tuple(t.shape) for n, t in named.items()}, path.name)
    read = fill(build(found.class_name, found.config), (path,), rules=found.rules, prefix=found.prefix)
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in read.state_dict().items())
    latent = torch.randn(1, tiny.CHANNELS, 2, 2, 2)
    with torch.inference_mode():
        assert (ltx_video.decode(read, latent, 3) - ltx_video.decode(twin, latent, 3)).abs().max() <= 1e-4


# --- both in one file ---


def test_a_checkpoint_with_both_parts(tmp_path):
    from diffusers import LTXVideoTransformer3DModel
    from safetensors.torch import save_file

    transformer = LTXVideoTransformer3DModel(
        num_attention_heads=32, attention_head_dim=2, cross_attention_dim=64, num_layers=1, caption_channels=16
    )
    vae = tiny.vae("0.9.5")
    tensors = {f"model.diffusion_model.{original_transformer(n)}": t for n, t in transformer.state_dict().items()}
    tensors |= {f"vae.{original_vae(n, '0.9.5')}": t.clone() for n, t in vae.state_dict().items()}
    path = tmp_path / "ltxv-2b-0.9.6-dev-04-25.safetensors"
    save_file(tensors, path)
    file = open_file(path)
    assert {part: found.prefix for part, found in file.parts.items()} == {
        "transformer": "model.diffusion_model.", "vae": "vae.",
    }  # fmt: skip
    model, read = load_model(file, torch.float32), load_vae(file, torch.float32)
    assert model.variant.title == "LTX-Video 2B 0.9.6" and read.variant.title == "LTX-Video 2B 0.9.5"
    assert torch.equal(model.transformer.proj_in.weight, transformer.proj_in.weight)
    assert torch.equal(read.vae.latents_std, vae.latents_std)


# --- what is none of it ---


def test_an_upscaler_is_refused_by_name():
    shapes = {"initial_conv.weight": (512, 128, 3, 3, 3), "upsampler.0.weight": (2048, 512, 3, 3)}
    with pytest.raises(FamilyError) as error:
        ltx_video.FAMILY.recognise(shapes, "ltxv-spatial-upscaler-0.9.8.safetensors")
    assert str(error.value).startswith(
        "ltxv-spatial-upscaler-0.9.8.safetensors is a latent upscaler, no model. Put it into"
    )


def test_files_of_others():
    recognise = ltx_video.FAMILY.recognise
    assert recognise({"blocks.0.self_attn.q.weight": (8, 8)}, "wan.safetensors") == "'patchify_proj.weight' is missing"
    newer = written(transformer_shapes("13B"), "original") | {"audio_patchify_proj.weight": (2048, 128)}
    assert recognise(newer, "ltx-2-19b-dev.safetensors") == "'audio_' tensors are there, which are LTX-2's"
    vae = {
        n: s for n, s in written(vae_shapes("0.9.5"), "original", version="0.9.5").items() if "time_embedder" not in n
    }
    assert recognise(vae, "ltx2.safetensors") == "'decoder.last_time_embedder' is missing, as in LTX-2's VAE"
    lora = {"diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight": (128, 4096)}
    assert recognise(lora, "ltxv-13b-0.9.7-distilled-lora128.safetensors") == "'patchify_proj.weight' is missing"
