"""MiniMax H3's diffusers folder: its parts are those of the single files, and what does not fit is refused by name.

Tests: families/minimax_h3/folders.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import (
    ModelFileError,
    load_folder_sound,
    load_model,
    load_pipeline,
    load_sound_vae,
    load_vae,
    open_file,
    open_folder,
    open_text_files,
)
from opent2v.loaders.weights import build, fill
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import minimax_h3 as tiny
from opent2v.tests.tiny import minimax_h3_folders as folders
from opent2v.tests.tiny import minimax_h3_parts as parts

pytest.importorskip("diffusers", "0.40")
DTYPES = {"model_dtype": torch.float32, "text_dtype": torch.float32, "vae_dtype": torch.float32}


def weights_of(module: Any) -> dict[str, Tensor]:
    return dict(module.named_parameters())


def same(module: Any, expected: Any) -> None:
    ours, theirs = weights_of(module), weights_of(expected)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_transformer_and_encoder_are_those_of_the_files(tmp_path):
    pipeline = load_pipeline(open_folder(folders.folder()), **DTYPES)
    variant = pipeline.models[0].variant
    assert (variant.title, variant.scheduler["shift"]) == ("MiniMax H3 tiny", 12.0)
    assert (variant.sound.shift, variant.sound.ratio, variant.defaults.frames) == (3.0, 4.0, 22)
    file = open_file(tiny.save(tmp_path / "h3.safetensors", tiny.originals("full", parts.WIDTH)))
    same(pipeline.models[0].transformer, load_model(file, torch.float32).transformer)
    encoders = open_text_files(tiny.save(tmp_path / "encoder.safetensors", parts.encoder()))
    for slot, encoder in zip(("text_encoder", "vision"), encoders, strict=True):
        module = build(encoder.kind.class_name, encoder.layout.config, encoder.kind.extend)
        fill(module, encoder.files, rules=encoder.layout.rules, prefix=encoder.prefix, from_folder=False)
        same(pipeline.text.encoders[slot], module)
        config, expected = pipeline.text.encoders[slot].config, module.config
        for name in ("num_hidden_layers", "depth", "deepstack_visual_indexes", "num_key_value_heads"):
            assert getattr(config, name, None) == getattr(expected, name, None)


@torch.no_grad()
def test_both_vaes_are_those_of_the_files(tmp_path):
    folder = open_folder(folders.folder())
    video, sound = load_pipeline(folder, **DTYPES).vae, load_folder_sound(folder, torch.float32)
    other = load_vae(
        open_file(tiny.save(tmp_path / "v.safetensors", parts.original_video_vae(parts.video_vae()))), torch.float32
    )
    latent = torch.randn(1, 24, 7, 2, 3)
    assert (video.decode(latent) - other.decode(latent)).abs().max() < 1e-5
    frames = torch.rand(1, 3, 22, 32, 48) * 2 - 1
    assert (video.encode(frames) - other.encode(frames)).abs().max() < 1e-5
    other = load_sound_vae(open_file(tiny.save(tmp_path / "a.safetensors", parts.plain_sound_vae())), torch.float32)
    latent = torch.randn(1, 32, 2, 9)
    heard = sound.decode(latent)
    assert heard.std() > 1e-3 and (heard - other.decode(latent)).abs().max() < 1e-5
    assert (sound.encode(heard, 32000) - other.encode(heard, 32000)).abs().max() < 1e-4


def test_a_video_with_its_sound_comes_out_of_a_folder(tmp_path):
    models = tmp_path / "models" / "diffusers"
    models.mkdir(parents=True)
    shutil.copytree(folders.folder(), models / "MiniMax-H3")
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (model, clip, vae, *_), ui = call("OpenT2VLoadModel", model="MiniMax-H3")
    assert "gives no rights in the EU" in remarks(ui) and "audio_vae in Load Video VAE" in remarks(ui)
    (audio_vae,), ui = call("OpenT2VLoadVAE", file="MiniMax-H3/audio_vae")
    assert remarks(ui) == "Audio VAE of MiniMax H3 tiny"
    shown = torch.rand(1, 64, 64, 3)
    (positive, _), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a man walks", negative="", pictures=shown)
    assert int((positive[0][1]["minimax_token_tags"] == 0).sum()) == 4 + 2
    latent = call("OpenT2VEmptyLatent", model=model, width=64, height=64, frames=22)[0][0]
    inputs = {"model": model, "positive": positive, "negative": positive, "latent": latent}
    (result, _), _ = call("OpenT2VSampler", **inputs, seed=1, steps=2)
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=result, audio_vae=audio_vae)
    assert frames.shape == (22, 64, 64, 3) and frames.std() > 0.01
    assert audio["sample_rate"] == 32000 and audio["waveform"].shape == (1, 2, 37 * 800)


def changed(path: Path, file: str, **changes: Any) -> Path:
    """A copy of the folder with other entries in one file."""
    shutil.copytree(folders.folder(), path)
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(content | changes))
    return path


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("audio_vae/config.json", {"latent_channels": 8}, "audio VAE makes 8 channels and the transformer takes 32"),
        ("vae/config.json", {"latent_channels": 16}, "VAE makes 16 latent channels and the transformer takes 24"),
        ("text_encoder/config.json", {"text_config": {"hidden_size": 4096}}, "text encoder.*4096"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused_by_name(tmp_path, file, changes, said):
    with pytest.raises(FamilyError, match=said):
        open_folder(changed(tmp_path / "folder", file, **changes))


def test_the_folders_schedulers_tell_both_shifts(tmp_path):
    path = changed(tmp_path / "folder", "scheduler/scheduler_config.json", shift=10.0)
    variant = open_folder(path).variant
    assert variant.scheduler["shift"] == 10.0 and variant.sound.ratio == pytest.approx(10 / 3)


@torch.no_grad()
def test_the_makers_own_folder_is_the_same_model(tmp_path):
    """Its transformer's shards are head by head, its video VAE lies a folder deeper, its configs have other words."""
    path = folders.make_makers(tmp_path / "FL2VA")
    loaded = [load_pipeline(open_folder(folder), **DTYPES) for folder in (path, folders.folder())]
    ours, usual = (pipeline.models[0] for pipeline in loaded)
    same(ours.transformer, usual.transformer)
    assert dict(ours.transformer.config).items() >= dict(tiny.variant_of("full")[0] | {"text_dim": parts.WIDTH}).items()
    assert (ours.variant.sound.ratio, ours.variant.scheduler) == (4.0, usual.variant.scheduler)
    for slot in ("text_encoder", "vision"):
        same(*(pipeline.text.encoders[slot] for pipeline in loaded))
    same(*(pipeline.vae.vae for pipeline in loaded))
    latent = torch.randn(1, 24, 7, 2, 3)
    assert torch.equal(*(pipeline.vae.decode(latent) for pipeline in loaded))
    sounds = [load_folder_sound(open_folder(folder), torch.float32) for folder in (path, folders.folder())]
    latent = torch.randn(1, 32, 2, 9)
    heard = [sound.decode(latent) for sound in sounds]
    assert heard[0].std() > 1e-3 and torch.equal(*heard) and sounds[0].rate == 32000


def test_the_makers_index_tells_which_of_the_two_it_is_and_both_shifts(tmp_path):
    path = folders.make_makers(tmp_path / "weights", "ref2va")
    index = json.loads((path / "model_index.json").read_text())
    index["_minimax_h3"]["sigma_shift_scales"] = {"video": 10.0, "audio": 4.0}
    (path / "model_index.json").write_text(json.dumps(index))
    variant = open_folder(path).variant
    assert variant.facts["task"] == "references"
    assert (variant.scheduler["shift"], variant.sound.shift, variant.sound.ratio) == (10.0, 4.0, 2.5)


def test_the_nodes_run_a_makers_folder_inside_its_repository(tmp_path):
    models = tmp_path / "models" / "diffusers" / "MiniMax-H3"
    shutil.copytree(folders.folder(), models)
    folders.make_makers(models / "FL2VA")
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (model, clip, vae, *_), _ = call("OpenT2VLoadModel", model="MiniMax-H3/FL2VA")
    (audio_vae,), ui = call("OpenT2VLoadVAE", file="MiniMax-H3/FL2VA/audio_vae")
    assert remarks(ui) == "Audio VAE of MiniMax H3 tiny"
    (positive, _), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a man walks", negative="")
    latent = call("OpenT2VEmptyLatent", model=model, width=64, height=64, frames=22)[0][0]
    inputs = {"model": model, "positive": positive, "negative": positive, "latent": latent}
    (result, _), _ = call("OpenT2VSampler", **inputs, seed=1, steps=2)
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=result, audio_vae=audio_vae)
    assert frames.shape == (22, 64, 64, 3) and frames.std() > 0.01
    assert audio["waveform"].shape == (1, 2, 37 * 800)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("video_vae/config.json", {"latents_mean": [0.0]}, "has 1 and 24 numbers for the mean and the spread of 24"),
        ("audio_vae/metadata.json", {"metadata": {"kwargs": {"decoder_type": "vocos"}}}, "decoder is a vocos"),
        ("transformer/config.json", {"latents_dim": 16}, "VAE makes 24 latent channels and the transformer takes 16"),
        ("model_index.json", {"video_vae": ["diffusers", "SomeVAE"]}, "names the class 'SomeVAE' for vae"),
        ("audio_vae/metadata.json", {"metadata": {}}, "a config.json lacks the entry 'kwargs'"),
    ],
)
def test_a_makers_folder_with_something_else_in_it_is_refused(tmp_path, file, changes, said):
    path = folders.make_makers(tmp_path / "FL2VA")
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(content | changes))
    with pytest.raises((FamilyError, ModelFileError), match=said):
        open_folder(path)


def test_a_makers_folder_whose_video_vae_is_missing_names_it(tmp_path):
    path = folders.make_makers(tmp_path / "FL2VA")
    shutil.rmtree(path / "video_vae")
    with pytest.raises(ModelFileError, match="the folder video_vae/ is missing"):
        open_folder(path)
