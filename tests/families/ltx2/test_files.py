"""LTX-2's files: every version in every layout is known whole, and what does not fit is refused by name.

Tests: families/ltx2/files.py, families/ltx2/vae.py, families/ltx2/versions.py, families/text/ltx2_projection.py
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError, Near, Recognised
from opent2v.families import families, ltx_video
from opent2v.families.ltx2 import FAMILY, files
from opent2v.families.text import ltx2_projection, text_encoders
from opent2v.loaders import ModelFileError, load_model, load_text, open_file, open_text_file
from opent2v.loaders.weights import build, extension
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.tiny import ltx2 as tiny

Shapes = dict[str, tuple[int, ...]]


def shapes_of(tensors: dict[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def found(shapes: Shapes, name: str = "x.safetensors") -> Any:
    return FAMILY.recognise(shapes, name)


@pytest.mark.parametrize("version", layout.VERSIONS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_published_transformer_is_known_whole(version, prefix):
    config, shapes = layout.published(version)
    recognised = found({prefix + layout.original(name): shape for name, shape in shapes.items()})
    assert isinstance(recognised, Recognised) and recognised.layout == "original"
    assert recognised.config == config and recognised.variant.name == version


def test_no_other_family_takes_it_for_its_own():
    shapes = {layout.original(name): shape for name, shape in layout.published("2.0")[1].items()}
    assert [n for n, family in families().items() if isinstance(family.recognise(shapes, "x"), Recognised)] == ["ltx2"]


@pytest.mark.parametrize("version", layout.VERSIONS)
def test_what_is_recognised_is_what_diffusers_builds(version):
    config, variant = tiny.variant_of(version)
    module = build(files.CLASS, config, extension(variant))
    assert {name: tuple(weight.shape) for name, weight in module.named_parameters()} == shapes_of(
        tiny.transformer(version)
    )


def test_diffusers_names_are_known():
    recognised = found(shapes_of(tiny.transformer("2.3")))
    assert isinstance(recognised, Recognised) and recognised.layout == "diffusers"


@pytest.mark.parametrize(
    ("version", "name", "title", "values"),
    [
        ("2.0", "ltx-2-19b-dev.safetensors", "LTX-2 2.0", (20, 4.0, None)),
        ("2.0", "ltx-2-19b-distilled.safetensors", "LTX-2 2.0 distilled", (8, 1.0, None)),
        ("2.3", "ltx-2.3-22b-dev-fp8.safetensors", "LTX-2 2.3", (30, 3.0, 7.0)),
        ("2.3", "ltx-2.3-22b-distilled-fp8.safetensors", "LTX-2 2.3 distilled", (8, 1.0, None)),
        ("2.5", "a file.safetensors", "LTX-2 2.5", (8, 1.0, None)),
    ],
)
def test_the_name_tells_a_distilled_file(version, name, title, values):
    shapes = shapes_of(tiny.originals(tiny.transformer(version)))
    variant = found(shapes, name).variant
    own = variant.defaults
    assert variant.title == title and (own.steps, own.guidance, own.sound_guidance) == values


def test_a_tensor_that_is_missing_is_named():
    shapes = shapes_of(tiny.originals(tiny.transformer("2.3")))
    del shapes["transformer_blocks.1.audio_to_video_attn.to_k.weight"]
    near = found(shapes)
    assert isinstance(near, Near) and "1 missing, first transformer_blocks.1.audio_to_video_attn.to_k.weight" in near


def saved(path, tensors: dict[str, torch.Tensor]):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def test_connectors_come_from_a_second_file(tmp_path):
    weights = tiny.originals(tiny.transformer("2.3"), tiny.PREFIX)
    inside = {name: tensor for name, tensor in weights.items() if "embeddings_connector" in name}
    alone = saved(tmp_path / "dit.safetensors", {n: w for n, w in weights.items() if n not in inside})
    beside = saved(tmp_path / "connectors.safetensors", inside | tiny.projection("2.3"))
    with pytest.raises(FamilyError, match="without its connectors, through which the text goes"):
        load_model(open_file(alone), torch.float32)
    loaded = load_model(open_file(alone), torch.float32, beside=beside)
    whole = load_model(open_file(saved(tmp_path / "whole.safetensors", weights)), torch.float32)
    for (name, ours), (_, expected) in zip(
        loaded.transformer.named_parameters(), whole.transformer.named_parameters(), strict=True
    ):
        assert torch.equal(ours, expected), name
    assert loaded.variant.facts["connectors"] == whole.variant.facts["connectors"]
    with pytest.raises(FamilyError, match="holds its connectors already"):
        load_model(open_file(tmp_path / "whole.safetensors"), torch.float32, beside=beside)
    with pytest.raises(FamilyError, match="has no video_embeddings_connector"):
        load_model(open_file(alone), torch.float32, beside=alone)


def test_an_all_in_one_file_holds_every_part_but_the_gemma(tmp_path):
    file = open_file(saved(tmp_path / "all.safetensors", tiny.all_in_one("2.3")))
    assert set(file.parts) == {"transformer", "vae", "audio_vae"}
    text = open_text_file(file.path)
    assert text.kind is ltx2_projection.KIND and text.layout.width == 192


@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_a_video_vae_is_ltx2s_and_not_ltx_videos(kind):
    shapes = shapes_of(tiny.video_vae(kind))
    recognised = found(shapes)
    assert isinstance(recognised, Recognised) and recognised.part == "vae"
    config = tiny.VIDEO_VAES[kind]
    expected = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
    assert {name: recognised.config[name] for name in expected} == expected
    assert isinstance(ltx_video.FAMILY.recognise(shapes, "x"), str)


@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_a_sounds_vae_is_known_with_its_vocoder(kind):
    recognised = found(shapes_of(tiny.sound_vae(kind)))
    assert isinstance(recognised, Recognised) and recognised.part == "audio_vae"
    assert recognised.config["base_channels"] == 128 and recognised.config["latent_channels"] == 8


def test_vaes_that_cannot_be_used_are_refused_by_name():
    sound = shapes_of(tiny.sound_vae("2.3"))
    with pytest.raises(FamilyError, match="without its vocoder"):
        found({name: shape for name, shape in sound.items() if not name.startswith("vocoder.")})
    with pytest.raises(FamilyError, match="lacks its tables"):
        found({name: shape for name, shape in sound.items() if "mel_stft" not in name})
    with pytest.raises(FamilyError, match="diffusion decoder"):
        found({"decoder.conv_in_x_t.weight": (8, 8)})


def test_the_projection_of_another_version_is_refused(tmp_path):
    gemma = open_text_file(saved(tmp_path / "gemma.safetensors", tiny.gemma()))
    assert gemma.kind is text_encoders()["Gemma3TextModel"]
    old = open_text_file(saved(tmp_path / "old.safetensors", tiny.projection("2.0")))
    variant = tiny.variant_of("2.3")[1]
    with pytest.raises(ModelFileError, match=r"is LTX-2's text projection, 60 wide; LTX-2 2\.3 reads 192"):
        load_text([gemma, old], variant, torch.float32, lambda *_: None)
    with pytest.raises(ModelFileError, match=r"LTX-2 2\.3 reads 2 text encoders and found Gemma 3"):
        load_text([gemma], variant, torch.float32, lambda *_: None)
    with pytest.raises(ModelFileError, match=r"which LTX-2 2\.5 does not read\. Choose the Gemma 4"):
        load_text([gemma], tiny.variant_of("2.5")[1], torch.float32, lambda *_: None)


def test_the_files_own_config_says_what_no_shape_tells():
    """Without a config the published values hold, which ComfyUI's and diffusers' own defaults are not."""
    shapes = shapes_of(tiny.originals(tiny.transformer("2.0"), tiny.PREFIX))
    plain = FAMILY.recognise(shapes, "x.safetensors")
    assert (
        isinstance(plain, Recognised) and plain.config["rope_type"] == "split" and plain.config["rope_double_precision"]
    )

    def recognised(**config):
        return FAMILY.recognise(shapes, "x.safetensors", {"config": json.dumps({"transformer": config})})

    other = recognised(
        rope_type="interleaved", frequencies_precision="float32", positional_embedding_theta=5000.0,
        av_ca_timestep_scale_multiplier=1.0, num_attention_heads=16,
    )  # fmt: skip
    assert isinstance(other, Recognised)
    assert (other.config["rope_type"], other.config["rope_double_precision"]) == ("interleaved", False)
    assert (other.config["rope_theta"], other.config["cross_attn_timestep_scale_multiplier"]) == (5000.0, 1.0)
    assert (other.config["num_attention_heads"], other.config["attention_head_dim"]) == (16, 8)
    assert recognised(rope_type="split", num_attention_heads=7).config == plain.config
    assert FAMILY.recognise(shapes, "x", {"config": "not JSON"}).config == plain.config
    with pytest.raises(FamilyError, match="its header says causal_temporal_positioning false"):
        recognised(causal_temporal_positioning=False)
