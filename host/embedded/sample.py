"""A sampling run on the embedded host: the same arithmetic as the host's guider, without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...base import Variant
from ...base.guidance import Conditioning, Pass, PassResults
from ...sampling import ExpertSteps, Prediction, Run, solve
from ...sampling.caches import BatchItem, CachedStage, CacheRun
from ...sampling.streams import Packing, seeded_noise, unbind
from .machine import free_memory
from .model import Model
from .nested import nested
from .place import check_interrupt


def sample(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: dict[str, Any],
    run: Run,
    *,
    second_expert: Model | None = None,
    step_cache: CacheRun | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Any:
    variant = model.part.variant
    video, *others = [stream.float() for stream in unbind(latent["samples"])]
    samples = [_as_video(video, variant.geometry.channels), *others]
    start = _start(variant, samples, latent.get("noise_mask"), run.seed, model.device)
    entries = {
        name: {"cross_attn": c[0][0], **c[0][1], "denoise_mask": start.family_mask}
        for name, c in run.conditionings(positive, negative).items()
    }
    schedule = run.schedule
    predicts, first = schedule.prediction, schedule.sigmas[:1].to(start.noise)
    x = start.noise
    if not schedule.starts_from_noise:
        x = predicts.model_input(predicts.noised(start.latent, start.noise, first), first)
    pairs = zip((model, second_expert), run.parts, strict=False)
    experts = [(expert_model, part) for expert_model, part in pairs if expert_model and part.steps]
    for expert_model, part in experts:
        _check_changes(expert_model, part)
    with torch.inference_mode():
        for expert_model, part in experts:

            def report(step: int, clean: Tensor, x: Tensor, before: int = part.before) -> None:
                if on_step:
                    on_step(before + step + 1)

            # A MODEL's own cache knows of one expert only.
            cache, expert = step_cache, part.expert
            if cache is None and expert_model.step_cache is not None:
                cache, expert = expert_model.step_cache(), 0
            transformer = expert_model.part.transformer
            attached = cache.attached(transformer, part.schedule.sigmas, expert) if cache else nullcontext()
            with expert_model.changed(), attached as stage:
                x = solve(_Expert(expert_model, part, entries, start, stage).denoise, x, part.schedule, on_step=report)
        if start.mask is not None:
            # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a
            # part of a change through, each step has blended already.
            x = torch.where(start.mask > 0, x, start.latent)
    streams = zip(variant.streams, samples, start.packing.unpack(x), strict=False)
    done = [stream.denormalise(x[:, :, stream.front_padding(sample) :]).cpu() for stream, sample, x in streams]
    return done[0] if len(done) == 1 else nested(done)


def _start(variant: Variant, samples: list[Tensor], mask: Any, seed: int, device: torch.device) -> _Start:
    """
    Args:
        samples: of each stream, without padding frames.
        mask: of the LATENT, or None.
    """
    streams = list(zip(variant.streams, samples, strict=False))
    padded = [stream.pad_front(tensor) for stream, tensor in streams]
    packing = Packing.of(padded)
    masks = None
    if mask is not None:
        stream_masks = _masks(unbind(mask), samples)
        masks = [
            stream.pad_front(stream_mask).to(device)
            for (stream, _), stream_mask in zip(streams, stream_masks, strict=True)
        ]
    if any(bool(tensor.any()) for tensor in samples):
        padded = [stream.normalise(tensor) for (stream, _), tensor in zip(streams, padded, strict=True)]
    return _Start(
        packing,
        variant.is_joint,
        packing.pack(padded).to(device),
        packing.pack(seeded_noise(packing.shapes, seed)).to(device),
        masks,
        variant.keeps_clean,
    )


def _check_changes(model: Model, part: ExpertSteps) -> None:
    """Say before anything is computed what a pass cannot change: its context raises."""
    for step in part.steps:
        for guidance_pass in step.passes:
            if guidance_pass.change is not None:
                with guidance_pass.change(model.part.transformer):
                    pass


@dataclass(frozen=True)
class _Start:
    """What a run starts from and what a mask keeps of it; streams are packed.

    Attributes:
        is_joint: families get streams as a list, see `Network`.
        latent, noise: [B, C, T, h, w], as the transformer sees them.
        masks: of each stream, 1 is made anew, 0 is kept; None: all is made anew.
        is_clean: what is kept enters the transformer without noise.
    """

    packing: Packing
    is_joint: bool
    latent: Tensor
    noise: Tensor
    masks: list[Tensor] | None
    is_clean: bool

    @cached_property
    def mask(self) -> Tensor | None:
        return None if self.masks is None else self.packing.pack(self.masks)

    @property
    def family_mask(self) -> Any:
        return self.masks if self.masks is None or self.is_joint else self.masks[0]

    @property
    def family_shape(self) -> Any:
        return list(self.packing.shapes) if self.is_joint else self.packing.shapes[0]

    def before(self, x: Tensor, sigma: Tensor, predicts: Prediction) -> Tensor:
        if self.mask is None:
            return x
        kept = self.latent if self.is_clean else predicts.noised(self.latent, self.noise, sigma)
        return x * self.mask + kept * (1 - self.mask)

    def after(self, clean: Tensor) -> Tensor:
        return clean if self.mask is None else clean * self.mask + self.latent * (1 - self.mask)


class _Expert:
    """One of the run's models, with the conditions of its passes."""

    def __init__(
        self,
        model: Model,
        part: ExpertSteps,
        entries: dict[str, dict[str, Any]],
        start: _Start,
        stage: CachedStage | None,
    ):
        self.model, self.steps, self.start, self.stage = model, part.steps, start, stage
        self.predicts = part.schedule.prediction
        self.conditions = {name: model.conditions(entry, start.family_shape) for name, entry in entries.items()}
        video = start.packing.shapes[0]
        rows = len(self.conditions) * video[0]
        self.together = _can_batch(list(self.conditions.values())) and _fits(model, (rows, *video[1:]))

    def denoise(self, x: Tensor, sigma: Tensor, step: int) -> Tensor:
        """The clean latent of a step, guidance included."""
        check_interrupt()
        x = self.start.before(x, sigma, self.predicts)
        now = self.steps[step]
        plain = [guidance_pass for guidance_pass in now.passes if guidance_pass.change is None]
        changed = [guidance_pass for guidance_pass in now.passes if guidance_pass.change is not None]
        clean = self._plain(plain, x, sigma)
        for guidance_pass in changed:
            assert guidance_pass.change is not None
            with guidance_pass.change(self.model.part.transformer):
                clean[guidance_pass.name] = self._evaluate(
                    [guidance_pass], x, sigma, self._condition(guidance_pass, len(x))
                )
        results = self.start.packing.results(PassResults(clean, x, sigma, now.cfg, self.predicts))
        return self.start.after(self.start.packing.pack([now.guided(result) for result in results]))

    def _plain(self, passes: Sequence[Pass], x: Tensor, sigma: Tensor) -> dict[str, Tensor]:
        """What passes of the unchanged transformer give, in one call where they fit."""
        conditions, count = [self._condition(guidance_pass, len(x)) for guidance_pass in passes], len(passes)
        if self.together and count > 1:
            joined = {k: torch.cat([condition[k] for condition in conditions]) for k in conditions[0]}
            results = self._evaluate(passes, torch.cat([x] * count), sigma.repeat(count), joined).chunk(count)
        else:
            results = [
                self._evaluate([guidance_pass], x, sigma, c)
                for guidance_pass, c in zip(passes, conditions, strict=True)
            ]
        return {guidance_pass.name: result for guidance_pass, result in zip(passes, results, strict=True)}

    def _condition(self, guidance_pass: Pass, rows: int) -> dict[str, Tensor]:
        """A pass's conditions for every latent of the batch."""
        named = self.conditions.get(guidance_pass.name, self.conditions[guidance_pass.prompt])
        return {k: v.expand(rows, *v.shape[1:]) if len(v) == 1 else v for k, v in named.items()}

    def _evaluate(self, passes: Sequence[Pass], x: Tensor, sigma: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        items = [BatchItem(guidance_pass.name, guidance_pass.name) for guidance_pass in passes]
        packing = self.start.packing
        with self.stage.call(items, sigma[0].item(), packing.unpack(x)[0]) if self.stage else nullcontext():
            return self.model.denoised(x, sigma, conditions, packing if self.start.is_joint else None)


def _can_batch(conditions: list[dict[str, Tensor]]) -> bool:
    """Whether the prompts' conditions have the same names and shapes, so that one call can take them all."""
    first, *following = [{k: v.shape[1:] for k, v in c.items()} for c in conditions]
    return all(first == shapes for shapes in following)


def _fits(model: Model, shape: tuple[int, ...]) -> bool:
    needed = 1.5 * model.part.variant.sample_memory(shape, model.dtype.itemsize)
    return needed < free_memory(model.device)


def _as_video(samples: Tensor, channels: int) -> Tensor:
    """A latent as the model takes it: a picture is one frame, an empty latent gets the model's channels."""
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.shape[1] != channels and not samples.any():
        samples = samples.new_zeros(len(samples), channels, *samples.shape[2:])
    return samples


def _masks(masks: list[Tensor], streams: list[Tensor]) -> list[Tensor]:
    """A mask for each stream, as in the host; what has none is made anew.

    Of a single stream [1 or B, 1 or C, T, h, w], of several each in its stream's shape.
    """
    if len(streams) == 1:
        return [_latent_mask(masks[0], streams[0])]
    sized = [_latent_mask(mask, stream) for mask, stream in zip(masks, streams, strict=False)]
    sized = [
        mask[torch.arange(len(stream)) % len(mask)].expand(stream.shape)
        for mask, stream in zip(sized, streams, strict=False)
    ]
    return [*sized, *(torch.ones_like(stream) for stream in streams[len(sized) :])]


def _latent_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A mask in the size of a stream, as in the host.

    Args:
        mask: [..., H, W], for a video one for all frames or one per frame, or of as many dimensions as the stream.
    """
    if samples.ndim == 5 and mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])  # images of a batch are frames of the video
    elif samples.ndim == 4:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[samples.ndim]
    return functional.interpolate(mask.float(), size=samples.shape[2:], mode=mode)
