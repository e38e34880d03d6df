"""How a transformer attends to the prompt, where it does so by an attention of its own in each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .types import Entry


@dataclass(frozen=True)
class TextCrossing:
    """Attention to the prompt apart from that to the picture.

    Attributes:
        names: of the attention in each block, in diffusers' module and in ComfyUI's.
        project: (transformer, dictionary of a CONDITIONING with "cross_attn", hidden states [B, N, D]) -> what that
            attention reads of the prompt [1 or B, L, D], and its masks by the names of the attention's arguments; in
            the dtype and on the device of the hidden states.
        masks: names of the attention's arguments that mask the prompt.
        has_pictures: (attention) -> whether pictures' tokens lie before the prompt's in what it reads.
        attentions: (transformer) -> all of them, where they are not in one list of blocks; None: one in each block.
    """

    names: tuple[str, ...]
    project: Callable[[nn.Module, Entry, Tensor], tuple[Tensor, dict[str, Tensor]]]
    masks: tuple[str, ...] = ()
    has_pictures: Callable[[Any], bool] = lambda _: False
    attentions: Callable[[nn.Module], Sequence[Any]] | None = None
