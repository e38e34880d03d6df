"""Pictures that are appended to LTX-2's video at a strength other than 1, which weighs the attention to and from them.

Source: ComfyUI 0.33.0, comfy/ldm/lightricks/model.py (GuideAttentionMask).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...base import Entry, FamilyError


def strengths_of(entry: Entry) -> Tensor | None:
    """[1, tokens of all appended pictures], what ComfyUI's LTXVAddGuide has set; None where all are 1.

    Raises:
        FamilyError: a picture has a mask for attention.
    """
    guides, placed = entry.get("guide_attention_entries") or (), entry.get("keyframe_idxs")
    if any(guide.get("pixel_mask") is not None for guide in guides):
        raise FamilyError(
            "LTXVAddGuide has an attention mask, which weighs attention inside ComfyUI's own MODEL; this MODEL does "
            "not do that. Take the mask out, or load the model with ComfyUI's Load Checkpoint."
        )
    if placed is None or all(guide.get("strength", 1.0) == 1.0 for guide in guides):
        return None
    each = [torch.full((guide["pre_filter_count"],), float(guide.get("strength", 1.0))) for guide in guides]
    strengths = torch.cat(each)
    others = placed.shape[2] - len(strengths)  # appended before, by a node that states no strength
    if others < 0:
        raise FamilyError(
            f"The conditioning states the strength of {len(strengths)} tokens of appended pictures and the places of "
            f"{placed.shape[2]}. Crop the pictures (LTXVCropGuides) before the latent's size is changed."
        )
    return torch.cat([torch.ones(others), strengths])[None]


@dataclass
class Weighing:
    """How the tokens of a call attend to each other, shared by all blocks; set before each call.

    Attributes:
        groups: (first token, end, bias [tokens] on the attention of these to all tokens); empty: none is weighed.
    """

    groups: Sequence[tuple[int, int, Tensor]] = ()

    def set(self, strengths: Tensor | None, count: int) -> None:
        """
        Args:
            strengths: [n] of the last n tokens; None: no token is weighed.
            count: of all tokens.
        """
        self.groups = ()
        if strengths is None or not len(strengths):
            return
        start = count - len(strengths)
        bias = strengths.log().clamp(min=torch.finfo(strengths.dtype).min)
        towards = torch.cat([bias.new_zeros(start), bias])
        groups = [(0, start, towards)]
        # Tokens of one strength in a row attend alike: weighed to the video, plain to the other pictures.
        ends = [n for n in range(1, len(strengths)) if strengths[n] != strengths[n - 1]] + [len(strengths)]
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            back = torch.cat([bias[first].expand(start), bias.new_zeros(len(strengths))])
            groups.append((start + first, start + end, back))
        self.groups = groups


def weigh(transformer: Any) -> None:
    """Have the self-attention of the video's tokens follow the object that becomes `transformer.weighing`."""
    weighing = Weighing()
    kinds: dict[type, type] = {}
    for block in transformer.transformer_blocks:
        kind = type(block.attn1)
        block.attn1.__class__ = kinds.setdefault(kind, _weighed_class(kind))
        block.attn1.weighing = weighing
    transformer.weighing = weighing


def _weighed_class(plain: type) -> type:
    class WeighedAttention(plain):
        """Attention that is computed group by group where some tokens weigh more or less than others."""

        weighing: Weighing

        def forward(
            self,
            hidden_states: Tensor,
            encoder_hidden_states: Tensor | None = None,
            attention_mask: Tensor | None = None,
            query_rotary_emb: tuple[Tensor, Tensor] | None = None,
            key_rotary_emb: tuple[Tensor, Tensor] | None = None,
            **kwargs: Any,
        ) -> Tensor:
            groups = self.weighing.groups
            if not groups:
                return super().forward(
                    hidden_states, encoder_hidden_states, attention_mask, query_rotary_emb, key_rotary_emb, **kwargs
                )
            outputs = []
            for first, end, bias in groups:
                mask = bias.to(hidden_states).expand(len(hidden_states), 1, -1)
                rotary = None if query_rotary_emb is None else tuple(_rows(r, first, end) for r in query_rotary_emb)
                outputs.append(
                    super().forward(
                        hidden_states[:, first:end], hidden_states, mask, rotary, query_rotary_emb, **kwargs
                    )
                )
            return torch.cat(outputs, 1)

    return WeighedAttention


def _rows(rotary: Tensor, first: int, end: int) -> Tensor:
    """The tokens of a rotary embedding [B, tokens, D] or [B, heads, tokens, D]."""
    return rotary.narrow(-2, first, end - first)
