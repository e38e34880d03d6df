"""What a training will do, before it begins: clips, sizes, steps, time, memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from ..base.packed import PackedTensor
from .clips import Refused
from .loop import Training
from .optimizer import OPTIMIZERS, remark
from .prepare import Item, Prepared

_GIB = 2**30
# Bytes a trained number takes: itself and its gradient in fp32, and AdamW's two averages in fp32 or in 8 bits.
_BYTES, _BYTES_8_BIT = 16, 10


def bucket_counts(items: Sequence[Item]) -> dict[str, int]:
    """Title of each bucket -> how many clips it has, the largest bucket first."""
    counts = Counter(item.bucket for item in items)
    return {bucket.title: count for bucket, count in sorted(counts.items(), reverse=True)}


def refusals(refused: Sequence[Refused]) -> list[str]:
    """A line for each refused clip."""
    return [f"  {clip.name}: {clip.reason}" for clip in refused]


def data_lines(prepared: Prepared) -> list[str]:
    """Clips and sizes, line by line."""
    lines = [f"{len(prepared.items)} clips for {prepared.variant.title}, {len(prepared.refused)} refused"]
    lines += refusals(prepared.refused)
    lines += [f"  {count} x {title}" for title, count in bucket_counts(prepared.items).items()]
    if prepared.pictures:
        lines.append(f"The first frame is given in {prepared.pictures:.0%} of the steps.")
    return [*lines, *prepared.remarks]


def plan_lines(training: Training) -> list[str]:
    """Steps, size, time and memory, line by line; the time is that of one call of the model, made here."""
    settings, model = training.settings, training.model
    left = max(0, settings.steps - training.step)
    epochs = settings.steps / training.order.steps
    lines = [
        f"{len(training.learned)} clips are learned, {len(training.validation)} only measure",
        f"{settings.steps} steps of {settings.batch} clips, all of them {epochs:.1f} times"
        + (f"; {training.step} are done" if training.step else ""),
        f"{training.adapter.size:,} numbers in {len(training.adapter.layers)} layers, rank {settings.rank}",
        f"learning rate {training.rate:.2g}"
        + (f", for a width of {training.adapter.width}" if not settings.rate else ""),
    ]
    variant = model.part.variant
    if variant.sigmas or variant.facts.get("is_distilled"):
        lines.append(
            f"{variant.title} is distilled to few steps; training may undo that. Train on the full model, and use the "
            "LoRA on the distilled one."
        )
    if left:
        training.try_step()  # the first call also plans kernels and allocates
        began = time.perf_counter()
        training.try_step()
        seconds = (time.perf_counter() - began) * -(-settings.batch // training.processes.count)
        lines.append(f"about {_time(seconds * left)} at {seconds:.2f} s a step with the largest clips")
    lines.append(remark(settings.optimizer, training.optimizer_name))
    weights = sum(weight.nbytes for weight in model.part.transformer.parameters())
    lines += _packed(model.part.transformer)
    each = _BYTES_8_BIT if training.optimizer_name == OPTIMIZERS[2] else _BYTES
    lines.append(f"{(weights + training.adapter.size * each) / _GIB:.2f} GiB for weights, gradients and averages")
    if model.device.type == "cuda":
        lines[-1] += f", {torch.cuda.max_memory_allocated(model.device) / _GIB:.2f} GiB with the largest clip"
    return lines


def _packed(transformer: nn.Module) -> list[str]:
    """A line for each format of few bits in which the base's weights are held while a LoRA is trained beside them."""
    held = [weight.packed.format.name for weight in transformer.parameters() if isinstance(weight, PackedTensor)]
    return [f"{count} weights of the base are held as {name}" for name, count in Counter(held).items()]


def _time(seconds: float) -> str:
    """
    >>> _time(45), _time(600), _time(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
