"""One step of a recorded run: a row of a profile."""

from __future__ import annotations

from dataclasses import dataclass

# As far as a recorded run looks back.
LAGS = 3


@dataclass(frozen=True)
class Recorded:
    """What one step of a recorded run showed, for one condition. Changes are relative L1; None without a step before.

    Attributes:
        expert: 0, or 1 for the model that takes over.
        label: of the condition, such as "positive".
        step: call of the model, from 0.
        sigma: in the host's count.
        seconds: its share of the whole call.
        gamma, spread: size of what the blocks add, against the step before: mean over the tokens, and its deviation.
        signal: TeaCache's, for a family that has one.
        input, output: of what enters the blocks, and of what leaves them.
        answer: change of the output for that of the input, both absolute: EasyCache's rate.
        first: of what the first block adds.
        replay: error of what leaves the blocks if they ran 1, 2, 3 steps before for the last time, under "last".
        replay_linear: the same under "linear", and one step in 2, 3, 4 is computed.
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
