"""The rules that decide step by step in the run; guards that hold for all of them are in `stage.py`.

Written from the papers: TeaCache arXiv:2411.19108, EasyCache arXiv:2507.02860, SeaCache arXiv:2602.18993; the rule of
the first block from ParaAttention's documentation. Plans that are known before the run are in `plan.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...base import TeaCache
from ..change import relative_change


@dataclass(frozen=True)
class BlockInput:
    """The inputs of a rule's decision, taken before the blocks run.

    Attributes:
        index: step of the run, from 0.
        sigma: in the host's count.
        x: part of what enters the blocks [rows, tokens / 8, width] float32, of the step's first condition; all of it
            [rows, ...] where the model has no blocks.
        latent: the sampler's latents [rows, C, T, h, w], of that condition; of picture and sound, the picture.
        first: the same part of what the first block has added; None unless the rule asks for it.
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
        block = getattr(self.block, "_orig_mod", self.block)  # the original of a compiled module
        return inspect.signature(type(block).forward).bind(block, *self.args, **self.kwargs).arguments


class Rule(Protocol):
    """Decides once per step. A rule has state, so each expert of each run gets a new one."""

    # Whether the first block runs before the decision, so that the rule can read its residual.
    after_first: bool

    def reuse(self, entering: BlockInput) -> bool: ...

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        """Called after each computed step; `output` is the part of `BlockInput.x` where it leaves the blocks."""
        ...


class Easy:
    """Estimates the output's change as the input's change times the last ratio of the two.

    Input and output are those of the region that the settings' boundary names; the paper takes the whole model's.
    """

    after_first = False

    def __init__(self, threshold: float):
        self.threshold, self.sum = threshold, 0.0
        self.before: Tensor | None = None
        self.last: tuple[Tensor, Tensor] | None = None
        self.rate: float | None = None

    def reuse(self, entering: BlockInput) -> bool:
        before, self.before = self.before, entering.x
        if before is None or self.last is None or self.rate is None:
            return False
        moved = (entering.x - before).abs().mean() / self.last[1].abs().mean()
        self.sum += self.rate * moved.item()
        return self.sum < self.threshold

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        if self.last is not None:
            x, last = self.last
            self.rate = ((output - last).abs().mean() / (entering.x - x).abs().mean()).item()
        self.last, self.sum = (entering.x, output), 0.0


class FirstBlock:
    """Reuses the other blocks while the first adds nearly what it added when they last ran."""

    after_first = True

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.last: Tensor | None = None

    def reuse(self, entering: BlockInput) -> bool:
        assert entering.first is not None
        return self.last is not None and relative_change(entering.first, self.last).item() < self.threshold

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        self.last = entering.first


class Tea:
    """Sums a polynomial of the change of a signal; the polynomial was fitted to each model on many videos."""

    after_first = False

    def __init__(self, threshold: float, official: TeaCache):
        self.threshold, self.official, self.sum = threshold, official, 0.0
        self.before: Tensor | None = None

    def reuse(self, entering: BlockInput) -> bool:
        signal = self.official.signal(entering.block, entering.named())[: entering.rows].float().clone()
        before, self.before = self.before, signal
        if before is None or before.shape != signal.shape:
            return False
        moved = relative_change(signal, before).item()
        if not moved <= self.official.high:
            return False
        self.sum += self.official(moved)
        return self.sum < self.threshold

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        self.sum = 0.0


class Sea:
    """Sums the change of the filtered latents. The filter passes low frequencies first, and fine ones as noise falls.

    Args:
        is_flow: the latents are (1 - sigma) clean + sigma noise; else clean + sigma noise.
    """

    after_first = False

    def __init__(self, threshold: float, is_flow: bool):
        self.threshold, self.is_flow, self.sum = threshold, is_flow, 0.0
        self.before: Tensor | None = None

    def reuse(self, entering: BlockInput) -> bool:
        noise = entering.sigma if self.is_flow else entering.sigma / (1 + entering.sigma)
        before, self.before = self.before, wiener_filtered(entering.latent.float(), noise)
        if before is None or before.shape != self.before.shape:
            return False
        self.sum += relative_change(self.before, before).item()
        return self.sum < self.threshold

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        self.sum = 0.0


def wiener_filtered(latent: Tensor, noise: float) -> Tensor:
    """Filter a noisy latent [B, C, T, h, w] as the optimal linear denoiser (Wiener filter) does, up to its scale.

    Args:
        noise: share of noise, 0 to 1.

    The power spectrum of videos is assumed to fall with the third power of the frequency, along each axis.
    """
    noise = min(max(noise, 1e-6), 1 - 1e-6)
    axes = tuple(range(2, latent.ndim))
    gain = latent.new_ones(())
    for axis in axes:
        # At frequency 0 the power would be infinite, so the lowest frequency is half a bin.
        size = latent.shape[axis]
        frequency = torch.fft.fftfreq(size, device=latent.device).abs().clamp_min(0.5 / size)
        power = frequency**-3
        kept = (1 - noise) * power / ((1 - noise) ** 2 * power + noise**2)
        gain = gain * kept.view(-1, *[1] * (latent.ndim - 1 - axis))
    return torch.fft.ifftn(torch.fft.fftn(latent, dim=axes) * (gain / gain.mean()), dim=axes).real


class Planned:
    """Follows a plan that was known before the run.

    Args:
        reuse_mask: for each step whether it is reused.
    """

    after_first = False

    def __init__(self, reuse_mask: Sequence[bool]):
        self.reuse_mask = reuse_mask

    def reuse(self, entering: BlockInput) -> bool:
        return self.reuse_mask[entering.index]

    def computed(self, entering: BlockInput, output: Tensor) -> None:
        pass
