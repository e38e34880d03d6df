"""Muon, with matrices of one shape taken together, in float32 or in bfloat16: torch's own does one at a time."""

from __future__ import annotations

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are all set to about 1 (Jordan and others, 2024).

    Args:
        parameters: matrices, or convolutions, which count as [out, in * kernel].
        lr: how far a step moves a matrix, in units of its singular values; a tall matrix moves further.
        dtype: of the iteration; the weights stay as they are.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, dtype: torch.dtype = torch.float32):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike: dict[tuple, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(tuple(p.flatten(1).shape), []).append(p)
            for (rows, columns), same in alike.items():
                directions = []
                for p in same:
                    mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    mean.lerp_(p.grad, 1 - group["momentum"])
                    directions.append(p.grad.lerp(mean, group["momentum"]).flatten(1))
                far = group["lr"] * max(1.0, rows / columns) ** 0.5
                for p, step in zip(same, orthogonal(torch.stack(directions), self._dtype), strict=True):
                    p.add_(step.reshape(p.shape), alpha=-far)


def orthogonal(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """[N, rows, columns] -> the same with singular values of about 1 (0.7 to 1.2), by five Newton-Schulz steps."""
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)).to(dtype)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x if wide else x.mT).float()
