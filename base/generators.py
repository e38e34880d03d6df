"""Noise of a batch from one generator, or of each clip from its own, as diffusers' pipelines take generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_SEED = 0xFFFFFFFFFFFFFFFF  # that torch's generators take

Generators = torch.Generator | Sequence[torch.Generator] | None


def seeded(seed: int) -> torch.Generator:
    """A generator of the CPU, whose numbers are the same on every machine."""
    return torch.Generator().manual_seed(seed)


def normal(shape: Sequence[int], generators: Generators) -> Tensor:
    """Standard normal numbers [B, ...].

    Args:
        generators: of the whole batch, or one for each of its B clips; a clip of its own generator has the numbers that
            it has alone.

    >>> alone = normal((1, 2), seeded(7))
    >>> torch.equal(normal((2, 2), [seeded(3), seeded(7)])[1:], alone)
    True
    """
    if generators is None or isinstance(generators, torch.Generator):
        return torch.randn(tuple(shape), generator=generators)
    clips = shape[0]
    if len(generators) != clips:
        raise ValueError(f"there are {len(generators)} generators for {clips} clips; expected one for each clip")
    return torch.cat([torch.randn((1, *shape[1:]), generator=generator) for generator in generators])
