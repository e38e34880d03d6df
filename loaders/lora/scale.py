"""The scale of a LoRA's low-rank products: from the file's alpha, or from its metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...base.recognise import json_object
from ...families import families
from .file import Adapter


def scale_of(adapter: Adapter, alpha: float | None, metadata: Mapping[str, str]) -> float:
    """
    Args:
        alpha: the value that the file has for this layer.
        metadata: of the file, see `LoraFile`.
    """
    if adapter.kind in ("oft", "boft"):
        return (alpha or 0.0) * adapter.size[0]  # LyCORIS multiplies the constraint by the number of outputs
    # Rank 0: the change, or both of its LoKr factors, is stored whole, and alpha does not apply.
    if not adapter.rank:
        return 1.0
    if alpha is not None:
        return alpha / adapter.rank
    return _stated(adapter, metadata)


def _stated(adapter: Adapter, metadata: Mapping[str, str]) -> float:
    """The scale from the trainer's settings, where the file has no alpha tensors."""
    part, _, layer = adapter.stem.partition(".")
    packed = json_object(metadata.get("lora_adapter_metadata"))  # diffusers: "transformer.lora_alpha", ...
    config = {key.removeprefix(part + "."): value for key, value in packed.items() if key.startswith(part + ".")}
    config = config or json_object(metadata.get("lora_config"))  # finetrainers, and peft's adapter_config.json
    if config:
        return _peft_scale(adapter, layer, config)
    for family in families().values():
        if family.lora is not None and family.lora.alpha is not None:
            entry, key = family.lora.alpha
            alpha = json_object(metadata.get(entry)).get(key(adapter.stem))
            if isinstance(alpha, int | float):
                return float(alpha) / adapter.rank
    return 1.0


def _peft_scale(adapter: Adapter, layer: str, config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha", config.get("alpha"))
    patterns = config.get("alpha_pattern")
    for pattern, layer_alpha in patterns.items() if isinstance(patterns, dict) else ():
        if layer == pattern or layer.endswith("." + pattern):
            alpha = layer_alpha
    if not isinstance(alpha, int | float):
        return 1.0
    return alpha / (math.sqrt(adapter.rank) if config.get("use_rslora") else adapter.rank)
