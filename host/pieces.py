"""Decode a long latent in overlapping windows of time, for VAEs that cannot continue from where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Latent frames decoded at a time. At four frames per latent frame this is 81 frames, so a usual clip is one window.
SPAN = 21
# Consecutive windows overlap by WARM_UP + FADE latent frames: the WARM_UP frames give the VAE temporal context and are
# discarded, the FADE frames are cross-faded.
WARM_UP, FADE = 4, 2


def stretches(latent_frames: int) -> list[tuple[int, int]]:
    """(start, end) of each window in latent frames, the end excluded."""
    step = SPAN - WARM_UP - FADE
    starts = range(0, max(1, latent_frames - WARM_UP - FADE), step)
    return [(start, min(start + SPAN, latent_frames)) for start in starts]


def overlapped(
    decode: Callable[[Tensor], Tensor], latent: Tensor, frames: Callable[[int], int]
) -> Iterator[tuple[int, Tensor]]:
    """Decode a latent [1, C, T, h, w] window by window.

    Args:
        decode: latent [1, C, t, h, w] -> IMAGE [f, H, W, 3].
        frames: (number of latent frames) -> number of frames they decode to.
    Yields:
        (latent frames done, IMAGE [n, H, W, 3]); all images together are `frames(T)`.
    """
    latent_frames = latent.shape[2]
    faded: Tensor | None = None  # the end of the previous window, for the cross-fade
    for start, end in stretches(latent_frames):
        images = decode(latent[:, :, start:end])
        if faded is not None:
            # A window's last frame belongs to its last latent frame, so its frames are counted from the end.
            offset = frames(end) - images.shape[0]
            images = images[frames(start + WARM_UP + FADE) - faded.shape[0] - offset :]
            share = torch.linspace(0, 1, faded.shape[0] + 2)[1:-1].to(images).view(-1, 1, 1, 1)
            blended = faded + (images[: faded.shape[0]] - faded) * share
            images = torch.cat([blended, images[faded.shape[0] :]])
        kept = 0 if end == latent_frames else frames(end) - frames(end - FADE)
        # A copy, because a view would keep the whole window alive.
        faded = images[images.shape[0] - kept :].clone()
        yield end, images[: images.shape[0] - kept]
