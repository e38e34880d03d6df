"""Record, in a run with every step computed, the measurements that step cache policies use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..change import extrapolated, relative_change
from .recorded import LAGS, Recorded

# "linear" looks back this far when one step in LAGS + 1 is computed.
KEPT = 2 * LAGS + 1


@dataclass(frozen=True)
class Observation:
    """One condition's part of a step.

    Attributes:
        entered, left: some of its tokens [rows, tokens, width], float32, in front of and behind the blocks.
        first: the same tokens of the first block's residual.
        signal: TeaCache's, for a family that has one.
    """

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
    """The measurements of a run, step by step.

    Attributes:
        rows: of the finished calls.
    """

    expert: int
    rows: list[Recorded] = field(default_factory=list)
    _seen: dict[str, list[Observation]] = field(default_factory=dict)
    _open: list[tuple[str, int, float, dict[str, Tensor]]] = field(default_factory=list)

    def see(self, label: str, step: int, observation: Observation) -> None:
        """Note one condition's part of a call; of several windows in a step the first counts."""
        trail = self._seen.setdefault(label, [])
        if any(open_label == label and at == step for open_label, at, *_ in self._open):
            return
        # There are three labels, so rows of the same step are among the last few.
        if any(row.label == label and row.step == step for row in self.rows[-4:]):
            return
        if trail and trail[-1].entered.shape != observation.entered.shape:
            trail.clear()
        self._open.append((label, step, observation.sigma, _measured(observation, trail)))
        trail.append(observation)
        del trail[:-KEPT]

    def ended(self, seconds: float) -> None:
        """Turn the measurements of the finished call into rows."""
        for label, step, sigma, measured in self._open:
            # Copy all numbers from the device in one transfer.
            values = torch.stack(list(measured.values())).tolist() if measured else []
            finite = {name: value for name, value in zip(measured, values, strict=True) if math.isfinite(value)}
            plain: dict[str, Any] = {name: value for name, value in finite.items() if " " not in name}
            replay, replay_linear = (
                tuple(finite[key] for key in (f"{name} {n}" for n in range(1, LAGS + 1)) if key in finite)
                for name in ("replay", "replay_linear")
            )
            row = Recorded(
                self.expert, label, step, sigma, seconds, **plain, replay=replay, replay_linear=replay_linear
            )
            self.rows.append(row)
        self._open.clear()

    def drop(self) -> None:
        """Let go of all tensors."""
        self._seen.clear()
        self._open.clear()


def _measured(new: Observation, trail: list[Observation]) -> dict[str, Tensor]:
    """Measurements by their names in `Recorded`; "replay 2" is the second of several."""
    if not trail:
        return {}
    old, added = trail[-1], new.added
    moved, answered = (new.entered - old.entered).abs().mean(), (new.left - old.left).abs().mean()
    ratio = added.norm(dim=-1) / old.added.norm(dim=-1)
    size = new.left.abs().mean()
    numbers = {
        "gamma": ratio.mean(),
        "spread": ratio.std(correction=0),
        "input": moved / old.entered.abs().mean(),
        "output": answered / old.left.abs().mean(),
        "answer": answered / moved,
    }
    for name, now, before in (("first", new.first, old.first), ("signal", new.signal, old.signal)):
        if now is not None and before is not None:
            numbers[name] = relative_change(now, before)
    for lag in range(1, min(LAGS, len(trail)) + 1):
        last = trail[-lag]
        numbers[f"replay {lag}"] = (added - last.added).abs().mean() / size
        if len(trail) > 2 * lag and trail[-2 * lag - 1].sigma != last.sigma:
            earlier = trail[-2 * lag - 1]
            guess = extrapolated(new.sigma, (last.sigma, last.added), (earlier.sigma, earlier.added))
            numbers[f"replay_linear {lag}"] = (added - guess).abs().mean() / size
    return numbers
