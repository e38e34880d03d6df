"""One run under a step cache: all its state, made when the run starts and dropped when it ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...base import Variant
from .plan import Recorded
from .policies import Policy, maker
from .record import Recorder
from .settings import StepCache
from .stage import Stage


class CacheRun:
    """Counts of a run, and the stages it is made of: one for each expert.

    Args:
        policy: makes a fresh policy, in place of the one that the settings name.
        records: every step is computed, and what it shows is noted.
    Attributes:
        settled: what each expert's steps use, those that are off as well.
    """

    def __init__(
        self,
        settings: StepCache,
        variant: Variant | None,
        policy: Callable[[], Policy] | None = None,
        records: bool = False,
    ):
        self.settings, self.variant, self.policy, self.records = settings, variant, policy, records
        self.stages: list[Stage] = []
        self.settled: list[StepCache] = []

    @property
    def recorded(self) -> list[Recorded]:
        """What a recording run has shown."""
        return [row for stage in self.stages if stage.recorder for row in stage.recorder.rows]

    @contextmanager
    def attached(self, transformer: nn.Module, sigmas: Tensor, expert: int | None = None) -> Iterator[Stage | None]:
        """Cover a transformer for the steps of `sigmas` [steps + 1]; None where the cache is off.

        Args:
            expert: which of the run's models makes them, from 0; None: the one after those before.
        Raises:
            SamplingError: the settings do not suit the model, or its blocks cannot be covered.
        """
        expert = len(self.settled) if expert is None else expert
        settings = self.settings.settled(sigmas.tolist(), expert)
        self.settled.append(settings)
        if settings.is_off and not self.records:
            yield None
            return
        make = self.policy or maker(settings, self.variant)
        recorder = Recorder(expert) if self.records else None
        stage = Stage(settings, self.variant, make, transformer, sigmas.tolist(), expert, recorder)
        self.stages.append(stage)
        try:
            with stage.gate.attached():
                yield stage
        finally:
            stage.drop()


def recording_run(variant: Variant | None) -> CacheRun:
    """A run with every step computed, whose `recorded` are the rows of a profile."""
    return CacheRun(StepCache(policy="off"), variant, records=True)
