"""LTX-2's folders, as diffusers' pipeline saves them: latents, pictures and sound are the pipeline's, and what does not
belong together is refused.

Tests: families/ltx2/folders.py, base/folder_part.py
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_folder_sound, open_folder
from opent2v.sampling import Guidance, SamplerRequest, plan_run
from opent2v.sampling.streams import seeded_noise
from opent2v.tests.families.ltx2.test_pipelines import COLUMNS, FPS, FRAMES, ROWS, SHAPES, marked
from opent2v.tests.tiny import ltx2_folders as tiny
from opent2v.tests.tiny import wan

pytest.importorskip("diffusers", "0.40")
PROMPT, NEGATIVE = "a red circle moves to the right", "blurry"
VERSIONS = ["2.0", "2.3", "2.5"]


def pipeline(version):
    """diffusers' own reading of the folder."""
    import diffusers

    pipe = diffusers.LTX2Pipeline.from_pretrained(tiny.folder(version))
    if version == "2.5":
        pipe.transformer.register_forward_pre_hook(marked, with_kwargs=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize("version", VERSIONS)
def test_a_prompt_becomes_the_latents_of_the_pipeline(version):
    model, clip, _ = wan.hosted(tiny.folder(version))
    prompts = [embedded.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    positive, negative = ([[tensor, {**entry, "frame_rate": FPS}] for tensor, entry in prompt] for prompt in prompts)
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    request = SamplerRequest(seed=7, steps=6, cfg=3.0, guidance=Guidance(sound_cfg=7.0))
    run = plan_run(model.part.variant, request, SHAPES[0])
    video, sound = embedded.sample(model, positive, negative, latent, run).unbind()
    pipe = pipeline(version)
    theirs, their_sound = pipe(
        prompt=PROMPT, negative_prompt=NEGATIVE, generator=torch.Generator().manual_seed(7), guidance_scale=3.0,
        audio_guidance_scale=7.0, stg_scale=0.0, audio_stg_scale=0.0, modality_scale=1.0, audio_modality_scale=1.0,
        guidance_rescale=0.0, audio_guidance_rescale=0.0, height=32 * ROWS, width=32 * COLUMNS, num_frames=FRAMES,
        frame_rate=FPS, num_inference_steps=6, output_type="latent", return_dict=False,
    )  # fmt: skip
    # The pipeline takes the normalisation back before it returns latents.
    mean, std = vae_statistics(video, pipe.vae)
    assert theirs.std() > 0.5 and (video * std + mean - theirs).abs().max() < 1e-4
    rows = sound.transpose(1, 2).flatten(2) * pipe.audio_vae.latents_std + pipe.audio_vae.latents_mean
    their_rows = their_sound.transpose(1, 2).flatten(2)
    assert their_rows.std() > 0.5 and (rows - their_rows).abs().max() < 1e-4


def vae_statistics(latent, vae):
    return (value.view(1, -1, 1, 1, 1).to(latent) for value in (vae.latents_mean, vae.latents_std))


@torch.no_grad()
@pytest.mark.parametrize("version", ["2.0", "2.3"])
def test_pictures_and_sound_are_those_of_the_folders_own_parts(version):
    folder = open_folder(tiny.folder(version))
    vae = wan.pipeline(tiny.folder(version)).vae.vae
    sound = load_folder_sound(folder, torch.float32)
    pipe = pipeline(version)
    latent, audio = seeded_noise(SHAPES, 3)
    mean, std = vae_statistics(latent, pipe.vae)
    expected = pipe.vae.decode(latent * std + mean, return_dict=False)[0]
    ours = folder.family.video.decode(vae, latent, 0)
    assert expected.std() > 1e-3 and (ours - expected).abs().max() < 1e-5 * expected.abs().max()
    rows = audio.transpose(1, 2).flatten(2) * pipe.audio_vae.latents_std + pipe.audio_vae.latents_mean
    mel = pipe.audio_vae.decode(rows.unflatten(2, (8, 16)).transpose(1, 2), return_dict=False)[0]
    if version == "2.3":
        pipe.vocoder.vocoder.final_act_fn = "clamp"  # as the makers have it
    wave = pipe.vocoder(mel)
    heard = folder.family.sound.decode(sound.vae, audio)
    assert wave.std() > 1e-3 and (heard - wave).abs().max() < 1e-5 * wave.abs().max()
    assert sound.again is not None and torch.equal(folder.family.sound.decode(sound.again().vae, audio), heard)


def changed(path, version, component, **changes):
    """A copy of the folder with other entries in one config.json, "a__b" for one inside another."""
    shutil.copytree(tiny.folder(version), path)
    file = path / component / "config.json"
    config = json.loads(file.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        inside = config
        for key in outer:
            inside = inside[key]
        inside[last] = value
    file.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("version", "component", "changes", "said"),
    [
        ("2.0", "vae", {"latent_channels": 16}, "The VAE makes 16 latent channels and the transformer takes 128."),
        ("2.0", "vae", {"spatial_compression_ratio": 16}, "The VAE makes one latent of 8 frames and 16 x 16 pixels; "),
        ("2.3", "vae", {"timestep_conditioning": True}, "pixels with a decoder that reads a timestep; LTX-2's"),
        ("2.0", "transformer", {"patch_size": 2}, "patches are 1 x 2 latents of the video and 1 x 1 of the sound"),
        ("2.3", "audio_vae", {"mel_bins": 32}, "The audio VAE makes 8 channels of 8 bins and the transformer takes 8"),
        ("2.3", "vocoder", {"in_channels": 64}, "The vocoder reads 64 bins and the audio VAE makes 128."),
        ("2.0", "text_encoder", {"text_config__hidden_size": 64}, "wide and the projection in connectors expects 480"),
        ("2.3", "text_encoder", {"text_config__num_hidden_layers": 6}, "The text encoder is 420 wide"),
        ("2.0", "connectors", {"per_modality_projections": True}, "project a text for each stream; LTX-2 2.0"),
        ("2.3", "connectors", {"per_modality_projections": False}, "project one text for both streams; LTX-2 2.3"),
        ("2.3", "connectors", {"audio_connector_attention_head_dim": 8}, "The connectors in connectors: 128 wide for"),
        ("2.3", "connectors", {"video_hidden_dim": 64}, "The text projection in connectors: 64 wide for the picture"),
        ("2.3", "connectors", {"audio_connector_num_learnable_registers": 96}, "have 128 and 96 registers"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused(tmp_path, version, component, changes, said):
    path = changed(tmp_path / "folder", version, component, **changes)
    with pytest.raises(FamilyError) as error:
        open_folder(path)
    assert said in str(error.value)


def test_the_parts_of_another_version_are_refused(tmp_path):
    """A whole component of another version, with its own weights."""
    for component, said in (
        ("text_encoder", "is a Gemma3ForConditionalGeneration; the transformer is an LTX-2 2.5"),
        ("connectors", "wide and the projection in connectors expects 480"),
    ):
        path = tmp_path / component
        shutil.copytree(tiny.folder("2.5"), path)
        shutil.rmtree(path / component)
        shutil.copytree(tiny.folder("2.0") / component, path / component)
        index = json.loads((path / "model_index.json").read_text())
        other = json.loads((tiny.folder("2.0") / "model_index.json").read_text())
        (path / "model_index.json").write_text(json.dumps(index | {component: other[component]}))
        with pytest.raises(FamilyError) as error:
            open_folder(path)
        assert said in str(error.value)


@pytest.mark.parametrize("component", ["connectors", "audio_vae", "vocoder", "text_encoder", "tokenizer"])
def test_a_missing_part_is_named(tmp_path, component):
    path = tmp_path / "folder"
    shutil.copytree(tiny.folder("2.0"), path)
    shutil.rmtree(path / component)
    with pytest.raises(ModelFileError, match=f"the folder {component}/ is missing"):
        open_folder(path)


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path):
    path = changed(tmp_path / "folder", "2.0", "connectors", video_connector_num_layers=3)
    with pytest.raises(ModelFileError, match=r"missing, first video_connector\.transformer_blocks\.2"):
        wan.pipeline(path)


def test_a_configs_missing_entry_is_named(tmp_path):
    path = changed(tmp_path / "folder", "2.0", "connectors")
    wan.edit(path / "connectors" / "config.json", remove=("rope_type",))
    with pytest.raises(ModelFileError, match="lacks the entry 'rope_type'"):
        open_folder(path)


@pytest.mark.parametrize(
    ("name", "title", "steps", "cfg"),
    [("LTX-2", "2.0", 20, 4.0), ("LTX-2-distilled", "2.0 distilled", 8, 1.0), ("3c1b7f", "2.0", 20, 4.0)],
)
def test_the_folders_name_tells_a_distilled_checkpoint(tmp_path, name, title, steps, cfg):
    path = tmp_path / name
    shutil.copytree(tiny.folder("2.0"), path)
    (path / "opent2v.json").unlink()
    variant = open_folder(path).variant
    assert (variant.name, variant.defaults.steps, variant.defaults.guidance) == (title, steps, cfg)


def test_noise_levels_are_those_of_the_folders_scheduler(tmp_path):
    path = tmp_path / "folder"
    shutil.copytree(tiny.folder("2.0"), path)
    wan.edit(path / "scheduler" / "scheduler_config.json", shift_terminal=0.2)
    variant = open_folder(path).variant
    assert variant.family.sampling.sigmas(variant, 6, None, SHAPES[0])[-1] == pytest.approx(0.2)
