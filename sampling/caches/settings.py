"""Settings of a step cache, and the table of its policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...base import Variant
from ..calibration import Recorded
from ..errors import SamplingError
from .rules import Rule

PREDICTORS = ("last", "linear")
DEVICES = ("model", "cpu")
BOUNDARIES = ("model", "blocks")


@dataclass(frozen=True)
class Policy:
    """How a step cache decides, under the name that users choose. It has a rule, or a plan.

    Attributes:
        rule: (settings, variant of the model) -> a function that makes a fresh rule for a run. It raises SamplingError
            where the model lacks what the rule needs.
        plan: (settings, sigmas [steps + 1], expert) -> for each step whether it is reused, known before the run.
        check: raises SamplingError where the settings lack what the policy reads.
        aim: (settings, sigmas, expert, steps to compute) -> (settings that compute no more, if any do; how, in words).
            None: the policy cannot aim at a speed.
        looks_inside: it reads tensors between the blocks, so the blocks are the region whatever the boundary says.
        needs_profile: it plans from a recorded run.
        has_strength: a higher threshold reuses more. Otherwise the written plan decides alone.
        is_off: every step is computed.
    """

    name: str
    rule: Callable[[StepCache, Variant | None], Callable[[], Rule]] | None = None
    plan: Callable[[StepCache, Sequence[float], int], list[bool]] | None = None
    check: Callable[[StepCache], None] | None = None
    aim: Callable[[StepCache, Sequence[float], int, int], tuple[StepCache, str]] | None = None
    looks_inside: bool = False
    needs_profile: bool = False
    has_strength: bool = True
    is_off: bool = False


# All policies by name, in the order of the node; `policies.py` fills the table. A new policy is a new entry.
POLICIES: dict[str, Policy] = {}


@dataclass(frozen=True)
class StepCache:
    """Settings of a step cache: which steps are reused, and the stand-in for their result.

    Attributes:
        policy: a name in `POLICIES`.
        threshold: relative change of the model's output that may add up before it is computed again; 0 switches the
            cache off. `plan` does not look at it otherwise.
        start, end: share of the steps before and after which all are computed; the first and the last always are.
        max_consecutive: longest run of reused steps.
        predictor: the stand-in: "last" repeats the last result; "linear" extrapolates the last two in sigma.
        device: where results are kept: "model" (beside the model) or "cpu".
        memory: GiB that may be kept; steps whose results do not fit are computed.
        plan: for "plan" a number n (every n-th step is computed) or one letter for each step, c computed and r reused
            (spread over the run where it has another length); for "magcache" the ratios, one for each step.
        profile: rows of a recorded run of this model; "optimal" plans by it, "magcache" where `plan` is empty.
        notes: remarks for the user on how these settings came about.
        boundary: the result that is kept: "model", the output of the whole transformer, or "blocks", the residual of
            its blocks. Policies that look inside and models without blocks have no choice.
    Raises:
        SamplingError: a value is out of its range, or the policy lacks a plan or a profile.
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
    notes: tuple[str, ...] = field(default=(), compare=False)
    boundary: str = "model"

    def __post_init__(self) -> None:
        choices = {"policy": tuple(POLICIES), "predictor": PREDICTORS, "device": DEVICES, "boundary": BOUNDARIES}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise SamplingError(
                    f"No {name} of the step cache is called {value!r}; use one of {', '.join(allowed)}."
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
        policy = POLICIES[self.policy]
        if policy.needs_profile and not self.profile:
            raise SamplingError(
                f"The step cache's policy {policy.name} plans by a profile, and there is none. Make one with Calibrate "
                "Step Cache, or set policy to easycache, which needs none."
            )
        if policy.check is not None:
            policy.check(self)

    @property
    def is_whole(self) -> bool:
        """Whether the whole transformer is the region."""
        return self.boundary == "model" and not POLICIES[self.policy].looks_inside

    @property
    def is_off(self) -> bool:
        return POLICIES[self.policy].is_off or self.threshold == 0

    def span(self, steps: int) -> range:
        """The steps that may be reused."""
        return range(max(1, round(self.start * steps)), min(steps - 1, round(self.end * steps)))
