"""Who decides whether a step is computed or reused. One class a rule; guards that hold for all are in `run.py`.

Written from the papers: TeaCache arXiv:2411.19108, MagCache arXiv:2506.09045, EasyCache arXiv:2507.02860; the rule of
the first block from ParaAttention's documentation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ...families import TeaCache, Variant
from ..errors import SamplingError
from .settings import StepCache


@dataclass(frozen=True)
class Look:
    """What is known when the blocks are about to run.

    Attributes:
        index: step of the run, from 0.
        x: part of what enters the blocks [rows, tokens / 8, width] float32, of the step's first condition.
        first: the same part of what the first block has added; None unless the policy asks for it.
        rows: latents of that condition; it comes first in a batch.
        block, args, kwargs: the first block and its call.
    """

    index: int
    x: Tensor
    first: Tensor | None
    rows: int
    block: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def named(self) -> Mapping[str, Any]:
        """The arguments of the first block's call by name."""
        return inspect.signature(type(self.block).forward).bind(self.block, *self.args, **self.kwargs).arguments


class Policy(Protocol):
    """Asked once a step; state is its own, made anew for each run and each expert."""

    # Whether the first block is computed before the decision, which may then look at what it adds.
    after_first: bool

    def reuse(self, look: Look) -> bool: ...

    def computed(self, look: Look, output: Tensor) -> None:
        """Told after each step that was computed; `output` is the part of `Look.x` where it leaves the blocks."""
        ...


def change(new: Tensor, old: Tensor) -> float:
    """Relative L1 distance."""
    return ((new - old).abs().mean() / old.abs().mean()).item()


class Easy:
    """The change of the output is the change of the input times how strongly the model answered last.

    Input and output are those of the blocks here, the paper's those of the whole model.
    """

    after_first = False

    def __init__(self, threshold: float):
        self.threshold, self.sum = threshold, 0.0
        self.before: Tensor | None = None
        self.last: tuple[Tensor, Tensor] | None = None
        self.strength: float | None = None

    def reuse(self, look: Look) -> bool:
        before, self.before = self.before, look.x
        if before is None or self.last is None or self.strength is None:
            return False
        moved = (look.x - before).abs().mean() / self.last[1].abs().mean()
        self.sum += self.strength * moved.item()
        return self.sum < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        if self.last is not None:
            x, last = self.last
            self.strength = ((output - last).abs().mean() / (look.x - x).abs().mean()).item()
        self.last, self.sum = (look.x, output), 0.0


class FirstBlock:
    """Reuses the other blocks while the first adds nearly what it added when they last ran."""

    after_first = True

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.last: Tensor | None = None

    def reuse(self, look: Look) -> bool:
        assert look.first is not None
        return self.last is not None and change(look.first, self.last) < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        self.last = look.first


class Tea:
    """Adds up a polynomial of the change of a signal; made for each model from many videos."""

    after_first = False

    def __init__(self, threshold: float, official: TeaCache):
        self.threshold, self.official, self.sum = threshold, official, 0.0
        self.before: Tensor | None = None

    def reuse(self, look: Look) -> bool:
        signal = self.official.signal(look.block, look.named())[: look.rows].float().clone()
        before, self.before = self.before, signal
        if before is None or before.shape != signal.shape:
            return False
        moved = change(signal, before)
        if not moved <= self.official.high:
            return False
        self.sum += self.official(moved)
        return self.sum < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        self.sum = 0.0


class Mag:
    """Adds up how far the size of what the blocks add has gone from where it was, by a curve known before."""

    after_first = False

    def __init__(self, threshold: float, ratios: list[float]):
        self.threshold, self.ratios = threshold, ratios
        self.size, self.sum = 1.0, 0.0

    def reuse(self, look: Look) -> bool:
        self.size *= self.ratios[look.index]
        self.sum += abs(1 - self.size)
        return self.sum < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        self.size, self.sum = 1.0, 0.0


class Plan:
    """Step by step as the user wrote it."""

    after_first = False

    def __init__(self, strip: list[bool]):
        self.strip = strip

    def reuse(self, look: Look) -> bool:
        return self.strip[look.index]

    def computed(self, look: Look, output: Tensor) -> None:
        pass


def maker(settings: StepCache, variant: Variant | None) -> Callable[[int], Policy]:
    """(steps of a run) -> its policy.

    Raises:
        SamplingError: TeaCache is asked for and nobody has published coefficients for this model.
    """
    if settings.policy == "teacache":
        official = variant.family.teacache(variant) if variant else None
        if official is None:
            title = variant.title if variant else "this MODEL, which no family here recognises"
            raise SamplingError(
                f"TeaCache needs coefficients made for the model, and there are none for {title}; those of another "
                "model would freeze the video or do nothing. Set policy to easycache, which needs none."
            )
        return lambda steps: Tea(settings.threshold, official)
    return {
        "easycache": lambda steps: Easy(settings.threshold),
        "first block": lambda steps: FirstBlock(settings.threshold),
        "magcache": lambda steps: Mag(settings.threshold, settings.ratios(steps)),
        "plan": lambda steps: Plan(settings.strip(steps)),
        "off": lambda steps: Plan([False] * steps),
    }[settings.policy]
