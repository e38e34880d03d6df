"""What nodes say of memory: a plan before a model is loaded, and what to lower where it ran out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..base import Variant
from ..host import host
from ..host.memory import each_or_advice, or_advice
from ..host.memory_plan import Weights, Work, decoding, decoding_advice, plan, sampling, sampling_advice
from ..loaders import Quantisation, TensorInfo, TextFile
from .streams import picture


def model_plan(
    variant: Variant, header: Mapping[str, TensorInfo], dtype: torch.dtype | None, packed: Collection[str] = ()
) -> str:
    """One line on the memory of a video model; arguments as `_weights`."""
    weights = _weights(header, dtype, packed)
    return plan(sampling(variant, weights.item_bytes), weights, host.device_memory())


def text_plan(files: Sequence[TextFile], dtype: torch.dtype | None) -> str:
    """One line on the memory of text encoders, whose own work is small."""
    header = {f"{n} {name}": info for n, file in enumerate(files) for name, info in file.weights.items()}
    packed = {f"{n} {name}" for n, file in enumerate(files) for name in packed_names(file.quantisation, file.weights)}
    # Of a table of words only the rows that a prompt looks up are multiplied out.
    tables = {
        f"{n} {name}"
        for n, file in enumerate(files)
        for name, info in file.weights.items()
        if info.shape[:1] == (file.layout.config.get("vocab_size"),)
    }
    return plan(Work(), _weights(header, dtype, packed, tables), host.device_memory("text_encoder"))


def vae_plan(
    variant: Variant, header: Mapping[str, TensorInfo], dtype: torch.dtype | None, packed: Collection[str]
) -> str:
    """One line on the memory of a video VAE; arguments as `_weights`."""
    weights, memory = _weights(header, dtype, packed), host.device_memory("vae")
    # A VAE computes on the device as a whole.
    return plan(decoding(variant, weights.item_bytes), weights, replace(memory, offloads=False))


def packed_names(quantisation: Quantisation, weights: Mapping[str, TensorInfo], convolutions: bool = False) -> set[str]:
    """Which of a header's weights hosts keep packed: matrices, and of a VAE its convolutions."""
    layers = quantisation.layers
    return {
        name
        for name in weights
        if name in layers and layers[name].format.stays_packed and (convolutions or len(layers[name].shape) == 2)
    }


def _weights(
    header: Mapping[str, TensorInfo],
    dtype: torch.dtype | None,
    packed: Collection[str],
    tables: Collection[str] = (),
) -> Weights:
    """
    Args:
        header: of the weights alone.
        dtype: that plain weights are held in; None: the file's own.
        packed: names of the weights that stay packed.
        tables: names of the weights that are never computed with as a whole.
    """
    computes = dtype if dtype is not None and dtype.itemsize > 1 else torch.bfloat16
    counts = {name: prod(info.shape) for name, info in header.items()}
    held = held_bytes(header, dtype, packed)
    largest = max((count for name, count in counts.items() if name not in tables), default=0)
    return Weights(held, sum(counts.values()), largest * computes.itemsize, computes.itemsize)


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
    return or_advice(compute, lambda: decoding_advice(variant, _shape(latent), host.device_memory("vae")))


def decoded_stream(vae: Any, latent: dict[str, Any], on_progress: Callable[[int], None]) -> Iterator[Tensor]:
    """The frames of a LATENT in pieces; errors as `sampled`."""
    variant, pieces = host.variant(vae), host.decode_stream(vae, picture(latent), on_progress)
    if variant is None:
        return pieces
    return each_or_advice(pieces, lambda: decoding_advice(variant, _shape(latent), host.device_memory("vae"), True))


def _shape(latent: dict[str, Any]) -> tuple[int, ...]:
    """[B, C, T, h, w] of a LATENT's picture."""
    shape = tuple(picture(latent).shape)
    return shape if len(shape) == 5 else (*shape[:2], 1, *shape[2:])
