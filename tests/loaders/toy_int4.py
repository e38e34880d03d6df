"""A packed weight format of the tests' own: 4 bits, two numbers in a byte, one scale for each group of a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from opent2v.base.packed import PackedWeight, take_rows
from opent2v.loaders.header import Container
from opent2v.loaders.quantised.layer import StoredLayer

GROUP = 4


class ToyInt4:
    """`<layer>.weight_int4` [rows, columns / 2], low half first, and `<layer>.weight_scale` [rows, groups]."""

    name = "toy int4"
    layout = ""
    stays_packed = True

    def layers(self, file: Container) -> Mapping[str, StoredLayer]:
        if "toy_int4_group" not in file.metadata:
            return {}
        parameters = {"group": int(file.metadata["toy_int4_group"])}
        layers = {}
        for name, info in file.header.items():
            if name.endswith(".weight_int4"):
                layer = name.removesuffix("_int4")
                names = {"weight": name, "scale": f"{layer}_scale"}
                layers[layer] = StoredLayer(self, (info.shape[0], 2 * info.shape[1]), names, parameters)
        return layers

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return {role: take_rows(tensor, index) for role, tensor in weight.tensors.items()}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        stored, group = weight.tensors["weight"], weight.parameters["group"]
        numbers = torch.stack((stored & 15, stored >> 4), -1).flatten(1).float() - 8
        return (numbers.unflatten(1, (-1, group)) * weight.tensors["scale"].unsqueeze(-1)).flatten(1).to(dtype)


def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """(the two tensors by their roles, the numbers they stand for) of a matrix [rows, columns]."""
    grouped = weight.float().unflatten(1, (-1, GROUP))
    scale = grouped.abs().amax(-1) / 7
    numbers = (grouped / scale.unsqueeze(-1)).round().clamp(-8, 7)
    exact = (numbers * scale.unsqueeze(-1)).flatten(1)
    halves = (numbers.flatten(1) + 8).to(torch.uint8).unflatten(1, (-1, 2))
    return {"weight": halves[..., 0] | halves[..., 1] << 4, "scale": scale}, exact


def write(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Save tensors with every matrix packed that is wide enough; the numbers that the file stands for."""
    stored, exact = {}, {}
    for name, tensor in tensors.items():
        exact[name] = tensor.detach().clone().contiguous()
        if name.endswith(".weight") and tensor.ndim == 2 and tensor.shape[1] % (2 * GROUP) == 0:
            parts, exact[name] = pack(tensor.detach())
            stored |= {f"{name}_int4": parts["weight"], f"{name}_scale": parts["scale"]}
        else:
            stored[name] = exact[name]
    save_file(stored, path, metadata={"toy_int4_group": str(GROUP)})
    return exact
