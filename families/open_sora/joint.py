"""How Open-Sora carries a second prompt: its network is Flux's, in which the authors of the guidance place it.

Source: ChenDarYen/Normalized-Attention-Guidance @69159ca, src/attention_flux_nag.py (MIT; the place, no code).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...base.forwards import replaced
from ...base.joint import Mix, Prompts, apart, carried_by


@contextmanager
def _carried(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def called(module: Any) -> Any:
        plain = module.forward

        def forward(*args: Any, encoder_hidden_states: Tensor, txt_ids: Tensor, **kwargs: Any) -> Any:
            both = prompts.joined(encoder_hidden_states)
            ids = torch.cat([txt_ids, txt_ids.new_zeros(prompts.lengths[1], txt_ids.shape[1])])
            return plain(*args, encoder_hidden_states=both, txt_ids=ids, **kwargs)

        return forward

    def placed(settings: dict[str, Any], is_second: bool) -> dict[str, Any]:
        """The rotary embedding of one prompt's tokens and of the video's behind both."""
        first, second = prompts.lengths
        text = slice(first, first + second) if is_second else slice(first)
        tables = settings["image_rotary_emb"]
        return {**settings, "image_rotary_emb": tuple(torch.cat([t[text], t[first + second :]]) for t in tables)}

    def single(attention: Any) -> Any:
        plain = attention.forward

        def forward(hidden_states: Tensor, **settings: Any) -> Tensor:
            first, second, video = hidden_states.split(
                [*prompts.lengths, hidden_states.shape[1] - sum(prompts.lengths)], 1
            )
            (text, towards), (text_away, away) = (
                plain(torch.cat([text, video], 1), **placed(settings, is_second)).split(
                    [text.shape[1], video.shape[1]], 1
                )
                for text, is_second in ((first, False), (second, True))
            )
            return torch.cat([text, text_away, mix(towards, away)], 1)

        return forward

    names = ("hidden_states", "encoder_hidden_states")

    def double(attention: Any) -> Any:
        return apart(attention, prompts, mix, names, lambda _, settings, is_second: placed(settings, is_second))

    with (
        replaced([transformer], called),
        replaced([block.attn for block in transformer.transformer_blocks], double),
        replaced([block.attn for block in transformer.single_transformer_blocks], single),
    ):
        yield


JOINT = carried_by(_carried)
