"""One step of a recorded run: a row of a profile."""

from __future__ import annotations

from dataclasses import dataclass

# Number of steps that a recorded run looks back.
LAGS = 3


@dataclass(frozen=True)
class Recorded:
    """Measurements of one step and condition of a recorded run. Changes are relative L1; None without a step before.

    Attributes:
        expert: 0, or 1 for the model that takes over.
        label: of the condition, such as "positive".
        step: call of the model, from 0.
        sigma: in the host's count.
        seconds: its share of the whole call.
        gamma, spread: norm of the blocks' residual relative to the step before: mean and deviation over the tokens.
        signal: TeaCache's, for a family that has one.
        input, output: of the blocks' input, and of their output.
        answer: absolute change of the output per absolute change of the input, EasyCache's rate.
        first: of the first block's residual.
        replay: error of the blocks' output if they last ran 1, 2, 3 steps before, with predictor "last".
        replay_linear: the same with predictor "linear", if one step in 2, 3, 4 is computed.
    """

    expert: int
    label: str
    step: int
    sigma: float
    seconds: float
    gamma: float | None = None
    spread: float | None = None
    signal: float | None = None
    input: float | None = None
    output: float | None = None
    answer: float | None = None
    first: float | None = None
    replay: tuple[float, ...] = ()
    replay_linear: tuple[float, ...] = ()
