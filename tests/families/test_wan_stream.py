"""Decoding one latent frame at a time equals decoding all at once, whole and in tiles."""

from __future__ import annotations

import pytest
import torch

from opent2v.tests.tiny import wan as tiny


@pytest.mark.parametrize(("kind", "side"), [("plain", 6), ("ti2v", 4)])
@pytest.mark.parametrize("latent_frames", [1, 2, 7])
def test_the_pieces_are_the_whole(kind, side, latent_frames):
    _, _, part = tiny.parts(tiny.folder(kind))
    latent = torch.randn(2, part.variant.geometry.channels, latent_frames, side, side)
    with torch.inference_mode():
        whole = part.decode(latent)
        pieces = list(part.decode_frames(latent))
    assert [piece.shape[2] for piece in pieces] == [1] + [4] * (latent_frames - 1)
    assert torch.equal(torch.cat(pieces, dim=2), whole)


@pytest.mark.parametrize("kind", ["plain", "ti2v"])
@pytest.mark.parametrize("size", [(6, 9), (2, 7), (3, 3)])
def test_in_tiles_it_is_the_tiled_whole(kind, size):
    _, _, part = tiny.parts(tiny.folder(kind))
    ratio = part.variant.geometry.spatial
    part.vae.enable_tiling(4 * ratio, 4 * ratio, 3 * ratio, 3 * ratio)
    latent = torch.randn(1, part.variant.geometry.channels, 3, *size)
    with torch.inference_mode():
        whole = part.vae.tiled_decode(latent, return_dict=False)[0]
        pieces = torch.cat(list(part.decode_frames(latent, tiled=True)), dim=2)
        untiled = torch.cat(list(part.decode_frames(latent)), dim=2)
    assert torch.equal(pieces, whole)
    assert size == (3, 3) or not torch.equal(untiled, whole)


def test_half_a_run_leaves_nothing_behind():
    _, _, part = tiny.parts(tiny.folder())
    latent = torch.randn(1, 16, 4, 4, 4)
    with torch.inference_mode():
        whole = part.decode(latent)
        next(part.decode_frames(latent))
        first, second = part.decode_frames(latent), part.decode_frames(latent.flip(2))
        both = [(a, b) for a, b in zip(first, second, strict=True)]
        assert torch.equal(part.decode(latent), whole)
        assert torch.equal(torch.cat([a for a, _ in both], dim=2), whole)
        assert torch.equal(torch.cat([b for _, b in both], dim=2), part.decode(latent.flip(2)))
