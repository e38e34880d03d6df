"""What a user chooses of a step cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import SamplingError

if TYPE_CHECKING:
    from .plan import Recorded

POLICIES = ("easycache", "first block", "teacache", "magcache", "plan", "off", "seacache", "optimal")
PREDICTORS = ("last", "linear")
DEVICES = ("model", "cpu")
BOUNDARIES = ("model", "blocks")
# They look at what goes on between the blocks.
INSIDE = ("first block", "teacache")


@dataclass(frozen=True)
class StepCache:
    """When steps are reused, and what stands in for them.

    Attributes:
        policy: who decides, see `policies.py` and `plan.py`.
        threshold: relative change of the model's output that may add up before it is computed again; 0 switches the
            cache off. `plan` does not look at it otherwise.
        start, end: share of the steps before and after which all are computed; the first and the last always are.
        max_consecutive: longest run of reused steps.
        predictor: what stands in: "last" is the last result again; "linear" carries on in sigma from the last two.
        device: where what is kept lies: "model" (beside the model) or "cpu".
        memory: GiB that may be kept; what does not fit is computed.
        plan: for "plan" a number n (every n-th step is computed) or one letter for each step, c computed and r reused
            (spread over the run where it has another length); for "magcache" the ratios, one for each step.
        profile: what a recorded run of this model showed; "optimal" plans by it, "magcache" where `plan` is empty.
        said: what the user is told beside the settings.
        boundary: what is kept and not computed: "model", the answer of the whole transformer, or "blocks", what its
            blocks add. Policies in `INSIDE` and models without blocks have no choice.
    Raises:
        SamplingError: a value is out of its range, or a plan cannot be read.
    """

    policy: str = "easycache"
    threshold: float = 0.1
    start: float = 0.15
    end: float = 0.95
    max_consecutive: int = 3
    predictor: str = "linear"
    device: str = "model"
    memory: float = 8.0
    plan: str = ""
    profile: tuple[Recorded, ...] = field(default=(), repr=False)
    said: tuple[str, ...] = field(default=(), compare=False)
    boundary: str = "model"

    def __post_init__(self) -> None:
        chosen = {"policy": POLICIES, "predictor": PREDICTORS, "device": DEVICES, "boundary": BOUNDARIES}
        for name, choices in chosen.items():
            value = getattr(self, name)
            if value not in choices:
                raise SamplingError(
                    f"No {name} of the step cache is called {value!r}; use one of {', '.join(choices)}."
                )
        for name, value, high in (("threshold", self.threshold, 10.0), ("memory", self.memory, 4096.0)):
            if not 0 <= value <= high:
                raise SamplingError(f"{name} of the step cache is {value}; expected 0 to {high:g}.")
        if not 0 <= self.start <= self.end <= 1:
            raise SamplingError(
                f"start {self.start} and end {self.end} of the step cache; expected 0 <= start <= end <= 1."
            )
        if self.max_consecutive < 1:
            raise SamplingError(f"max_consecutive of the step cache is {self.max_consecutive}; expected at least 1.")
        if self.policy == "plan":
            self.strip(1)
        if self.policy == "magcache" and (self.plan.strip() or not self.profile):
            self.ratios(1)
        if self.policy == "optimal" and not self.profile:
            raise SamplingError(
                "The step cache's policy optimal plans by a profile, and there is none. Make one with Calibrate Step "
                "Cache, or set policy to easycache, which needs none."
            )

    def settled(self, sigmas: Sequence[float], expert: int = 0) -> StepCache:
        """What a run uses whose steps are `sigmas` [steps + 1]."""
        return self

    @property
    def is_whole(self) -> bool:
        """Whether the whole transformer is the region."""
        return self.boundary == "model" and self.policy not in INSIDE

    @property
    def is_off(self) -> bool:
        return self.policy == "off" or self.threshold == 0

    def span(self, steps: int) -> range:
        """The steps that may be reused."""
        return range(max(1, round(self.start * steps)), min(steps - 1, round(self.end * steps)))

    def strip(self, steps: int) -> list[bool]:
        """For each of `steps` whether the plan reuses it."""
        text = "".join(self.plan.split()).lower()
        if text.isdecimal() and int(text) > 0:
            return [step % int(text) != 0 for step in range(steps)]
        if not text or set(text) - {"c", "r"}:
            raise SamplingError(
                f"The plan of the step cache is {self.plan!r}; expected a number n (every n-th step is computed) or a "
                "letter for each step, c computed and r reused, such as ccccrcrrc."
            )
        return [text[step * len(text) // steps] == "r" for step in range(steps)]

    def ratios(self, steps: int) -> list[float]:
        """The plan's ratios, spread over `steps`: the size of what the blocks add, against the step before."""
        try:
            given = [float(word) for word in self.plan.replace(",", " ").split()]
        except ValueError:
            given = []
        if not given or not all(math.isfinite(ratio) and ratio > 0 for ratio in given):
            raise SamplingError(
                f"The plan of the step cache is {self.plan!r}; magcache reads one ratio above 0 for each step from it, "
                "such as 1.0 0.99 0.98. Calibrate Step Cache measures them: connect its profile and "
                "leave plan empty, or set policy to easycache, which needs none."
            )
        return [given[step * len(given) // steps] for step in range(steps)]
