"""Clicks in the sound and flashes in the picture stay together from the VAEs to a film of 40 s.

LTX-2's VAEs have weights and hand-written ends here that pass loudness and brightness on, since random weights cannot.
All between them is what a user runs: Encode Sound with its spectrum, the latents' statistics, both decoders' pieces,
Decode to Video File. The film is read by PyAV alone.

Tests: families/ltx2/sound_pieces.py, families/ltx_video/streamed.py, nodes/stream.py
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from opent2v.host import embedded
from opent2v.loaders import load_sound_vae, load_vae, open_file
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import ltx2 as tiny

FPS, FRAMES, RATE = 25, 1001, 48000
LATENTS = (FRAMES - 1) // 8 + 1
# The latent frames that flash, at distances that do not repeat.
FLASHES = np.cumsum([3, 5, 4, 7, 5, 9, 4, 6, 8, 5, 4, 11, 6, 5, 9, 7, 4, 8, 6])
BEGINS = (8 * FLASHES - 7) / FPS  # seconds: latent frame n begins with frame 8 n - 7


def loaded(tmp_path, name, weights, load):
    path = tmp_path / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
    return embedded.vae(load(open_file(path), torch.float32))


@pytest.fixture
def video_vae(tmp_path):
    """Its decoder is white where the first channel of a latent frame is above 0, and black elsewhere."""
    vae = loaded(tmp_path, "video", tiny.video_vae("2.3"), load_vae)
    decoder = vae.part.vae.decoder
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()  # residual blocks then pass on what they read
        convolutions = [decoder.conv_in, decoder.conv_out, *(b.upsamplers[0].conv for b in decoder.up_blocks)]
        for convolution in convolutions:
            convolution.conv.weight[:, 0, 1, 1, 1] = 1.0
        # In front of the last one all channels are 1 or -1, and SiLU makes 0.731 or -0.269 of that.
        decoder.conv_out.conv.weight *= 2
        decoder.conv_out.conv.bias.fill_(-0.462)
    return vae


@pytest.fixture
def audio_vae(tmp_path, monkeypatch):
    """Its ends take a sound's loudness in each frame of the spectrum, and make as loud a tone of it."""
    vae = loaded(tmp_path, "sound", tiny.sound_vae("2.3"), load_sound_vae)
    module = vae.part.vae

    def encode(mel, return_dict):
        loud = mel.mean((1, 3)) - math.log(1e-5)  # [B, frames]
        loud = torch.nn.functional.pad(loud, (3, (1 - loud.shape[1]) % 4))
        latent = torch.zeros(len(mel), 8, loud.shape[1] // 4, 16)
        latent[:, 0, :, :4] = loud.unflatten(1, (-1, 4))
        return (SimpleNamespace(mode=lambda: latent),)

    def decode(latent, return_dict):
        frames = latent[:, 0, :, :4].flatten(1)[:, 3:]
        return (frames[:, None, :, None].expand(-1, 2, -1, 64),)

    def vocode(mel):
        loud = (mel[..., 0] / 12).clamp(0, 1) ** 4
        samples = loud.repeat_interleave(RATE // 100, -1)
        return samples * torch.sin(torch.arange(samples.shape[-1]) * (2 * math.pi * 1000 / RATE))

    monkeypatch.setattr(module, "encode", encode)
    monkeypatch.setattr(module, "decode", decode)
    monkeypatch.setattr(module.vocoder, "forward", vocode)
    return vae


def test_clicks_and_flashes_are_within_a_frame_at_start_middle_and_end(video_vae, audio_vae, tmp_path):
    embedded.configure(output=tmp_path / "output")
    picture = torch.full((1, 128, LATENTS, 1, 1), -1.0)
    picture[:, 0, torch.from_numpy(FLASHES)] = 1.0
    mean, std = (video_vae.part.vae.get_buffer(name).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    latent = {"samples": embedded.nested([(picture - mean) / std, torch.zeros(1, 8, FRAMES, 16)])}
    clicks = torch.zeros(1, 2, FRAMES * RATE // FPS)
    for begin in BEGINS:
        start = round(begin * RATE)
        clicks[..., start : start + RATE // 100] = torch.randn(RATE // 100, generator=torch.Generator().manual_seed(1))
    (latent,), _ = call(
        "OpenT2VEncodeAudio", audio_vae=audio_vae, audio={"waveform": clicks, "sample_rate": RATE}, latent=latent
    )
    (_, file, _), _ = call(
        "OpenT2VDecodeToVideo", vae=video_vae, latent=latent, fps=FPS, filename_prefix="clicks", audio_vae=audio_vae
    )
    bright, loud = read(file)
    assert len(bright) == FRAMES and abs(len(loud) / 1000 - FRAMES / FPS) < 1 / FPS
    flashes = np.zeros(len(loud))
    starts = [second for second, before, now in zip(*flash_edges(bright), strict=True) if before < 128 <= now]
    np.testing.assert_allclose(starts, BEGINS, atol=1e-3)
    flashes[[round(1000 * second) for second in starts]] = 1
    third = len(loud) // 3
    for part in (slice(0, third), slice(third, 2 * third), slice(2 * third, None)):
        lag = delay(flashes[part], loud[part])
        # A click of 10 ms begins with its flash, so its middle is 5 ms behind.
        assert flashes[part].sum() >= 4 and abs(lag - 5) < 1000 / FPS / 2, f"the sound is {lag} ms behind the picture"


def flash_edges(bright):
    """(seconds, brightness of the frame before, brightness) of all frames."""
    seconds, levels = zip(*bright, strict=True)
    return seconds, (0, *levels[:-1]), levels


def delay(flashes, loud):
    """Milliseconds that `loud` is behind `flashes`, up to 300, by their cross-correlation."""
    lags = range(-300, 301)
    likeness = [float((np.roll(flashes, lag) * loud).sum()) for lag in lags]
    best = np.flatnonzero(np.array(likeness) > 0.95 * max(likeness))
    return lags[0] + float(best.mean())  # the middle of the top, which a steady click makes flat


def read(file):
    """[(seconds, mean brightness)] of the frames, and the loudness of each millisecond."""
    with av.open(file) as film:
        bright = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in film.decode(video=0)]
    with av.open(file) as film:
        pieces = [(frame.time, frame.to_ndarray()[0]) for frame in film.decode(audio=0)]
        rate = film.streams.audio[0].rate
    samples = np.zeros(max(round(second * rate) + len(piece) for second, piece in pieces))
    for second, piece in pieces:
        start = round(second * rate)
        samples[max(start, 0) : start + len(piece)] = piece[max(-start, 0) :]
    whole = len(samples) // (rate // 1000) * (rate // 1000)
    return bright, np.abs(samples[:whole]).reshape(-1, rate // 1000).mean(1)
