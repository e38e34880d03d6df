"""ComfyUI's own LoRA loaders and LoRA hooks on our MODELs and CLIPs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.lora
from torch import Tensor

from ...families import Patch, Target
from .patches import host_patches, model_target, text_target

KEY = "opent2v_lora"
# What reads a LoRA's tensors for them.
Read = Callable[[Target, Mapping[str, Tensor]], Sequence[Patch]]


class Names(dict):
    """The host's table of names, for a model whose names we read ourselves.

    Attributes:
        targets: whose weights a LoRA's names are looked up in.
    """

    def __init__(self, table: Mapping[str, Any], target: Target):
        super().__init__(table)
        self.targets = [*getattr(table, "targets", []), target]


def teach_lora_loaders(read: Read) -> None:
    """Have the host's own LoRA loaders and LoRA hooks read every format for our MODELs and CLIPs.

    All of them ask these functions of `comfy.lora` by name; there is no place to register a model's names.
    """
    keys_of_model, keys_of_clip, load = (
        comfy.lora.model_lora_keys_unet,
        comfy.lora.model_lora_keys_clip,
        comfy.lora.load_lora,
    )
    if getattr(load, KEY, False):
        return

    def model_lora_keys_unet(model: Any, key_map: Any = None) -> Any:
        if not hasattr(model, "opent2v"):
            return keys_of_model(model, {} if key_map is None else key_map)
        return Names(key_map or {}, model_target(model))

    def model_lora_keys_clip(model: Any, key_map: Any = None) -> Any:
        if not hasattr(model, "opent2v"):
            return keys_of_clip(model, {} if key_map is None else key_map)
        return Names({} if key_map is None else key_map, text_target(model))

    def load_lora(lora: Any, to_load: Any, log_missing: bool = True) -> Any:
        if not isinstance(to_load, Names):
            return load(lora, to_load, log_missing)
        values = load(lora, dict(to_load), False) if to_load else {}
        for target in to_load.targets:
            values |= host_patches(read(target, lora))
        return values

    setattr(load_lora, KEY, True)
    comfy.lora.model_lora_keys_unet = model_lora_keys_unet
    comfy.lora.model_lora_keys_clip = model_lora_keys_clip
    comfy.lora.load_lora = load_lora
