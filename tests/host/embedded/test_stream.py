"""decode_stream of the embedded host, and the stretches that VAEs without a memory are decoded in.

Tests: host/embedded/vae.py, host/pieces.py
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from opent2v.host import embedded
from opent2v.host.embedded import machine
from opent2v.host.pieces import FADE, SPAN, WARM_UP, overlapped, stretches
from opent2v.tests.tiny import wan as tiny


def forgetful(vae):
    """The same VAE, of a family that cannot decode frame by frame."""
    family = vae.part.variant.family
    family = dataclasses.replace(family, video=dataclasses.replace(family.video, decode_frames=None))
    variant = dataclasses.replace(vae.part.variant, family=family)
    return dataclasses.replace(vae, part=dataclasses.replace(vae.part, variant=variant))


@pytest.mark.parametrize("shape", [(1, 16, 5, 4, 4), (2, 16, 3, 4, 4), (3, 16, 4, 4)])
def test_streamed_frames_are_the_decoded_ones(shape):
    _, _, vae = tiny.shared()
    latent, seen = torch.randn(shape), []
    pieces = list(embedded.decode_stream(vae, latent, seen.append))
    assert torch.equal(torch.cat(pieces), embedded.decode(vae, latent))
    assert max(piece.shape[0] for piece in pieces) == (4 if len(shape) == 5 else 1)
    assert seen == list(range(1, shape[0] * (shape[2] if len(shape) == 5 else 1) + 1))


def test_in_tiles_where_one_piece_does_not_fit(monkeypatch):
    _, _, vae = tiny.shared()
    asked = []
    original = type(vae.part).decode_frames
    monkeypatch.setattr(
        type(vae.part), "decode_frames", lambda part, z, tiled: (asked.append(tiled), original(part, z, tiled))[1]
    )
    latent = torch.randn(1, 16, 2, 4, 4)
    one_piece = vae.part.variant.decode_memory((1, 16, 1, 4, 4), 4)
    for free in (one_piece - 1, one_piece + 1):
        monkeypatch.setattr(machine, "free_memory", lambda device, free=free: free)
        assert torch.cat(list(embedded.decode_stream(vae, latent))).shape == (5, 32, 32, 3)
    assert asked == [True, False]


# What a GPU's allocators raise: torch's own, and the driver's asynchronous one through torch.
SHORT = (
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: out of memory"),
)


@pytest.mark.parametrize("error", SHORT)
def test_in_tiles_where_memory_runs_out_on_the_way(monkeypatch, error):
    _, _, vae = tiny.shared()
    original = type(vae.part).decode_frames

    def short(part, latent, tiled):
        for n, piece in enumerate(original(part, latent, tiled)):
            if n == 1 and not tiled:
                raise error
            yield piece

    monkeypatch.setattr(type(vae.part), "decode_frames", short)
    latent = torch.randn(1, 16, 3, 4, 4)
    frames = torch.cat(list(embedded.decode_stream(vae, latent)))
    assert torch.equal(frames, embedded.decode(vae, latent))


@pytest.mark.parametrize("error", SHORT)
@pytest.mark.parametrize("way", ["decode", "encode"])
def test_decode_and_encode_go_on_in_tiles(monkeypatch, way, error):
    _, _, vae = tiny.shared()
    original, asked = getattr(type(vae.part), way), []

    def short(part, *given):
        asked.append(part.vae.use_tiling)
        if not part.vae.use_tiling:
            raise error
        return original(part, *given)

    given = torch.randn(1, 16, 2, 4, 4) if way == "decode" else torch.rand(5, 32, 32, 3)
    whole = getattr(embedded, way)(vae, given)
    monkeypatch.setattr(type(vae.part), way, short)
    assert torch.equal(getattr(embedded, way)(vae, given), whole)  # one tile holds so small a video
    assert asked == [False, True] and vae.part.vae.use_tiling is False


@pytest.mark.parametrize("error", [RuntimeError("mixed devices"), ValueError("out of memory"), *SHORT])
def test_another_error_and_none_left_in_tiles_end_the_decode(monkeypatch, error):
    _, _, vae = tiny.shared()
    asked = []

    def failing(part, latent):
        asked.append(part.vae.use_tiling)
        raise error

    monkeypatch.setattr(type(vae.part), "decode", failing)
    with pytest.raises(type(error), match=str(error)):
        embedded.decode(vae, torch.randn(1, 16, 2, 4, 4))
    assert asked == ([False, True] if error in SHORT else [False])
    assert vae.part.vae.use_tiling is False


def test_an_interrupt_stops_between_pieces():
    _, _, vae = tiny.shared()
    pieces = embedded.decode_stream(vae, torch.randn(1, 16, 5, 4, 4))
    next(pieces)
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        next(pieces)


# --- stretches ---


def test_a_usual_clip_is_one_stretch():
    assert stretches(1) == [(0, 1)] and stretches(SPAN) == [(0, SPAN)]
    assert stretches(SPAN + 1) == [(0, SPAN), (SPAN - WARM_UP - FADE, SPAN + 1)]


@pytest.mark.parametrize("latent_frames", [1, 21, 22, 36, 37, 66])
def test_stretches_cover_all_and_share_enough(latent_frames):
    found = stretches(latent_frames)
    assert found[0][0] == 0 and found[-1][1] == latent_frames
    assert all(b[0] == a[1] - WARM_UP - FADE for a, b in itertools.pairwise(found))
    assert all(WARM_UP + FADE < b - a <= SPAN for a, b in found[1:])


@pytest.mark.parametrize("frames", [lambda n: 4 * n - 3, lambda n: 6 * n - 5, lambda n: n, lambda n: 2 * n])
@pytest.mark.parametrize("latent_frames", [5, 21, 22, 50])
def test_every_frame_comes_once_and_in_order(frames, latent_frames):
    """A VAE without any context: each frame's value is its number, wherever the stretch begins."""
    total = frames(latent_frames)

    def decode(stretch):
        end = frames(int(stretch[0, 0, -1, 0, 0]) + 1)
        return torch.arange(end - frames(stretch.shape[2]), end).float().view(-1, 1, 1, 1).expand(-1, 2, 2, 3)

    latent = torch.arange(float(latent_frames)).view(1, 1, -1, 1, 1)
    done, pieces = zip(*overlapped(decode, latent, frames), strict=True)
    assert torch.allclose(torch.cat(pieces)[:, 0, 0, 0], torch.arange(float(total)), atol=1e-4)
    assert done[-1] == latent_frames and len(pieces) == len(stretches(latent_frames))


def test_a_vae_without_memory_comes_close():
    """Tiny random weights forget slowly; the bundled model's deviation is in README."""
    _, _, vae = tiny.shared()
    latent = torch.randn(1, 16, 30, 4, 4)
    whole = embedded.decode(vae, latent)
    streamed = torch.cat(list(embedded.decode_stream(forgetful(vae), latent)))
    first = 4 * (SPAN - FADE) - 3  # up to here nothing is blended
    assert streamed.shape == whole.shape and torch.equal(streamed[:first], whole[:first])
    assert (streamed - whole).abs().mean() < 0.01


def test_a_video_names_its_file(tmp_path):
    assert embedded.video(tmp_path / "a.mp4").get_stream_source() == str(tmp_path / "a.mp4")
