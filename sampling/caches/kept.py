"""Kept results of computed steps, and the stand-in for a reused step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..change import extrapolated


@dataclass(frozen=True)
class Kept:
    """The result of one condition's last computed step, and of the one before that.

    Attributes:
        added: stream number -> residual of the blocks, or the output where the model is covered as a whole.
        form: rows, tokens and width of the blocks' input.
        before: the result before, for predictor "linear".
    """

    sigma: float
    added: dict[int, Tensor]
    form: tuple[int, ...]
    before: Kept | None = None

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.added.values()) + (self.before.bytes if self.before else 0)

    @property
    def shapes(self) -> dict[int, torch.Size]:
        return {n: tensor.shape for n, tensor in self.added.items()}

    def at(self, sigma: float, device: torch.device) -> dict[int, Tensor]:
        """The stand-in at `sigma`, by stream."""
        added = {n: tensor.to(device) for n, tensor in self.added.items()}
        before = self.before
        if before is None or before.sigma == self.sigma:
            return added
        return {
            n: extrapolated(sigma, (self.sigma, tensor), (before.sigma, before.added[n].to(device)))
            for n, tensor in added.items()
        }
