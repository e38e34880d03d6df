"""What is kept of computed steps, and what stands in for one that is not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def carried_on(sigma: float, last: tuple[float, Tensor], before: tuple[float, Tensor]) -> Tensor:
    """Predictor "linear" at `sigma`: the line through what two computed steps gave, (sigma, value) each.

    Never further than those two are apart: beyond, a straight line leads astray.
    """
    far = (sigma - last[0]) / (last[0] - before[0])
    return torch.lerp(before[1], last[1], 1 + min(max(far, 0.0), 1.0))


@dataclass(frozen=True)
class Kept:
    """What one condition got when it was last computed, by number of the stream; and the time before that.

    Attributes:
        added: by the blocks; all of the answer where the model is covered as a whole.
        form: of what had entered.
    """

    sigma: float
    added: dict[int, Tensor]
    form: tuple[int, ...]
    before: Kept | None = None

    @property
    def bytes(self) -> int:
        return sum(one.nbytes for one in self.added.values()) + (self.before.bytes if self.before else 0)

    @property
    def shapes(self) -> dict[int, torch.Size]:
        return {n: one.shape for n, one in self.added.items()}

    def at(self, sigma: float, device: torch.device) -> dict[int, Tensor]:
        """What stands in at `sigma`."""
        added = {n: one.to(device) for n, one in self.added.items()}
        before = self.before
        if before is None or before.sigma == self.sigma:
            return added
        return {
            n: carried_on(sigma, (self.sigma, one), (before.sigma, before.added[n].to(device)))
            for n, one in added.items()
        }
