"""ComfyUI's own LoRA loaders and LoRA hooks on our MODELs and CLIPs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import comfy.lora

from ...base import Target
from ..contract import ReadLora
from .patches import host_patches, model_target, text_target

KEY = "opent2v_lora"


class Names(dict):
    """The host's table of names, for a model whose LoRA names the pack reads itself.

    Attributes:
        targets: the models whose weights a LoRA's names are matched with.
    """

    def __init__(self, table: Mapping[str, Any], target: Target):
        super().__init__(table)
        self.targets = [*getattr(table, "targets", []), target]


def teach_lora_loaders(read: ReadLora) -> None:
    """Have the host's own LoRA loaders and LoRA hooks read every format for our MODELs and CLIPs.

    They all call these functions of `comfy.lora` by name; the host has no registry for a model's names. Calls for other
    makers' models pass through unchanged, with whatever arguments newer hosts have.
    """
    load = comfy.lora.load_lora
    if getattr(load, KEY, False):
        return

    @wraps(load)
    def load_lora(lora: Any, to_load: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(to_load, Names):
            return load(lora, to_load, *args, **kwargs)
        # `to_load` lists only keys of the host's own half (CLIP or UNet), so log_missing must be off: the host would
        # report our keys as missing.
        values = load(lora, dict(to_load), **{**kwargs, "log_missing": False}) if to_load else {}
        must_fit = not values
        for target in to_load.targets:
            values |= host_patches(read(target, lora, must_fit))
        return values

    setattr(load_lora, KEY, True)
    comfy.lora.model_lora_keys_unet = _with_ours(comfy.lora.model_lora_keys_unet, model_target)
    comfy.lora.model_lora_keys_clip = _with_ours(comfy.lora.model_lora_keys_clip, text_target)
    comfy.lora.load_lora = load_lora


def _with_ours(keys_of: Callable[..., Any], target_of: Callable[[Any], Target]) -> Callable[..., Any]:
    @wraps(keys_of)
    def keys(model: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(model, "opent2v"):
            return keys_of(model, *args, **kwargs)
        table = args[0] if args else kwargs.get("key_map")
        return Names({} if table is None else table, target_of(model))

    return keys
