"""How Mochi carries a second prompt, in diffusers' module and in ComfyUI's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...base.forwards import replaced
from ...base.joint import Mix, Prompts, apart, carried_by


@contextmanager
def _in_diffusers(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def embedded(embedder: Any) -> Any:
        plain = embedder.forward

        def forward(timestep: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            time, text = plain(timestep, encoder_hidden_states, *args, **kwargs)
            return time, torch.cat([text, embedder.caption_proj(prompts.second(encoder_hidden_states))], 1)

        return forward

    def masked(video: Tensor, settings: dict[str, Any], is_second: bool) -> dict[str, Any]:
        return {**settings, "attention_mask": prompts.mask(video).bool()} if is_second else settings

    names = ("hidden_states", "encoder_hidden_states")
    attentions = [block.attn1 for block in transformer.transformer_blocks]
    with (
        replaced([transformer.time_embed], embedded),
        replaced(attentions, lambda attention: apart(attention, prompts, mix, names, masked)),
    ):
        yield


@contextmanager
def _in_comfyui(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def projected(layer: Any) -> Any:
        plain = layer.forward
        return lambda text: torch.cat([plain(text), plain(prompts.second(text))], 1)

    def cropped(video: Tensor, settings: dict[str, Any], is_second: bool) -> dict[str, Any]:
        # ComfyUI reads as many tokens of all rows as there are words, and at least one.
        return {**settings, "crop_y": max(1, int(prompts.mask(video)[0].sum()))} if is_second else settings

    attentions = [block.attn for block in transformer.blocks]
    with (
        replaced([transformer.t5_yproj], projected),
        replaced(attentions, lambda attention: apart(attention, prompts, mix, ("x", "y"), cropped, "proj_x")),
    ):
        yield


JOINT = carried_by(_in_diffusers, _in_comfyui)
