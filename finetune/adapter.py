"""The LoRA on a transformer while it is trained: peft's layers, on the layers that are trained.

Source: Hu et al. 2021 (arXiv 2106.09685); peft 0.21, tuners/lora.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import mode
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TrainingError, trainer_library
from .settings import LAYERS

# Names of layers, as diffusers' blocks end, in attention and in feed-forward parts.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
FEED_FORWARD = ("net.0.proj", "net.2", "proj_mlp", "proj_out")
_NAME = "default"


def trained_layers(transformer: nn.Module, layers: str) -> list[str]:
    """The linear layers that a LoRA is put on: all of them, or those of a kind in the transformer's numbered blocks.

    Args:
        layers: one of `LAYERS`.
    Raises:
        TrainingError: there is none.
    """
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    if layers == LAYERS[2]:
        return linear
    ends = ATTENTION if layers == LAYERS[1] else (*ATTENTION, *FEED_FORWARD)
    # A UNet's middle block is one; all others stand in lists.
    lists = tuple(
        f"{name}."
        for name, child in transformer.named_children()
        if isinstance(child, nn.ModuleList) or name == "mid_block"
    )
    endings = tuple(f".{end}" for end in ends)
    named = [name for name in linear if name.startswith(lists) and name.endswith(endings)]
    if not named:
        raise TrainingError(f"{type(transformer).__name__} has no {layers} layers in blocks: it is not trained here.")
    return named


class Adapter:
    """Low-rank matrices in fp32 beside the layers of a transformer, until `remove`.

    Args:
        scale: what the product of two matrices is multiplied by.
        seed: of the first matrices; the second ones are zero, so that nothing changes at first.
    Attributes:
        weights: by peft's name: "blocks.0.attn1.to_q.lora_A.default.weight".
    """

    def __init__(self, transformer: nn.Module, layers: list[str], rank: int, scale: float, seed: int):
        peft = trainer_library("peft")
        # peft takes a list for ends of names, which layers elsewhere may share, and an expression for whole names.
        names = "|".join(map(re.escape, layers))
        config = peft.LoraConfig(r=rank, lora_alpha=rank * scale, target_modules=names)
        self.transformer, self.layers, self.rank, self.scale = transformer, layers, rank, scale
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, transformer, adapter_name=_NAME)
            self.weights: dict[str, nn.Parameter] = {}
            for name, parameter in transformer.named_parameters():
                is_adapter = f".{_NAME}." in name and ".lora_" in name
                parameter.requires_grad_(is_adapter)
                if is_adapter:
                    parameter.data = parameter.data.float()
                    self.weights[name] = parameter

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return sum(weight.numel() for weight in self.weights.values())

    @property
    def width(self) -> int:
        """How many numbers most of the adapted layers read, as a transformer's width."""
        return mode(weight.shape[1] for name, weight in self.weights.items() if ".lora_A." in name)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """
        Args:
            tensors: by `weights`' names.
        """
        for name, weight in self.weights.items():
            weight.data.copy_(tensors[name])

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the transformer computes as if there were no adapter."""
        wrapped: list[Any] = [self.transformer.get_submodule(name) for name in self.layers]
        for layer in wrapped:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in wrapped:
                layer.enable_adapters(True)

    def remove(self) -> None:
        """Give the transformer its plain layers back."""
        for name in self.layers:
            parent, _, leaf = name.rpartition(".")
            layer: Any = self.transformer.get_submodule(name)
            if hasattr(layer, "base_layer"):
                setattr(self.transformer.get_submodule(parent), leaf, layer.base_layer)
        if hasattr(self.transformer, "peft_config"):
            del self.transformer.peft_config
