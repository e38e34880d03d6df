"""How Wan attends to the prompt, in diffusers' module and in ComfyUI's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...base import Entry
from ...base.crossing import TextCrossing


def project(transformer: nn.Module, entry: Entry, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """See `TextCrossing.project`. Wan reads a prompt without a mask."""
    embedder: Any = getattr(transformer, "condition_embedder", None)
    layers: Any = transformer.text_embedding if embedder is None else embedder.text_embedder
    return layers(entry["cross_attn"].to(hidden)), {}


def has_pictures(attention: Any) -> bool:
    return getattr(attention, "add_k_proj", None) is not None or hasattr(attention, "k_img")


CROSSING = TextCrossing(("attn2", "cross_attn"), project, has_pictures=has_pictures)
