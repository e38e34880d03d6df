"""A base held in 4 bits while a LoRA is trained on it (QLoRA), by bitsandbytes.

Source: Dettmers et al. 2023 (arXiv 2305.14314): normal floats, blocks of 64 numbers with a scale each. Scales stay in
fp32 (no double quantisation): 4.5 bits a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..base.packed import PackedTensor, PackedWeight
from .adapter import trained_layers
from .errors import trainer_library
from .settings import LAYERS

_BLOCK, _TYPE = 64, "nf4"


@dataclass(frozen=True)
class Nf4:
    """The format of a weight that bitsandbytes packed; its files are read by no loader here."""

    name: str = _TYPE
    layout: str = ""
    stays_packed: bool = True

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        raise NotImplementedError("nf4 weights are packed behind the key rules, whole layer by whole layer")

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        functional = trainer_library("bitsandbytes").functional
        state = functional.QuantState(
            absmax=weight.tensors["absmax"], shape=torch.Size(weight.shape), code=weight.tensors["code"],
            blocksize=_BLOCK, quant_type=_TYPE, dtype=torch.float32,
        )  # fmt: skip
        return functional.dequantize_4bit(weight.tensors["weight"], state).to(dtype)


def pack(transformer: nn.Module) -> int:
    """Hold the attention and feed-forward layers of a transformer's blocks in 4 bits; how many those are.

    Layers that are packed already stay as they are.

    Raises:
        MissingTrainer: bitsandbytes is not installed.
        TrainingError: the transformer has no such layers.
    """
    functional = trainer_library("bitsandbytes").functional
    count = 0
    for name in trained_layers(transformer, LAYERS[0]):
        layer: Any = transformer.get_submodule(name)
        if isinstance(layer.weight, PackedTensor):
            continue
        weight = layer.weight.detach()
        numbers, state = functional.quantize_4bit(weight.float().contiguous(), blocksize=_BLOCK, quant_type=_TYPE)
        tensors = {"weight": numbers, "absmax": state.absmax, "code": state.code}
        packed = PackedTensor(PackedWeight(Nf4(), tuple(weight.shape), tensors), weight.dtype)
        layer.weight = nn.Parameter(packed, requires_grad=False)
        count += 1
    return count
