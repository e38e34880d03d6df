"""What a model learns: noise levels, noisy latents, targets, and the loss of a batch.

Sources: flow matching, Lipman et al. 2023 (arXiv 2210.02747) and Esser et al. 2024 (2403.03206; logit-normal levels,
shift); v, Salimans and Ho 2022 (2202.00512); eps, Ho et al. 2020 (2006.11239). The two streams of a joint model get the
same level and the sum of their losses, as Lightricks' own trainer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..base import Entry, Variant
from ..host.training import TrainingModel
from ..sampling import Discrete, Prediction, make_schedule, prediction

# Of the table of a sampler's levels; between its entries, levels are interpolated.
_LEVELS = 1000
# A guidance-distilled model is told this guidance while it learns: that of the plain conditional prediction.
_GUIDANCE = 1.0


@dataclass(frozen=True)
class Sample:
    """One clip as the model sees it.

    Attributes:
        streams: clean latents [1, C, ...], normalised and padded in front. Padding frames are learned as all others:
            a sampling run makes them too, and the others attend to them.
        entry: the prompt's and the pictures' entries of a CONDITIONING, "cross_attn" among them.
        mask: [1, 1, T, h, w] of the video, 1 is learned and 0 is given; None: all is learned.
        known: [1, C, T, h, w] the given part of the video's latents, normalised; None where there is no mask.
    """

    streams: tuple[Tensor, ...]
    entry: Entry
    mask: Tensor | None = None
    known: Tensor | None = None


@dataclass(frozen=True)
class NoiseLevels:
    """How sigmas are drawn for latents of one shape.

    A model with a table of betas gets each of its timesteps alike. A flow model gets logit-normal shares of its
    sampler's own levels, or of straight ones shifted by `shift`; an expert those of its own range only.

    Attributes:
        shape: [B, C, T, h, w] of the video's latents; some models spread their levels by it.
        shift: 0 is the sampler's own.
    """

    variant: Variant
    shape: tuple[int, ...]
    shift: float = 0.0

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """[count] sigmas, as the host counts them."""
        predicts = self.predicts
        share = torch.rand(count, generator=generator, dtype=torch.float64)
        if isinstance(predicts, Discrete):
            steps = len(predicts.alphas)
            return predicts.sigma((share * steps).long().clamp(max=steps - 1))
        low, high = self._range
        logit = torch.special.ndtri((low + (high - low) * share).clamp(1e-6, 1 - 1e-6))
        return self.at(torch.sigmoid(logit)).float()

    def at(self, share: Tensor) -> Tensor:
        """The levels of a flow model at shares 0 to 1 of its schedule, float64."""
        if self.shift:
            return self.shift * share / (1 + (self.shift - 1) * share)
        place = share * (len(self._table) - 1)
        below = place.floor().long().clamp(max=len(self._table) - 2)
        return torch.lerp(self._table[below], self._table[below + 1], place - below)

    @cached_property
    def predicts(self) -> Prediction:
        return prediction(self.variant.prediction, self.variant.scheduler)

    @cached_property
    def _table(self) -> Tensor:
        """The sampler's levels from 0 up, float64."""
        variant = self.variant
        levels = variant.family.sampling.sigmas
        schedule = make_schedule(
            variant.scheduler, steps=_LEVELS, sigmas=lambda total: levels(variant, total, None, self.shape)
        )
        return schedule.sigmas.double().flip(0)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The expert's part of the logit-normal distribution, as shares of its area."""
        variant = self.variant
        if not variant.boundary or not variant.expert:
            return 0.0, 1.0
        shares = torch.linspace(0, 1, 100_001, dtype=torch.float64)
        place = torch.searchsorted(self.at(shares).contiguous(), variant.boundary)
        share = shares[place.clamp(max=len(shares) - 2)].clamp(1e-6, 1 - 1e-6)
        area = torch.special.ndtr(torch.logit(share)).item()
        return (area, 1.0) if variant.expert == "high" else (0.0, area)


def draw_noise(sample: Sample, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Noise for each stream of a sample, from a generator of the CPU."""
    return tuple(torch.randn(stream.shape, generator=generator) for stream in sample.streams)


def losses(
    model: TrainingModel, samples: Sequence[Sample], sigmas: Tensor, noises: Sequence[tuple[Tensor, ...]]
) -> Tensor:
    """The mean squared error of the model's own prediction, for each sample; [B] float32 on the model's device.

    What is given does not count. Samples whose conditions have the same shapes go through the model in
    one call.

    Args:
        sigmas: [B], as `NoiseLevels.draw` gives them.
        noises: for each sample, the noise of each of its streams.
    """
    variant = model.part.variant
    predicts = prediction(variant.prediction, variant.scheduler)
    sigmas = sigmas.to(model.device)
    clean = [torch.cat([sample.streams[n] for sample in samples]).to(model.device) for n in range(len(noises[0]))]
    noise = [torch.cat([drawn[n] for drawn in noises]).to(model.device) for n in range(len(noises[0]))]
    mask, known = _kept(samples, clean[0], variant)
    noisy = [predicts.noised(x, e, sigmas) for x, e in zip(clean, noise, strict=True)]
    if mask is not None and variant.keeps_clean:
        noisy[0] = noisy[0] * mask + known * (1 - mask)
    inputs = [predicts.model_input(x, sigmas).to(model.dtype) for x in noisy]
    conditions = _joined([model.conditions(_entry(sample, variant), _shape(sample, variant)) for sample in samples])
    outputs = model.part.predict(inputs if variant.is_joint else inputs[0], predicts.timestep(sigmas), conditions)
    outputs = outputs if variant.is_joint else [outputs]
    total = torch.zeros(len(samples), device=model.device)
    for n, output in enumerate(outputs):
        squares = (output.float() - predicts.target(clean[n], noise[n], sigmas)).square()
        if mask is None or n:
            total = total + squares.flatten(1).mean(1)
        else:
            weight = mask.expand_as(squares)
            total = total + (squares * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return total


def _kept(samples: Sequence[Sample], like: Tensor, variant: Variant) -> tuple[Tensor | None, Tensor]:
    """(mask of the batch or None, the given latents)."""
    if all(sample.mask is None for sample in samples):
        return None, torch.zeros(())
    masks = [torch.ones_like(like[:1, :1]) if sample.mask is None else sample.mask.to(like) for sample in samples]
    known = [torch.zeros_like(like[:1]) if sample.known is None else sample.known.to(like) for sample in samples]
    return torch.cat(masks), torch.cat(known)


def _entry(sample: Sample, variant: Variant) -> Entry:
    """The entries of a CONDITIONING, with the mask in the form that families read."""
    mask: Any = sample.mask
    if mask is not None and variant.is_joint:
        mask = [mask.expand_as(sample.streams[0]), *(torch.ones_like(stream) for stream in sample.streams[1:])]
    entry = {**sample.entry, "denoise_mask": mask}
    return {"guidance": _GUIDANCE, **entry} if variant.embeds_guidance else entry


def _shape(sample: Sample, variant: Variant) -> Any:
    shapes = [tuple(stream.shape) for stream in sample.streams]
    return shapes if variant.is_joint else shapes[0]


def _joined(conditions: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}


def can_join(first: Sample, second: Sample) -> bool:
    """Whether one call of the model can take both samples."""

    def form(sample: Sample) -> list[Any]:
        tensors = {name: tuple(value.shape) for name, value in sample.entry.items() if isinstance(value, Tensor)}
        return [[tuple(stream.shape) for stream in sample.streams], sorted(tensors.items()), sample.mask is None]

    return form(first) == form(second)
