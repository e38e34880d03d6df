"""Which clips a step learns from, and its random numbers: all from the step's number alone, so that a resumed training
goes on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import torch


def generator_of(*parts: int | str) -> torch.Generator:
    """A generator of the CPU whose seed is made of these."""
    digest = sha256(" ".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Order:
    """Every clip once an epoch, in batches of one bucket; a bucket's last batch is filled up with its first clips.

    Args:
        buckets: for each bucket, the numbers of its clips.
        batch: clips of a step.
    """

    def __init__(self, buckets: Sequence[Sequence[int]], batch: int, seed: int):
        self._buckets = [list(bucket) for bucket in buckets if bucket]
        self._batch, self._seed = batch, seed
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return sum(-(-len(bucket) // self._batch) for bucket in self._buckets)

    def clips(self, step: int) -> list[int]:
        """The clips of a step, counted from 0."""
        epoch, place = divmod(step, self.steps)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._batches(epoch)
        return self._epoch[1][place]

    def _batches(self, epoch: int) -> list[list[int]]:
        batches = []
        for number, bucket in enumerate(self._buckets):
            shuffled = torch.randperm(len(bucket), generator=generator_of(self._seed, "order", epoch, number)).tolist()
            count = -(-len(bucket) // self._batch) * self._batch
            filled = [bucket[shuffled[n % len(bucket)]] for n in range(count)]
            batches += [filled[n : n + self._batch] for n in range(0, count, self._batch)]
        shuffled = torch.randperm(len(batches), generator=generator_of(self._seed, "batches", epoch)).tolist()
        return [batches[n] for n in shuffled]
