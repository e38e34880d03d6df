"""Encode Sound with LTX-2's audio VAE: sounds of any rate, mono, silence, and of any length.

Tests: nodes/sound.py, families/ltx2/vae.py
"""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from opent2v.host import embedded
from opent2v.loaders import load_sound_vae, open_file
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx2 as tiny

LATENTS = 13  # 0.5 s


@pytest.fixture(scope="module")
def audio_vae(tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "audio.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tiny.sound_vae("2.3").items()}, path)
    return embedded.vae(load_sound_vae(open_file(path), torch.float32))


def tone(rate, seconds=0.5, channels=2):
    wave = torch.sin(torch.arange(round(seconds * rate)) * (2 * math.pi * 440 / rate))
    return {"waveform": 0.5 * wave.expand(1, channels, -1), "sample_rate": rate}


def encoded(audio_vae, audio):
    latent = {"samples": embedded.nested([torch.zeros(1, 128, 2, 2, 2), torch.zeros(1, 8, LATENTS, 16)])}
    (result,), ui = call("OpenT2VEncodeAudio", audio_vae=audio_vae, audio=audio, latent=latent)
    return result["samples"].unbind()[1], result["noise_mask"].unbind()[1], remarks(ui)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_a_sound_of_another_rate_is_the_same_sound(audio_vae, rate):
    ours, mask, said = encoded(audio_vae, tone(rate))
    expected, _, _ = encoded(audio_vae, tone(16000))
    assert mask[0, 0, :, 0].tolist() == [0.0] * LATENTS and "0.5 s of sound, 13 of 13 latents" in said
    other, _, _ = encoded(audio_vae, {**tone(rate), "sample_rate": 16000})  # as one reads it who asks for no rate
    middle = slice(2, LATENTS - 2)  # resampling has nothing to read beyond the ends
    near, far = ((latent - expected)[:, :, middle].abs().mean() for latent in (ours, other))
    assert near < 0.25 * far


def test_mono_is_the_same_in_both_channels(audio_vae):
    assert torch.equal(encoded(audio_vae, tone(16000, channels=1))[0], encoded(audio_vae, tone(16000))[0])


def test_silence_is_a_sound(audio_vae):
    silence = {"waveform": torch.zeros(1, 2, 8000), "sample_rate": 16000}
    latent, _, _ = encoded(audio_vae, silence)
    wave = embedded.audio_decoder(audio_vae).decode(latent)["waveform"]
    assert latent.isfinite().all() and wave.isfinite().all() and latent.std() > 0


@pytest.mark.parametrize(("seconds", "kept"), [(0.01, 1), (0.2, 6), (3.0, LATENTS)])
def test_a_sound_of_another_length(audio_vae, seconds, kept):
    latent, mask, said = encoded(audio_vae, tone(16000, seconds))
    assert latent.shape[2] == LATENTS and latent[:, :, kept:].abs().sum() == 0 and latent[:, :, :kept].abs().sum() > 0
    assert mask[0, 0, :, 0].tolist() == [0.0] * kept + [1.0] * (LATENTS - kept)
    assert ("longer than the video" if kept == LATENTS else "shorter than the video") in said
