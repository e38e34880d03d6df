"""Streams of joint models' latents, which the host packs into one row of numbers during sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.utils
from torch import Tensor

from ...base import FamilyError, Stream, Variant
from ...sampling.streams import Packing, unbind
from .nested import nested


def packing_of(shapes: Sequence[Sequence[int]] | None) -> Packing:
    """
    Args:
        shapes: the host's own "latent_shapes".
    """
    if shapes is None:
        raise FamilyError(
            "This ComfyUI does not say how the latents of a model with sound are packed. Update it to 0.33 or newer."
        )
    return Packing(tuple(tuple(shape) for shape in shapes))


def by_stream(
    variant: Variant, shapes: Sequence[Sequence[int]] | None, latent: Any, change: Callable[[Stream, Tensor], Tensor]
) -> Any:
    """Apply a function to each stream of a latent.

    Args:
        latent: packed, or nested.
    """
    if latent.is_nested:
        return nested([change(*pair) for pair in zip(variant.streams, latent.unbind(), strict=False)])
    packing = packing_of(shapes)
    return packing.pack([change(*pair) for pair in zip(variant.streams, packing.unpack(latent), strict=False)])


def pad_front(variant: Variant | None, samples: Any, mask: Any) -> tuple[Any, Any, list[int]]:
    """Samples and mask of a LATENT with padding frames added to its streams, and the number for each stream."""
    streams = list(zip(variant.streams, unbind(samples), strict=False)) if variant else []
    padding = [stream.front_padding(tensor) for stream, tensor in streams]
    if not any(padding):
        return samples, mask, padding
    if mask is not None:
        mask = nested(
            [
                stream.pad_front(comfy.utils.reshape_mask(stream_mask, tensor.shape))
                for stream_mask, (stream, tensor) in zip(unbind(mask), streams, strict=False)
            ]
        )
    return nested([stream.pad_front(tensor) for stream, tensor in streams]), mask, padding


def without_padding(samples: Any, padding: list[int]) -> Any:
    if not any(padding):
        return samples
    return nested([stream[:, :, n:] for stream, n in zip(unbind(samples), padding, strict=True)])
