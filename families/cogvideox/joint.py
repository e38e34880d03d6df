"""How CogVideoX carries a second prompt, in diffusers' module and in ComfyUI's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...base import FamilyError
from ...base.forwards import replaced
from ...base.joint import Mix, Prompts, apart, carried_by, options_with


def _joined(prompts: Prompts, first: Tensor) -> Tensor:
    """
    Raises:
        FamilyError: the prompts have other numbers of tokens, where the model has positions for one number.
    """
    both = prompts.joined(first)
    if len(set(prompts.lengths)) > 1:
        raise FamilyError(
            f"The positive prompt has {prompts.lengths[0]} tokens and the negative one {prompts.lengths[1]}; CogVideoX "
            "reads equally many of both, the padding's too. Encode both with this model's own CLIP."
        )
    return both


def _embedded(prompts: Prompts) -> Any:
    """A forward for the layer that embeds text and video, [B, L, D] and [B, T, C, h, w], into one row of tokens."""

    def forward_of(embedder: Any) -> Any:
        plain = embedder.forward

        def forward(text: Tensor, video: Tensor) -> Tensor:
            first, second = prompts.split(text)
            return torch.cat(
                [plain(first, video)[:, : first.shape[1]], plain(second, video)], 1
            )  # both prompts, then the video

        return forward

    return forward_of


@contextmanager
def _in_diffusers(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def called(module: Any) -> Any:
        plain = module.forward

        def forward(*args: Any, encoder_hidden_states: Tensor, **kwargs: Any) -> Any:
            return plain(*args, encoder_hidden_states=_joined(prompts, encoder_hidden_states), **kwargs)

        return forward

    names = ("hidden_states", "encoder_hidden_states")

    def attended(attention: Any) -> Any:
        return apart(attention, prompts, mix, names, lambda video, settings, is_second: settings, is_shared=True)

    with (
        replaced([transformer], called),
        replaced([transformer.patch_embed], _embedded(prompts)),
        replaced([block.attn1 for block in transformer.transformer_blocks], attended),
    ):
        yield


@contextmanager
def _in_comfyui(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def called(module: Any) -> Any:
        plain = module.forward

        def forward(x: Tensor, timestep: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            both = _joined(prompts, context)
            options = options_with(kwargs.get("transformer_options"), prompts, mix, is_text_first=True)
            return plain(x, timestep, both, *args, **{**kwargs, "transformer_options": options})

        return forward

    with replaced([transformer], called), replaced([transformer.patch_embed], _embedded(prompts)):
        yield


JOINT = carried_by(_in_diffusers, _in_comfyui)
