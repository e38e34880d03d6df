"""What a LoRA changes, for its card: held-out clips and prompts, with it and without.

- the loss of the held-out clips;
- adherence: for how many of them their own caption explains the clip better than another's, with less loss under
  the same noise (the diffusion classifier of Li et al. 2023, arXiv 2303.16203); it needs no judge of its own;
- samples of held-out prompts with the same seeds: how far they are from the base's, their brightness and their motion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..media.compare import psnr_of
from .loop import Training
from .prepare import Item
from .samples import Shot, render

# Noises and levels under which two captions are compared.
_TRIES = 4


@dataclass(frozen=True)
class Effect:
    """Pairs are (without the LoRA, with it).

    Attributes:
        clips: how many were held out and compared; 0 leaves loss and adherence out.
        loss: mean over the held-out clips.
        adherence: share of them whose own caption explains them better, 0..1.
        prompts: how many samples were compared; 0 leaves the rest out.
        psnr: of the samples against the base's, dB; infinite where nothing changes.
        brightness: mean of the samples, 0..1.
        motion: mean difference of neighbouring frames, 0..1.
    """

    clips: int = 0
    loss: tuple[float, float] = (0.0, 0.0)
    adherence: tuple[float, float] = (0.0, 0.0)
    prompts: int = 0
    psnr: float = math.inf
    brightness: tuple[float, float] = (0.0, 0.0)
    motion: tuple[float, float] = (0.0, 0.0)

    @property
    def rows(self) -> dict[str, str]:
        """What a card says, by name."""
        rows: dict[str, str] = {}
        if self.clips:
            rows[f"Loss of {self.clips} held-out clips"] = _change(self.loss, "{:.5f}")
            rows["Adherence: their own caption explains them best"] = _change(self.adherence, "{:.0%}")
        if self.prompts:
            rows[f"Samples of {self.prompts} prompts against the base's"] = f"{self.psnr:.1f} dB"
            rows["Their brightness, 0 to 1"] = _change(self.brightness, "{:.3f}")
            rows["Their motion, the difference of neighbouring frames"] = _change(self.motion, "{:.4f}")
        return rows


@dataclass
class Judge:
    """Measures a training's LoRA: `held_out` before the adapter is taken off, `samples` on MODELs afterwards."""

    training: Training
    _values: dict[str, Any] = field(default_factory=dict)

    @property
    def effect(self) -> Effect:
        return Effect(**self._values)

    def held_out(self) -> None:
        """Loss and adherence of the clips that were held out; nothing where there are fewer than two captions."""
        training = self.training
        held = training.validation
        pairs = [(item, prompt) for n, item in enumerate(held) if (prompt := _another_prompt(held, n))]
        if not pairs:
            return
        training.adapter.load(training.weights)
        with training.adapter.off():
            without = _compared(training, pairs)
        learned = _compared(training, pairs)
        self._values |= {"clips": len(pairs)}
        self._values |= {"loss": (without[0], learned[0]), "adherence": (without[1], learned[1])}

    def samples(self, plain: Any, trained: Any, vae: Any, shots: Sequence[Shot], steps: int = 0) -> None:
        """
        Args:
            plain, trained: the MODEL without and with the LoRA.
            shots: of held-out prompts.
            steps: of the sampler; 0 is the model's own.
        """
        if not shots:
            return
        error, looks = 0.0, [[0.0, 0.0], [0.0, 0.0]]
        for shot in shots:
            videos = [render(model, vae, shot, steps).clamp(0, 1) for model in (plain, trained)]
            error += (videos[0] - videos[1]).square().mean().item() / len(shots)
            for look, video in zip(looks, videos, strict=True):
                look[0] += video.mean().item() / len(shots)
                look[1] += _motion(video) / len(shots)
        brightness, motion = zip(*looks, strict=True)
        self._values |= {"prompts": len(shots), "psnr": psnr_of(error), "brightness": brightness, "motion": motion}


def _compared(training: Training, pairs: Sequence[tuple[Item, str]]) -> tuple[float, float]:
    """(mean loss, share of the clips whose own caption has less of it) with the adapter as it is."""
    total, right = 0.0, 0
    for number, (item, wrong_prompt) in enumerate(pairs):
        loss, wrong = (training.loss_of(item, number, _TRIES, prompt) for prompt in (item.prompt, wrong_prompt))
        total += loss / len(pairs)
        right += loss < wrong
    return total, right / len(pairs)


def _another_prompt(items: Sequence[Item], number: int) -> str:
    """The key of the next clip's caption that is another one; "" where all are the same."""
    prompts = [item.prompt for item in [*items[number + 1 :], *items[:number]]]
    return next((prompt for prompt in prompts if prompt != items[number].prompt), "")


def _motion(video: Tensor) -> float:
    return video.diff(dim=0).abs().mean().item() if len(video) > 1 else 0.0


def _change(values: tuple[float, float], form: str) -> str:
    return f"{form.format(values[0])} without, {form.format(values[1])} with"
