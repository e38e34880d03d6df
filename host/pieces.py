"""A long latent decoded in overlapping stretches of time, for VAEs that cannot go on where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Latent frames decoded at a time. With four frames to a latent frame this is 81 frames: a usual clip is one stretch.
SPAN = 21
# Of these a stretch shares so many with the one before. The first ones only give the VAE something to look back at and
# are thrown away; over the last ones the two stretches are faded into each other.
WARM_UP, FADE = 4, 2


def stretches(latent_frames: int) -> list[tuple[int, int]]:
    """(first, one past the last) latent frame of each stretch."""
    step = SPAN - WARM_UP - FADE
    starts = range(0, max(1, latent_frames - WARM_UP - FADE), step)
    return [(start, min(start + SPAN, latent_frames)) for start in starts]


def overlapped(
    decode: Callable[[Tensor], Tensor], latent: Tensor, frames: Callable[[int], int]
) -> Iterator[tuple[int, Tensor]]:
    """Decode a latent [1, C, T, h, w] stretch by stretch.

    Args:
        decode: latent [1, C, t, h, w] -> IMAGE [f, H, W, 3].
        frames: how many frames so many latent frames decode to.
    Yields:
        (latent frames done, IMAGE [n, H, W, 3]); all images together are `frames(T)`.
    """
    latent_frames = latent.shape[2]
    faded: Tensor | None = None  # the end of the stretch before, which the next one is faded into
    for start, end in stretches(latent_frames):
        images = decode(latent[:, :, start:end])
        if faded is not None:
            # A stretch's last frame belongs to its last latent frame, so frames are counted from its end.
            offset = frames(end) - images.shape[0]
            images = images[frames(start + WARM_UP + FADE) - faded.shape[0] - offset :]
            share = torch.linspace(0, 1, faded.shape[0] + 2)[1:-1].to(images).view(-1, 1, 1, 1)
            blended = faded + (images[: faded.shape[0]] - faded) * share
            images = torch.cat([blended, images[faded.shape[0] :]])
        kept = 0 if end == latent_frames else frames(end) - frames(end - FADE)
        # A copy: a view would keep the whole stretch alive.
        faded = images[images.shape[0] - kept :].clone()
        yield end, images[: images.shape[0] - kept]
