"""LTX-2's text: the states of all layers of a Gemma, normalised, and one or two linear layers behind them.

Source: Lightricks/LTX-2 @d5b526ed, ltx_core/text_encoders; diffusers 0.42.1, pipelines/ltx2/connectors.py; ComfyUI
0.33.0, comfy/text_encoders/lt.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import Entry, FamilyError, Variant
from .network import REGISTERS, TEXT_TOKENS, prepare

# The key by which ComfyUI's own MODEL, and ours, know a text that has not been through the connectors.
UNPROCESSED = "unprocessed_ltxav_embeds"
_EPSILON = 1e-6


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """The projected states [1, tokens of the prompt, width of one or both streams].

    The makers pad prompts on the left to 1024 tokens and cut the padding off behind the projection. Nothing of it
    reaches the prompt's own tokens but their places, so only these are computed, at their places.
    """
    ((slot, (ids, mask)),) = tokens.items()
    count = int(mask.sum())
    ids = ids[:, :count]  # the padding is at the right here
    places = torch.arange(TEXT_TOKENS - count, TEXT_TOKENS, device=ids.device)[None]
    states = encoders[slot](ids, position_ids=places, output_hidden_states=True).hidden_states
    return project(encoders["projection"], torch.stack(list(states), -1)), {UNPROCESSED: True}


def project(projection: Any, states: Tensor) -> Tensor:
    """
    Args:
        states: [B, tokens, width, layers].
    """
    if hasattr(projection, "text_proj_in"):
        middle, spread = states.mean((1, 2), keepdim=True), states.amax((1, 2), keepdim=True)
        spread = spread - states.amin((1, 2), keepdim=True) + _EPSILON
        return projection.text_proj_in((8 * (states - middle) / spread).flatten(2))
    normed = states * torch.rsqrt(states.square().mean(2, keepdim=True) + _EPSILON)
    flat, width = normed.flatten(2), states.shape[2]
    layers = projection.video_text_proj_in, projection.audio_text_proj_in
    return torch.cat([layer(flat * math.sqrt(layer.out_features / width)) for layer in layers], -1)


def text_condition(variant: Variant, entry: Entry) -> dict[str, Tensor]:
    """The text with its number of tokens, 0 where it has been through the connectors already.

    Raises:
        FamilyError: text of another version.
    """
    context = entry["cross_attn"]
    count, width = context.shape[1:]
    is_new = width == sum(variant.facts["context_widths"]) and not entry.get(UNPROCESSED, False)
    if is_new:
        return {"context": context, "text_tokens": torch.tensor([[0]])}
    if width != variant.context_width:
        raise FamilyError(
            f"The conditioning is {width} wide; {variant.title} reads {variant.context_width}. It was made with the "
            "text projection of another version of LTX-2: use the one of this model."
        )
    whole = -(-max(TEXT_TOKENS, count) // REGISTERS) * REGISTERS
    padded = functional.pad(context, (0, 0, 0, whole - count))
    return {"context": padded, "text_tokens": torch.tensor([[count]])}


def text_of(variant: Variant, transformer: Any, entry: Entry, like: Tensor) -> Tensor:
    """What the blocks read of a CONDITIONING's dictionary, in the dtype and on the device of another tensor."""
    conditions = text_condition(variant, entry)
    return prepare(variant, transformer, {**conditions, "context": conditions["context"].to(like)})["context"]
