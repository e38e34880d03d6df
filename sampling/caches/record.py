"""A run with every step computed that notes what all policies go by; a step cache's profile is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .kept import carried_on
from .plan import LAGS, Recorded
from .policies import change

# "linear" with one step in LAGS + 1 computed looks back so far.
KEPT = 2 * LAGS + 1


@dataclass(frozen=True)
class Seen:
    """One condition's part of a step: some of its tokens [rows, tokens, width], float32; None where there is none."""

    sigma: float
    entered: Tensor
    left: Tensor
    first: Tensor | None
    signal: Tensor | None

    @property
    def added(self) -> Tensor:
        return self.left - self.entered


@dataclass
class Recorder:
    """What a run shows, step by step.

    Attributes:
        rows: of the finished calls.
    """

    expert: int
    rows: list[Recorded] = field(default_factory=list)
    _seen: dict[str, list[Seen]] = field(default_factory=dict)
    _open: list[tuple[str, int, float, dict[str, Tensor]]] = field(default_factory=list)

    def see(self, label: str, step: int, seen: Seen) -> None:
        """A condition's part of a call; of several windows the first one of a step counts."""
        trail = self._seen.setdefault(label, [])
        if any(other == label and at == step for other, at, *_ in self._open):
            return
        # There are three labels, so a step's other rows are among the last few.
        if any(row.label == label and row.step == step for row in self.rows[-4:]):
            return
        if trail and trail[-1].entered.shape != seen.entered.shape:
            trail.clear()
        self._open.append((label, step, seen.sigma, _measured(seen, trail)))
        trail.append(seen)
        del trail[:-KEPT]

    def ended(self, seconds: float) -> None:
        """The call has ended."""
        for label, step, sigma, measured in self._open:
            # One transfer for all numbers.
            numbers = torch.stack(list(measured.values())).tolist() if measured else []
            found = {name: one for name, one in zip(measured, numbers, strict=True) if math.isfinite(one)}
            lags = {
                name: tuple(found[key] for key in (f"{name} {n}" for n in range(1, LAGS + 1)) if key in found)
                for name in ("replay", "replay_linear")
            }
            plain = {name: one for name, one in found.items() if " " not in name}
            self.rows.append(
                Recorded(
                    self.expert,
                    label,
                    step,
                    sigma,
                    seconds,
                    **plain,
                    replay=lags["replay"],
                    replay_linear=lags["replay_linear"],
                )
            )
        self._open.clear()

    def drop(self) -> None:
        """Let go of all tensors."""
        self._seen.clear()
        self._open.clear()


def _measured(new: Seen, trail: list[Seen]) -> dict[str, Tensor]:
    """Numbers by the names of `Recorded`, "replay 2" for the second of several."""
    if not trail:
        return {}
    old, added = trail[-1], new.added
    moved, answered = (new.entered - old.entered).abs().mean(), (new.left - old.left).abs().mean()
    ratio = added.norm(dim=-1) / old.added.norm(dim=-1)
    size = new.left.abs().mean()
    found = {
        "gamma": ratio.mean(),
        "spread": ratio.std(correction=0),
        "input": moved / old.entered.abs().mean(),
        "output": answered / old.left.abs().mean(),
        "answer": answered / moved,
    }
    for name in ("first", "signal"):
        one, other = getattr(new, name), getattr(old, name)
        if one is not None and other is not None:
            found[name] = change(one, other)
    for lag in range(1, min(LAGS, len(trail)) + 1):
        last = trail[-lag]
        found[f"replay {lag}"] = (added - last.added).abs().mean() / size
        if len(trail) > 2 * lag and trail[-2 * lag - 1].sigma != last.sigma:
            before = trail[-2 * lag - 1]
            guess = carried_on(new.sigma, (last.sigma, last.added), (before.sigma, before.added))
            found[f"replay_linear {lag}"] = (added - guess).abs().mean() / size
    return found
