"""The vocabulary of guidance: the passes of a model in one step, and how their results are combined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

# [[embedding [1, tokens, channels], {other values by name}], ...]
Conditioning = list[list[Any]]


@dataclass(frozen=True)
class Pass:
    """One evaluation of the model in a step.

    Attributes:
        name: what caches and reports call it; any word, the same in every step.
        prompt: "positive" or "negative", whose CONDITIONING it reads.
        conditioning: changes that CONDITIONING; asked once for a run.
        change: within the context that it opens on the transformer, the transformer computes something else. It must
            leave the transformer as it was. A pass without it may share a call with others.
    """

    name: str
    prompt: str = "positive"
    conditioning: Callable[[Conditioning], Conditioning] | None = None
    change: Callable[[nn.Module], AbstractContextManager[Any]] | None = None


POSITIVE, NEGATIVE = Pass("positive"), Pass("negative", "negative")


class OutputScale(Protocol):
    """How a model's own output and a clean latent follow from each other, see `sampling.Prediction`."""

    def clean(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor: ...

    def output(self, x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class PassResults:
    """Results of the passes of one step.

    Attributes:
        clean: name of a pass -> the clean latent that it expects, of the shape of x.
        x: the noisy latent that the model was shown, [B, C, T, h, w] or a further stream's shape, in the host's scale.
        sigma: [B], as the host counts it.
        cfg: the scale of this step.
        scale: translates between the model's own output and a clean latent.
        stream: which of the LATENT's streams this is, from 0, the video's.
    """

    clean: Mapping[str, Tensor]
    x: Tensor
    sigma: Tensor
    cfg: float
    scale: OutputScale
    stream: int = 0

    def output(self, clean: Tensor) -> Tensor:
        """The model's output that corresponds to this clean latent."""
        return self.scale.output(self.x, clean, self.sigma)

    def clean_of(self, output: Tensor) -> Tensor:
        """The inverse of `output`."""
        return self.scale.clean(self.x, output, self.sigma)


class Guide:
    """One guidance beyond cfg in one step. This one changes nothing: the methods are there to be overridden.

    Attributes:
        remark: what the sampler tells the user of it, or "".
    """

    remark: str = ""

    def passes(self) -> tuple[Pass, ...]:
        """The passes it needs beside the positive one, and the negative one where cfg is not 1."""
        return ()

    def before_cfg(self, results: PassResults) -> Mapping[str, Tensor]:
        """The clean latents of all passes, changed before cfg puts the positive and the negative one together."""
        return results.clean

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        """The guided clean latent, changed after cfg."""
        return clean
