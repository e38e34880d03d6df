"""What nodes say of memory: a plan before a model is loaded, and what to lower where it ran out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..base import Variant
from ..host import host
from ..host.memory import each_or_advice, or_advice
from ..host.memory_plan import Weights, decoding_advice, plan, sampling_advice
from ..loaders import TensorInfo
from .streams import picture


def model_plan(
    variant: Variant, header: Mapping[str, TensorInfo], dtype: torch.dtype | None, packed: Collection[str] = ()
) -> str:
    """One line on the memory of a video model.

    Args:
        header: of its weights alone.
        dtype: that plain weights are held in; None: the file's own.
        packed: names of the weights that stay packed.
    """
    computes = dtype if dtype is not None and dtype.itemsize > 1 else torch.bfloat16
    counts = {name: prod(info.shape) for name, info in header.items()}
    held = held_bytes(header, dtype, packed)
    weights = Weights(
        held, sum(counts.values()), max(counts.values(), default=0) * computes.itemsize, computes.itemsize
    )
    return plan(variant, weights, host.device_memory())


def held_bytes(header: Mapping[str, TensorInfo], dtype: torch.dtype | None, packed: Collection[str]) -> int:
    """Bytes of a header's weights as a host will hold them."""
    return sum(
        info.nbytes if name in packed or dtype is None else prod(info.shape) * dtype.itemsize
        for name, info in header.items()
    )


def sampled(variant: Variant, latent: dict[str, Any], sample: Callable[[], Any]) -> Any:
    """What `sample` gives for a LATENT.

    Raises:
        OutOfMemory: memory ran out; the message says how many frames or which size would fit.
    """
    return or_advice(sample, lambda: sampling_advice(variant, _shape(latent), host.device_memory()))


def decoded(vae: Any, latent: dict[str, Any]) -> Tensor:
    """The frames of a LATENT; errors as `sampled`."""
    variant, compute = host.variant(vae), lambda: host.decode(vae, picture(latent))
    if variant is None:
        return compute()
    return or_advice(compute, lambda: decoding_advice(variant, _shape(latent), host.device_memory()))


def decoded_stream(vae: Any, latent: dict[str, Any], on_progress: Callable[[int], None]) -> Iterator[Tensor]:
    """The frames of a LATENT in pieces; errors as `sampled`."""
    variant, pieces = host.variant(vae), host.decode_stream(vae, picture(latent), on_progress)
    if variant is None:
        return pieces
    return each_or_advice(pieces, lambda: decoding_advice(variant, _shape(latent), host.device_memory(), True))


def _shape(latent: dict[str, Any]) -> tuple[int, ...]:
    """[B, C, T, h, w] of a LATENT's picture."""
    shape = tuple(picture(latent).shape)
    return shape if len(shape) == 5 else (*shape[:2], 1, *shape[2:])
