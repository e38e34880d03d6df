"""How VideoCrafter attends to the prompt: in the spatial layers of its UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...base import Entry
from ...base.crossing import TextCrossing


def project(unet: nn.Module, entry: Entry, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """See `TextCrossing.project`. The UNet reads a prompt as it is, and without a mask."""
    return entry["cross_attn"].to(hidden), {}


def attentions(unet: nn.Module) -> Sequence[Any]:
    """See `TextCrossing.attentions`. The second attention of the layers over time is one more among frames."""
    seconds: list[Any] = [getattr(layer, "attn2", None) for layer in unet.modules()]
    return [attention for attention in seconds if attention is not None and attention.is_cross_attention]


CROSSING = TextCrossing(("attn2",), project, attentions=attentions)
