"""How LTX-Video attends to the prompt, in diffusers' module and in ComfyUI's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...base import Entry
from ...base.crossing import TextCrossing


def project(transformer: nn.Module, entry: Entry, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """See `TextCrossing.project`."""
    layers: Any = transformer.caption_projection
    context, mask = entry["cross_attn"].to(hidden), entry.get("attention_mask")
    if mask is None:
        return layers(context), {}
    lacking = (1 - mask.to(hidden)).unsqueeze(1)  # [B, 1, L], 1 where a token is padding
    least = torch.finfo(hidden.dtype).min
    # diffusers adds -10,000 to padding, ComfyUI the lowest number.
    return layers(context), {"attention_mask": lacking * -10000.0, "mask": (lacking * least).unsqueeze(1)}


CROSSING = TextCrossing(("attn2",), project, masks=("attention_mask", "mask"))
