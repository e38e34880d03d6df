"""The settings of a training, with the defaults that trainers of video models agree on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .errors import TrainingError
from .optimizer import OPTIMIZERS

# Trainers take this rate for Wan 2.1 1.3B (1536 wide) and for all wider models. Adam's best rate goes with one over the
# width (Yang et al. 2022, arXiv 2203.03466, table 3).
USUAL_RATE, USUAL_WIDTH = 1e-4, 1536
LAYERS = ("attention and feed-forward", "attention", "all linear")
PICTURES = ("auto", "never", "always")


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        width, height, frames: of the largest clips that are made; 0 is the model's own.
        rank: of the low-rank matrices.
        alpha: the change is multiplied by alpha / rank; 0 is the rank.
        rate: of AdamW; 0 is `USUAL_RATE`, and for a transformer narrower than `USUAL_WIDTH` more in inverse proportion.
        decay: share of the steps, at the end, in which the rate falls to zero.
        optimizer: one of `OPTIMIZERS`; "auto" is 8-bit AdamW on a GPU where bitsandbytes is installed, else AdamW.
        steps: the optimiser's, at most.
        batch: clips of a step, whose gradients are averaged.
        together: clips of a step that go through the model in one call; more takes more memory.
        warmup: steps in which the rate rises.
        layers: one of `LAYERS`; "all linear" has those outside of the blocks too, which read the noise level and draw.
        shift: of the noise levels of a flow model; 0 is how its own sampler spreads them.
        pictures: whether the first frame is given. "auto": always for a model that starts from a picture, in half the
            steps for a model that can do without, never for the others.
        trigger: words in front of every caption that lacks them.
        caption: of clips without a caption; "" refuses them.
        validation: share of the clips, 0 to below 1, that only measure.
        validate_every: steps between two measurements.
        patience: measurements without a new lowest loss after which training ends; 0 never ends it.
        save_every: steps between two checkpoints.
        checkpointing: recompute the blocks in the backward pass, which takes a third longer and far less memory.
        seed: of the adapter's first weights, the order of the clips, noise and noise levels.
    """

    width: int = 0
    height: int = 0
    frames: int = 0
    rank: int = 32
    alpha: float = 0.0
    rate: float = 0.0
    steps: int = 1000
    batch: int = 4
    together: int = 1
    warmup: int = 50
    layers: str = LAYERS[0]
    shift: float = 0.0
    pictures: str = "auto"
    trigger: str = ""
    caption: str = ""
    validation: float = 0.1
    validate_every: int = 100
    patience: int = 4
    save_every: int = 100
    checkpointing: bool = True
    seed: int = 0
    optimizer: str = OPTIMIZERS[0]
    decay: float = 0.0

    def check(self) -> None:
        """
        Raises:
            TrainingError: a setting is out of its range.
        """
        least = {"width": 0, "height": 0, "frames": 0, "rank": 1, "steps": 1, "batch": 1, "together": 1, "warmup": 0}
        least |= {"validate_every": 1, "patience": 0, "save_every": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise TrainingError(f"{name} is {value!r}; expected a whole number from {low}.")
        for name in ("alpha", "shift"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise TrainingError(f"{name} is {value}; expected 0 (the usual) or more.")
        if not 0 <= self.rate <= 1:
            raise TrainingError(f"rate is {self.rate}; expected 0 (by the model's width) to 1. 1e-4 is usual.")
        if not 0 <= self.decay <= 1:
            raise TrainingError(f"decay is {self.decay}; expected 0 (the rate stays) to 1 (it falls from the start).")
        if not 0 <= self.validation < 1:
            raise TrainingError(f"validation is {self.validation}; expected 0 (none) to below 1.")
        for name, choices in (("layers", LAYERS), ("pictures", PICTURES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in choices:
                known = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise TrainingError(f"{name} is {getattr(self, name)!r}; expected {known}.")

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return (self.alpha or self.rank) / self.rank

    def highest_rate(self, width: int) -> float:
        """The rate behind the warmup, for a transformer of this width."""
        return self.rate or USUAL_RATE * max(1.0, USUAL_WIDTH / width)

    def share_at(self, step: int) -> float:
        """Share of the highest rate in a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / (self.decay * self.steps)) if self.decay else 1.0
        return rise * fall

    def numbers(self) -> dict[str, Any]:
        """The settings that change the numbers of a training, for its checkpoints.

        A training may be resumed with more or fewer steps, towards whose end the rate falls, and may save more often.
        """
        free = ("steps", "save_every", "patience", "checkpointing", "together")
        return {name: value for name, value in asdict(self).items() if name not in free}
