"""What the user is told of memory: a plan before a model is loaded, and what to lower where it ran out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..base import Variant
from ..base.remarks import fits, look, refused
from ..base.units import bytes_text
from .memory import DeviceMemory


def sampling_advice(variant: Variant, shape: tuple[int, ...], memory: DeviceMemory, item_bytes: int = 2) -> str:
    """What to lower after sampling latents [B, C, T, h, w] ran out of memory.

    Args:
        memory: after the run has let go of its own.
    """
    needed = variant.sample_memory(shape, item_bytes)
    where = "main memory" if memory.is_main else "the device"
    lower = _lower(variant, shape, lambda shape: variant.sample_memory(shape, item_bytes), memory.device)
    return (
        f"Out of memory while sampling {_size(variant, shape)}: about {bytes_text(needed)} beside the weights, with "
        f"{bytes_text(memory.device)} free on {where} for both. {lower} A file of the model in fewer bits (int8, "
        "nvfp4, GGUF) leaves more room too: Load Video Diffusion Model says how much it takes."
    )


def decoding_advice(
    variant: Variant, shape: tuple[int, ...], memory: DeviceMemory, in_pieces: bool = False, item_bytes: int = 2
) -> str:
    """What to lower after decoding latents [B, C, T, h, w] ran out of memory; as `sampling_advice`.

    Args:
        in_pieces: one piece of the video was in memory at a time, so that a lower length would not help.
    """
    memory_of = variant.piece_memory if in_pieces else variant.decode_memory
    needed = memory_of(shape, item_bytes)
    where = "main memory" if memory.is_main else "the device"
    whole_clip = "" if in_pieces else " Decode to Video File keeps one piece of the video in memory at a time."
    cost = lambda shape: memory_of(shape, item_bytes)  # noqa: E731
    lower = _lower(variant, shape, cost, memory.device, has_length=not in_pieces)
    return (
        f"Out of memory while decoding {_size(variant, shape)}, in tiles too: about {bytes_text(needed)} at once, with "
        f"{bytes_text(memory.device)} free on {where}.{whole_clip} {lower}"
    )


def _size(variant: Variant, shape: tuple[int, ...]) -> str:
    batch, _, frames, height, width = shape
    spatial = variant.geometry.spatial
    clips = f"{batch} clips of " if batch > 1 else ""
    return f"{clips}{width * spatial} x {height * spatial} pixels with {variant.geometry.frames(frames)} frames"


def _lower(
    variant: Variant,
    shape: tuple[int, ...],
    cost: Callable[[tuple[int, ...]], float],
    room: float,
    has_length: bool = True,
) -> str:
    """The largest length and the largest size that would fit, as two ways out."""
    geometry, (batch, channels, frames, height, width) = variant.geometry, shape
    if batch > 1 and has_length:
        return "Make one clip at a time (batch_size 1 in Empty Video Latent)."
    if geometry.only is not None:
        return "The model makes this size only: free memory, or choose a smaller model."
    # At least a quarter less, because the count was too low: otherwise the run would have fitted.
    target = min(0.75 * cost(shape), 0.9 * room)
    ways = []
    for fewer in range(frames - 1, 0, -1) if has_length else ():
        length = geometry.frames(fewer)
        if geometry.nearest(length) == length and cost((1, channels, fewer, height, width)) <= target:
            ways.append(f"frames from {geometry.frames(frames)} to {length}")
            break
    scale = math.sqrt(target / cost(shape)) if room > 0 else 0.0
    sides = [int(side * scale) // geometry.patch * geometry.patch for side in (width, height)]
    if all(sides):
        pixels = [side * geometry.spatial for side in sides]
        ways.append(f"the size to about {pixels[0]} x {pixels[1]}")
    return f"Lower {' or '.join(ways)}." if ways else "Not even a single small frame fits: choose a smaller model."


# Kinds of files with fewer bits: bits of a weight with its scales, in the user's words.
_KINDS = (
    (8.1, "An fp8 or int8 file"),
    (6.6, "A Q6_K file"),
    (5.6, "A Q5_K file"),
    (4.6, "An nvfp4 or Q4_K file"),
    (3.5, "A Q3_K file"),
    (2.7, "A Q2_K file"),
)


@dataclass(frozen=True)
class Weights:
    """What a model's weights take.

    Attributes:
        nbytes: of all of them as they will be held.
        count: how many numbers they are.
        layer: bytes of the largest one while it computes.
        item_bytes: of a number while it computes.
    """

    nbytes: float
    count: int
    layer: float
    item_bytes: int = 2


@dataclass(frozen=True)
class Work:
    """What is computed with weights, beside which they have to fit.

    Attributes:
        nbytes: that it takes beside the weights.
        text: in the user's words: "to sample 832 x 480 with 81 frames"; "" where it takes next to nothing.
        lower: what to do where the weights fit and the work does not.
    """

    nbytes: float = 0.0
    text: str = ""
    lower: str = "too little. Free memory"


def sampling(variant: Variant, item_bytes: int) -> Work:
    """Sampling a video of the model's own size."""
    shape, text = _own_size(variant)
    lower = "too little for this size. Make fewer frames, or a smaller size"
    return Work(variant.sample_memory(shape, item_bytes), f"to sample {text}", lower)


def decoding(variant: Variant, item_bytes: int) -> Work:
    """Decoding a video of the model's own size."""
    shape, text = _own_size(variant)
    lower = (
        "too little for this size. It is decoded in tiles, which is slower; Decode to Video File keeps one piece in "
        "memory at a time"
    )
    return Work(variant.decode_memory(shape, item_bytes), f"to decode {text}", lower)


def _own_size(variant: Variant) -> tuple[tuple[int, ...], str]:
    """(shape of the latents, size and frames in words) that a model makes by default."""
    d = variant.defaults
    shape = (1, *variant.geometry.latent_shape(d.width, d.height, d.frames))
    return shape, f"{d.width} x {d.height} with {d.frames} frames"


def plan(work: Work, weights: Weights, memory: DeviceMemory) -> str:
    """One line on the memory of weights, before they are loaded: what fits the device, what waits in main memory."""
    where = "main memory" if memory.is_main else "the device"
    beside_them = f" and about {bytes_text(work.nbytes)} {work.text}" if work.text else ""
    sizes = (
        f"Memory: {bytes_text(weights.nbytes)} of weights{beside_them}; {bytes_text(memory.device)} are free on {where}"
    )
    beside = memory.device - work.nbytes - weights.layer
    if weights.nbytes <= beside:
        return fits(f"{sizes}: all of it fits")
    if beside > 0 and memory.weights > memory.device and weights.nbytes <= beside + memory.main:
        waiting = bytes_text(weights.nbytes - beside)
        return look(f"{sizes}: about {waiting} of the weights wait in main memory for their turn, which is slower")
    room = memory.weights - work.nbytes - weights.layer
    smaller = next((kind for kind in _KINDS if weights.count * kind[0] / 8 < min(room, 0.9 * weights.nbytes)), None)
    weights_fit = weights.nbytes + weights.layer <= memory.weights
    if (beside <= 0 and weights.nbytes <= room) or (smaller is None and weights_fit):
        return look(f"{sizes}: {work.lower}")
    if smaller is None:
        return refused(
            f"{sizes}: it does not fit, nor would a file of this model in fewer bits. Choose a smaller model"
        )
    bits, kind = smaller
    return refused(
        f"{sizes}: it does not fit. {kind} of this model would, with about {bytes_text(weights.count * bits / 8)}"
    )
