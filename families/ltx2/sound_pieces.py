"""Sounds of LTX-2, decoded in pieces, so that memory does not grow with their length.

The decoder looks back only, and the vocoders look some tenths of a second to both sides: a piece that is computed with
what it looks at is what the whole is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SPAN = 64  # latents computed at a time, 2.6 s: no more than those of a short clip
# Latents that a latent's spectrum depends on before it, in the decoder of the published depth: 33.
LOOKS_BACK = 34
# Frames of the spectrum that a sample depends on, to either side; of the published vocoders' depths: 44.
REACH = 48
_FRAMES = 4  # of the spectrum, of one latent; the first latent of a sound makes one


def spectrum(decode: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """The spectrum [B, 2, 4 L - 3, bins] of a latent [B, 8, L, 16].

    Args:
        decode: (latent of n) -> spectrum of 4 n - 3 frames.
    """
    pieces = []
    for start, end in _stretches(latent.shape[2], SPAN, LOOKS_BACK):
        first = max(0, start - LOOKS_BACK)
        piece = decode(latent[:, :, first:end])
        # Latent n ends with frame 4 n; the piece's own first latent makes that frame alone.
        pieces.append(piece[:, :, 0 if start == 0 else _FRAMES * (start - first - 1) + 1 :])
    return torch.cat(pieces, 2)


def waveform(vocode: Callable[[Tensor], Tensor], mel: Tensor) -> Tensor:
    """The waveform [B, 2, samples] of a spectrum [B, 2, frames, bins].

    Args:
        vocode: (spectrum of n frames) -> as many samples for each of them.
    """
    pieces, count = [], mel.shape[2]
    if count <= _FRAMES * SPAN:
        return vocode(mel)
    for start, end in _stretches(count, _FRAMES * SPAN - REACH, REACH):
        first, last = max(0, start - REACH), min(count, end + REACH)
        wave = vocode(mel[:, :, first:last])
        hop = wave.shape[-1] // (last - first)
        # A copy, because a view would keep the samples around it.
        pieces.append(wave[..., hop * (start - first) : hop * (end - first)].clone())
    return torch.cat(pieces, -1)


def _stretches(count: int, span: int, before: int) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces that follow each other, none longer than `span` with the `before` it looks back at."""
    start, end = 0, min(span, count)
    while start < count:
        yield start, end
        start, end = end, min(end + span - before, count)
