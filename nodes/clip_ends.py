"""The end of a clip that another goes on from, and the latents that are kept at the ends of a new clip."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..base import FamilyError, Variant
from ..host import host
from ..sampling.streams import empty_streams
from .memory import decoded_stream
from .picture import wrong_vae
from .streams import picture


class Clip:
    """The clip that is gone on from.

    Attributes:
        frames: how many it has.
        size: (width, height) in pixels.
    """

    def __init__(self, vae: Any, images: Tensor | None, latent: dict[str, Any] | None):
        if (images is None) == (latent is None):
            count = "neither" if images is None else "both"
            raise ValueError(f"Connect images or latent, the clip to go on from; found {count}.")
        self.vae, self.images, self.latent = vae, images, latent
        if images is not None:
            self.frames, self.size = len(images), (images.shape[2], images.shape[1])
            return
        assert latent is not None
        samples = picture(latent)
        if samples.ndim != 5 or len(samples) != 1:
            raise ValueError(
                f"latent is of shape {list(samples.shape)}; expected one video [1, channels, frames, height, width]."
            )
        known = host.variant(vae)
        if known is None:
            raise FamilyError(
                "This VAE was not loaded by an OpenT2V node, so the size of what it decodes is not known here. Decode "
                "the latent and connect the frames to images."
            )
        spatial = known.geometry.spatial
        self.frames, self.size = (
            host.clip_frames(vae, samples),
            (samples.shape[4] * spatial, samples.shape[3] * spatial),
        )

    def end(self, count: int) -> Tensor:
        """The last frames, [count, H, W, 3]."""
        if self.images is not None:
            return self.images[-count:, ..., :3].float()
        assert self.latent is not None
        kept = torch.zeros(0)
        for piece in decoded_stream(self.vae, self.latent, lambda _: None):
            kept = (piece if not len(kept) else torch.cat([kept, piece]))[-count:].clone()
        return kept.float().cpu()


def kept_ends(
    variant: Variant, vae: Any, tail: Tensor, end: Tensor | None, size: tuple[int, int, int], fps: float
) -> tuple[dict[str, Any], int, int]:
    """(the LATENT whose mask keeps both ends, latent frames kept at its start, and at its end).

    Args:
        tail: frames [n, H, W, 3] that the new clip begins with, as many as the family can make.
        end: frames that it ends with, or None. A latent frame behind the first holds several video frames, so that an
            end of fewer is held still for them.
        size: (width, height, frames) of the new clip.
    Raises:
        FamilyError: the VAE is of another model.
        ValueError: nothing is left between the ends.
    """
    width, height, frames = size
    encoded = host.encode(vae, tail).float().cpu()
    samples, *others = empty_streams(variant.streams, width, height, frames, fps)
    samples = variant.video.denormalise(samples)
    if samples.shape[1] != encoded.shape[1] or samples.shape[3:] != encoded.shape[3:]:
        expected = [samples.shape[1], encoded.shape[2], *samples.shape[3:]]
        raise wrong_vae(f"makes latents of {list(encoded.shape[1:])}", variant, expected)
    last = None if end is None else _end_latents(vae, end, variant.geometry.temporal)
    first_count, last_count = encoded.shape[2], 0 if last is None else last.shape[2]
    if first_count + last_count >= samples.shape[2]:
        raise ValueError(
            f"The new clip has {samples.shape[2]} latent frames, of which its start keeps {first_count} and its end "
            f"{last_count}: nothing is left between. Choose more frames, or shorter ends."
        )
    mask = torch.ones(1, 1, *samples.shape[2:])
    samples[:, :, :first_count], mask[:, :, :first_count] = encoded, 0
    if last is not None:
        samples[:, :, -last_count:], mask[:, :, -last_count:] = last, 0
    masks = [torch.ones(1, 1, *stream.shape[2:]) for stream in others]
    start = {"samples": host.nested([samples, *others]), "noise_mask": host.nested([mask, *masks])}
    return start, first_count, last_count


def _end_latents(vae: Any, end: Tensor, temporal: int) -> Tensor:
    """The latent frames [1, C, T, h, w] of a video's end, without the VAE's first latent frame, of one video frame.

    Args:
        temporal: video frames per latent frame.
    """
    count = max(1, (len(end) - 1) // temporal)
    needed = 1 + temporal * count
    frames = torch.cat([end[:1].expand(max(needed - len(end), 0), -1, -1, -1), end[-needed:]])
    return host.encode(vae, frames).float().cpu()[:, :, -count:]
