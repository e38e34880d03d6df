"""One run with a step cache. Its state lives from the start of the run to its end, also after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...base import Variant
from ..calibration import Recorded, Recorder
from .policies import rule_maker
from .request import CacheRequest
from .rules import Rule
from .settings import StepCache
from .stage import CachedStage


class CacheRun:
    """Counts of a run, and its stages: one for each expert.

    Args:
        asked: what the user asked, or settings as they are to be used.
        rule: makes a fresh rule, in place of the one that the policy names.
        records: every step is computed, and what it shows is noted.
    Attributes:
        resolved: the settings of each expert's steps, those of experts for which the cache is off as well.
    """

    def __init__(
        self,
        asked: CacheRequest | StepCache,
        variant: Variant | None,
        rule: Callable[[], Rule] | None = None,
        records: bool = False,
    ):
        self.request = asked if isinstance(asked, CacheRequest) else CacheRequest.exactly(asked)
        self.variant, self.rule, self.records = variant, rule, records
        self.stages: list[CachedStage] = []
        self.resolved: list[StepCache] = []

    @property
    def recorded(self) -> list[Recorded]:
        """The rows of a recording run."""
        return [row for stage in self.stages if stage.recorder for row in stage.recorder.rows]

    @contextmanager
    def attached(
        self, transformer: nn.Module, sigmas: Tensor, expert: int | None = None
    ) -> Iterator[CachedStage | None]:
        """Cover a transformer for the steps of `sigmas` [steps + 1]; None where the cache is off.

        Args:
            expert: which of the run's models makes them, from 0; None: the one after those before.
        Raises:
            SamplingError: the settings do not suit the model, or its blocks cannot be covered.
        """
        expert = len(self.resolved) if expert is None else expert
        settings = self.request.resolve(sigmas.tolist(), expert)
        self.resolved.append(settings)
        if settings.is_off and not self.records:
            yield None
            return
        make_rule = self.rule or rule_maker(settings, self.variant)
        recorder = Recorder(expert) if self.records else None
        stage = CachedStage(settings, self.variant, make_rule, transformer, sigmas.tolist(), expert, recorder)
        self.stages.append(stage)
        try:
            with stage.gate.attached():
                yield stage
        finally:
            stage.drop()


def cache_runs(asked: CacheRequest | StepCache, variant: Variant | None) -> Callable[[], CacheRun]:
    """A function that makes a new run for a model.

    Raises:
        SamplingError: TeaCache is asked for and the model has no coefficients.
    """
    rule_maker(asked.settings if isinstance(asked, CacheRequest) else asked, variant)
    return lambda: CacheRun(asked, variant)


def recording_run(variant: Variant | None) -> CacheRun:
    """A run with every step computed, whose `recorded` are the rows of a profile."""
    return CacheRun(StepCache(policy="off"), variant, records=True)
