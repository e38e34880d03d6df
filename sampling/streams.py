"""The streams of a latent as one tensor, which solvers and guidance walk.

Source: ComfyUI 0.33.0, comfy/utils.py (pack_latents, unpack_latents) and comfy/sample.py (prepare_noise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..base import Stream
from ..base.generators import seeded
from ..base.guidance import PassResults


def unbind(samples: Any) -> list[Tensor]:
    """The streams of a LATENT's samples or noise mask, the video's first."""
    return list(samples.unbind()) if samples.is_nested else [samples]


@dataclass(frozen=True)
class Packing:
    """Packs streams into the one tensor of a run: a single stream as it is, several as one row of numbers.

    Attributes:
        shapes: [B, C, ...] of each stream; B need not be that of the tensors packed and unpacked.
    """

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, streams: Sequence[Tensor]) -> Packing:
        return cls(tuple(tuple(stream.shape) for stream in streams))

    def pack(self, streams: Sequence[Tensor]) -> Tensor:
        """[B, 1, N], or the tensor itself where there is one stream."""
        if len(self.shapes) == 1:
            return streams[0]
        return torch.cat([stream.reshape(len(stream), 1, -1) for stream in streams], -1)

    def unpack(self, packed: Tensor) -> list[Tensor]:
        """The inverse of `pack`."""
        if len(self.shapes) == 1:
            return [packed]
        rows = packed.split([math.prod(shape[1:]) for shape in self.shapes], -1)
        return [row.reshape(len(row), *shape[1:]) for row, shape in zip(rows, self.shapes, strict=True)]

    def results(self, packed: PassResults) -> list[PassResults]:
        """Results of a step's passes, for each stream by itself."""
        clean = {name: self.unpack(tensor) for name, tensor in packed.clean.items()}
        return [
            replace(packed, clean={name: streams[n] for name, streams in clean.items()}, x=x, stream=n)
            for n, x in enumerate(self.unpack(packed.x))
        ]


def empty_streams(streams: Sequence[Stream], width: int, height: int, frames: int, fps: float) -> list[Tensor]:
    """[1, C, ...] zeros of each stream of a video of this size."""
    return [torch.zeros(1, *stream.latent_shape(width, height, frames, fps)) for stream in streams]


def seeded_noise(
    shapes: Sequence[tuple[int, ...]], seed: int, seeds: Sequence[int] = (), draws: Sequence[int] | None = None
) -> list[Tensor]:
    """Noise of each stream in order, from one generator of the CPU: a seed means the same on every machine.

    Args:
        shapes: [B, C, ...] of each stream.
        seeds: in place of `seed`, one for each clip of the batch, which gets the noise that it has alone.
        draws: for each clip of the batch, which draw of the seed it gets, from 0: a LATENT's "batch_index".
    """
    if seeds:
        alone = [(1, *shape[1:]) for shape in shapes]
        clips = [seeded_noise(alone, number) for number in seeds]
        return [torch.cat(stream) for stream in zip(*clips, strict=True)]
    generator = seeded(seed)
    if draws is None:
        return [torch.randn(shape, generator=generator) for shape in shapes]
    noise = list[Tensor]()
    for shape in shapes:
        drawn = [torch.randn((1, *shape[1:]), generator=generator) for _ in range(max(draws) + 1)]
        noise.append(torch.cat([drawn[draw] for draw in draws]))
    return noise
