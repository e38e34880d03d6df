"""What nodes say of weights in few bits: how a file stores them, and how they compute on this host."""

from __future__ import annotations

from collections.abc import Mapping

from ..host import host
from ..loaders import Quantisation, TensorInfo


def computed_lines(quantisation: Quantisation, weights: Mapping[str, TensorInfo], part: str) -> list[str]:
    """How the layers compute that stay packed, a line for each way; none where no layer does.

    Args:
        weights: of one part of a file.
        part: "transformer", "text_encoder", "vae" or "audio_vae".
    """
    ways: dict[str, dict[str, None]] = {}
    for name in weights:
        layer = quantisation.layers.get(name)
        if layer is not None and layer.format.stays_packed:
            ways.setdefault(host.packed_arithmetic(layer.format.layout, part), {})[layer.format.name] = None
    return [f"{_listed(list(names))}: {way}" for way, names in ways.items()]


def packed_lines(quantisation: Quantisation, weights: Mapping[str, TensorInfo], part: str) -> list[str]:
    """How a part of a file is stored, and how it computes; nothing where its weights are plain."""
    if quantisation.layers.keys().isdisjoint(weights):
        return []
    stored_as = quantisation.text(weights)
    return [f"Stored as {stored_as}", *computed_lines(quantisation, weights, part)]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
