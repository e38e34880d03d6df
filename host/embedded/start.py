"""What a run on the embedded host starts from: the latent, its noise, and what a mask keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...base import Variant
from ...sampling import Prediction, Run
from ...sampling.streams import Packing, seeded_noise, unbind
from ...sampling.windows import TIME, Window, Windows


@dataclass(frozen=True)
class Start:
    """What a run starts from and what a mask keeps of it; streams are packed.

    Attributes:
        is_joint: families get streams as a list, see `Network`.
        latent, noise: [B, C, T, h, w], as the transformer sees them.
        masks: of each stream, 1 is made anew, 0 is kept; None: all is made anew.
        variant: says how what is kept enters the transformer.
    """

    packing: Packing
    is_joint: bool
    latent: Tensor
    noise: Tensor
    masks: list[Tensor] | None
    variant: Variant

    @cached_property
    def mask(self) -> Tensor | None:
        return None if self.masks is None else self.packing.pack(self.masks)

    @property
    def family_mask(self) -> Any:
        return self.masks if self.masks is None or self.is_joint else self.masks[0]

    @property
    def family_shape(self) -> Any:
        """Of the latents, as families get it."""
        return list(self.packing.shapes) if self.is_joint else self.packing.shapes[0]

    def windows(self, windows: Windows | None, step: int) -> list[Window]:
        """The windows of a step; none where the latent is computed at once."""
        if windows is None or self.packing.shapes[0][TIME] <= windows.length:
            return []
        return windows.over(self.packing.shapes, step)

    def before(self, x: Tensor, sigma: Tensor, predicts: Prediction) -> Tensor:
        """The noisy latent as the transformer sees it: what a mask keeps is put back."""
        if self.mask is None or self.masks is None:
            return x
        masking, mask, packing = self.variant.family.network.masking, self.mask, self.packing
        if masking is not None:
            mask = packing.pack(masking.grown(self.masks))
            clean, noise = packing.unpack(self.latent), packing.unpack(self.noise)
            kept = packing.pack(masking.kept(self.variant, clean, noise, sigma))
        elif self.variant.keeps_clean:
            kept = self.latent
        else:
            kept = predicts.noised(self.latent, self.noise, sigma)
        return x * mask + kept * (1 - mask)

    def after(self, clean: Tensor) -> Tensor:
        """The clean latent with what a mask keeps."""
        return clean if self.mask is None else clean * self.mask + self.latent * (1 - self.mask)


def start_of(
    variant: Variant,
    latent: Mapping[str, Any],
    samples: list[Tensor],
    run: Run,
    device: torch.device,
    windows: Windows | None,
) -> Start:
    """
    Args:
        latent: the LATENT, with its mask and "batch_index" where it has them.
        samples: of each stream, without padding frames.
    """
    streams = list(zip(variant.streams, samples, strict=False))
    padded = [stream.pad_front(tensor) for stream, tensor in streams]
    packing = Packing.of(padded)
    masks, mask = None, latent.get("noise_mask")
    if mask is not None:
        stream_masks = _masks(unbind(mask), samples)
        masks = [
            stream.pad_front(stream_mask).to(device)
            for (stream, _), stream_mask in zip(streams, stream_masks, strict=True)
        ]
    if any(bool(tensor.any()) for tensor in samples):
        padded = [stream.normalise(tensor) for (stream, _), tensor in zip(streams, padded, strict=True)]
    noise = seeded_noise(packing.shapes, run.seed, run.seeds, latent.get("batch_index"))
    noise = noise if windows is None else windows.shuffled(noise, run.seed)
    return Start(
        packing,
        variant.is_joint,
        packing.pack(padded).to(device),
        packing.pack(noise).to(device),
        masks,
        variant,
    )


def as_video(samples: Tensor, channels: int) -> Tensor:
    """A latent as the model takes it: a picture is one frame, an empty latent gets the model's channels."""
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.shape[1] != channels and not samples.any():
        samples = samples.new_zeros(len(samples), channels, *samples.shape[2:])
    return samples


def _masks(masks: list[Tensor], streams: list[Tensor]) -> list[Tensor]:
    """A mask for each stream, as in the host; what has none is made anew.

    Of a single stream [1 or B, 1 or C, T, h, w], of several each in its stream's shape.
    """
    if len(streams) == 1:
        return [_latent_mask(masks[0], streams[0])]
    sized = [_latent_mask(mask, stream) for mask, stream in zip(masks, streams, strict=False)]
    sized = [
        mask[torch.arange(len(stream)) % len(mask)].expand(stream.shape)
        for mask, stream in zip(sized, streams, strict=False)
    ]
    return [*sized, *(torch.ones_like(stream) for stream in streams[len(sized) :])]


def _latent_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A mask in the size of a stream, as in the host.

    Args:
        mask: [..., H, W], for a video one for all frames or one per frame, or of as many dimensions as the stream.
    """
    if samples.ndim == 5 and mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])  # images of a batch are frames of the video
    elif samples.ndim == 4:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[samples.ndim]
    return functional.interpolate(mask.float(), size=samples.shape[2:], mode=mode)
