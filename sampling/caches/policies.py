"""Who decides whether a step is computed or reused. One class a rule; guards that hold for all are in `stage.py`.

Written from the papers: TeaCache arXiv:2411.19108, EasyCache arXiv:2507.02860, SeaCache arXiv:2602.18993; the rule of
the first block from ParaAttention's documentation. Rules whose plan is known before the run are in `plan.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...base import TeaCache, Variant
from ..errors import SamplingError
from .settings import StepCache


@dataclass(frozen=True)
class Look:
    """What is known when the blocks are about to run.

    Attributes:
        index: step of the run, from 0.
        sigma: in the host's count.
        x: part of what enters the blocks [rows, tokens / 8, width] float32, of the step's first condition; all of it
            [rows, ...] where the model has no blocks.
        latent: the sampler's latents [rows, C, T, h, w], of that condition.
        first: the same part of what the first block has added; None unless the policy asks for it.
        rows: latents of that condition; it comes first in a batch.
        block, args, kwargs: the first block and its call.
    """

    index: int
    sigma: float
    x: Tensor
    latent: Tensor
    first: Tensor | None
    rows: int
    block: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def named(self) -> Mapping[str, Any]:
        """The arguments of the first block's call by name."""
        block = getattr(self.block, "_orig_mod", self.block)  # what `torch.compile` was given
        return inspect.signature(type(block).forward).bind(block, *self.args, **self.kwargs).arguments


class Policy(Protocol):
    """Asked once a step; state is its own, made anew for each run and each expert."""

    # Whether the first block is computed before the decision, which may then look at what it adds.
    after_first: bool

    def reuse(self, look: Look) -> bool: ...

    def computed(self, look: Look, output: Tensor) -> None:
        """Told after each step that was computed; `output` is the part of `Look.x` where it leaves the blocks."""
        ...


def change(new: Tensor, old: Tensor) -> Tensor:
    """Relative L1 distance, a number on the tensors' device."""
    return (new - old).abs().mean() / old.abs().mean()


class Easy:
    """The change of the output is the change of the input times how strongly the model answered last.

    Input and output are those of what the settings' boundary keeps; the paper's are the whole model's.
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
        return self.last is not None and change(look.first, self.last).item() < self.threshold

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
        moved = change(signal, before).item()
        if not moved <= self.official.high:
            return False
        self.sum += self.official(moved)
        return self.sum < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        self.sum = 0.0


class Sea:
    """Adds up the change of the latents as a denoiser sees them: low frequencies first, fine ones as noise falls.

    Args:
        is_flow: the latents are (1 - sigma) clean + sigma noise; else clean + sigma noise.
    """

    after_first = False

    def __init__(self, threshold: float, is_flow: bool):
        self.threshold, self.is_flow, self.sum = threshold, is_flow, 0.0
        self.before: Tensor | None = None

    def reuse(self, look: Look) -> bool:
        noise = look.sigma if self.is_flow else look.sigma / (1 + look.sigma)
        before, self.before = self.before, seen_through(look.latent.float(), noise)
        if before is None or before.shape != self.before.shape:
            return False
        self.sum += change(self.before, before).item()
        return self.sum < self.threshold

    def computed(self, look: Look, output: Tensor) -> None:
        self.sum = 0.0


def seen_through(latent: Tensor, noise: float) -> Tensor:
    """What of a noisy latent [B, C, T, h, w] the best linear denoiser would keep, up to its scale.

    Args:
        noise: share of noise, 0 to 1.

    Videos' power falls with the third power of the frequency, along each axis.
    """
    noise = min(max(noise, 1e-6), 1 - 1e-6)
    axes = tuple(range(2, latent.ndim))
    gain = latent.new_ones(())
    for axis in axes:
        # Above 0: the mean of the video would count without bound.
        size = latent.shape[axis]
        frequency = torch.fft.fftfreq(size, device=latent.device).abs().clamp_min(0.5 / size)
        power = frequency**-3
        one = (1 - noise) * power / ((1 - noise) ** 2 * power + noise**2)
        gain = gain * one.view(-1, *[1] * (latent.ndim - 1 - axis))
    return torch.fft.ifftn(torch.fft.fftn(latent, dim=axes) * (gain / gain.mean()), dim=axes).real


class Plan:
    """Step by step as the user wrote it."""

    after_first = False

    def __init__(self, strip: list[bool]):
        self.strip = strip

    def reuse(self, look: Look) -> bool:
        return self.strip[look.index]

    def computed(self, look: Look, output: Tensor) -> None:
        pass


def maker(settings: StepCache, variant: Variant | None) -> Callable[[], Policy]:
    """What makes a fresh policy.

    Raises:
        SamplingError: TeaCache is asked for and nobody has published coefficients for this model.
    """
    if settings.policy == "teacache":
        official = variant.family.sampling.teacache(variant) if variant else None
        if official is None:
            title = variant.title if variant else "this MODEL, which no family here recognises"
            raise SamplingError(
                f"TeaCache needs coefficients made for the model, and there are none for {title}; those of another "
                "model would freeze the video or do nothing. Set policy to easycache, which needs none."
            )
        return lambda: Tea(settings.threshold, official)
    is_flow = variant is None or variant.prediction == "flow"
    made: dict[str, Callable[[], Policy]] = {
        "easycache": lambda: Easy(settings.threshold),
        "first block": lambda: FirstBlock(settings.threshold),
        "seacache": lambda: Sea(settings.threshold, is_flow),
    }
    # The others' plan is known to the stage before the run.
    return made.get(settings.policy, lambda: Plan([]))
