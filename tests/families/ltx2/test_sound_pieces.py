"""Long sounds of LTX-2 are decoded in pieces, to the same samples as in one.

Tests: families/ltx2/sound_pieces.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.families.ltx2 import sound_pieces, vae
from opent2v.loaders import load_sound_vae, open_file
from opent2v.tests.tiny import ltx2 as tiny


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=["2.0", "2.3"])
def sound(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "audio.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tiny.sound_vae(request.param).items()}, path)
    return load_sound_vae(open_file(path), torch.float32)


def test_pieces_make_the_samples_of_the_whole(sound, monkeypatch):
    latent = torch.randn(1, 8, 100, 16, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(sound_pieces, "SPAN", 1000)
    whole = vae.decode_sound(sound.vae, latent)
    # Random vocoders are loud, and make more of a rounding: a millionth of noise in the latent says how much.
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    rounding = (vae.decode_sound(sound.vae, latent + 1e-6 * noise) - whole).abs()
    monkeypatch.undo()
    latents, frames = [], []
    decode, vocode = sound.vae.decode, sound.vae.vocoder.forward
    monkeypatch.setattr(sound.vae, "decode", lambda z, **options: (latents.append(z.shape[2]), decode(z, **options))[1])
    monkeypatch.setattr(sound.vae.vocoder, "forward", lambda mel: (frames.append(mel.shape[2]), vocode(mel))[1])
    pieces = vae.decode_sound(sound.vae, latent)
    assert len(latents) == 3 and max(latents) == sound_pieces.SPAN
    assert len(frames) == 3 and max(frames) == 4 * sound_pieces.SPAN
    assert pieces.shape == whole.shape and whole.std() > 0.01
    assert (pieces - whole).abs().mean() < rounding.mean() and (pieces - whole).abs().max() < 3 * rounding.max()


def test_what_a_latent_of_the_published_decoder_reaches():
    """The decoder as deep as it is published, and narrow, in double precision: what no latent reaches is equal."""
    from diffusers import AutoencoderKLLTX2Audio

    module = AutoencoderKLLTX2Audio(base_channels=8, ch_mult=(1, 2, 4), num_res_blocks=2)
    module.load_state_dict(tiny.settled(module, 4))
    module = module.double().eval()
    latent = torch.randn(1, 8, 40, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = latent.clone()
    other[:, :, 1] += 1
    frames = [module.decode(z, return_dict=False)[0] for z in (latent, other)]
    reached = (frames[0] - frames[1]).abs().amax((0, 1, 3)).nonzero().flatten()
    assert int(reached[0]) >= 1 and int(reached[-1]) <= 4 * (1 + sound_pieces.LOOKS_BACK)


def test_what_a_frame_of_the_published_vocoders_reaches(sound):
    from copy import deepcopy

    vocoder = deepcopy(sound.vae.vocoder).double()
    mel = torch.randn(1, 2, 140, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = mel.clone()
    other[:, :, 70] += 1
    waves = [vocoder(m) for m in (mel, other)]
    hop = waves[0].shape[-1] // 140
    reached = (waves[0] - waves[1]).abs().amax((0, 1)).nonzero().flatten() // hop
    assert 70 - sound_pieces.REACH <= int(reached[0]) < 70 < int(reached[-1]) <= 70 + sound_pieces.REACH


def test_a_short_sound_is_decoded_at_once():
    calls = []

    def decode(piece):
        calls.append(piece.shape[2])
        return piece.new_zeros(1, 2, 4 * piece.shape[2] - 3, 64)

    mel = sound_pieces.spectrum(decode, torch.zeros(1, 8, sound_pieces.SPAN, 16))
    wave = sound_pieces.waveform(lambda m: (calls.append(m.shape[2]), m.new_zeros(1, 2, 480 * m.shape[2]))[1], mel)
    assert calls == [sound_pieces.SPAN, 4 * sound_pieces.SPAN - 3] and wave.shape == (1, 2, 480 * 253)
