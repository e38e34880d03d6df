"""Long sounds of LTX-2, decoded in pieces, so that memory does not grow with their length.

The decoder looks back only, and the vocoders look some hundredths of a second to both sides: a piece that is decoded
with what it looks at is what the whole is there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PIECE = 250  # latents: 10 s
BEFORE, AFTER = 48, 16  # latents that the last sample of a latent depends on, before and behind it
_FRAMES = 4  # mel frames of one latent; the first latent of a sound makes one


def decoded(decode: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """The waveform [B, 2, samples] of a latent [B, 8, L, 16].

    Args:
        decode: (latent of n) -> waveform of 4 n - 3 mel frames.
    """
    count = latent.shape[2]
    if count <= PIECE + BEFORE + AFTER:
        return decode(latent)
    pieces = []
    for start in range(0, count, PIECE):
        end = min(start + PIECE, count)
        first, last = max(0, start - BEFORE), min(count, end + AFTER)
        wave = decode(latent[:, :, first:last])
        hop = wave.shape[-1] // (_FRAMES * (last - first) - _FRAMES + 1)  # samples of a mel frame
        # Latent n ends with mel frame 4 n; the piece's own first latent makes that frame alone.
        begins = 0 if start == 0 else _FRAMES * (start - first - 1) + 1
        ends = _FRAMES * (end - 1 - first) + 1
        pieces.append(wave[..., hop * begins : hop * ends].cpu())
    return torch.cat(pieces, -1).to(latent.device)
