"""How HunyuanVideo carries a second prompt, in diffusers' module and in ComfyUI's own.

The place of guidance in its blocks is that of ChenDarYen/ComfyUI-NAG @ef8a641, hunyuan_video/model.py (MIT); as in the
same authors' Flux (Normalized-Attention-Guidance @69159ca) both prompts share the first one's pooled embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...base.forwards import replaced
from ...base.joint import Mix, Prompts, apart, carried_by, options_with


@contextmanager
def _in_diffusers(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    def embedded(embedder: Any) -> Any:
        plain = embedder.forward

        def forward(hidden_states: Tensor, timestep: Tensor, attention_mask: Tensor) -> Tensor:
            second = prompts.second(hidden_states)
            mask = prompts.mask(hidden_states).to(attention_mask.dtype)
            return torch.cat([plain(hidden_states, timestep, attention_mask), plain(second, timestep, mask)], 1)

        return forward

    def masked(video: Tensor, settings: dict[str, Any], is_second: bool) -> dict[str, Any]:
        # The transformer's mask reaches over the video and as many tokens as the first prompt has words.
        count = video.shape[1] + prompts.lengths[is_second]
        mask = settings["attention_mask"][..., :count]
        if is_second:
            words = prompts.mask(video).sum(1, dtype=torch.int)
            mask = torch.arange(count, device=video.device) < (video.shape[1] + words)[:, None, None, None]
        return {**settings, "attention_mask": mask}

    names = ("hidden_states", "encoder_hidden_states")
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    with (
        replaced([transformer.context_embedder], embedded),
        replaced([block.attn for block in blocks], lambda attention: apart(attention, prompts, mix, names, masked)),
    ):
        yield


@contextmanager
def _in_comfyui(transformer: Any, prompts: Prompts, mix: Mix) -> Iterator[None]:
    # Since 2026 the text's tokens lie before the video's.
    is_text_first = not getattr(transformer.double_blocks[0], "flipped_img_txt", False)

    def called(module: Any) -> Any:
        plain = module.forward

        def forward(x: Tensor, timestep: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            both, mask, second = prompts.joined(context), kwargs.get("attention_mask"), prompts.mask(context)
            if mask is not None or not second.all():
                ones = torch.ones(context.shape[:2], dtype=torch.long, device=context.device)
                first = (ones if mask is None else mask.reshape(len(mask), -1)).expand(len(context), -1)
                if first.is_floating_point():  # ComfyUI adds it to attention as it is
                    second = (second - 1).to(first) * torch.finfo(first.dtype).max
                kwargs["attention_mask"] = torch.cat([first, second.to(first)], 1)
            kwargs["transformer_options"] = options_with(kwargs.get("transformer_options"), prompts, mix, is_text_first)
            return plain(x, timestep, both, *args, **kwargs)

        return forward

    def refined(module: Any) -> Any:
        plain = module.forward

        def forward(x: Tensor, timesteps: Tensor, mask: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
            masks = (None, None) if mask is None else prompts.split(mask)
            parts = zip(prompts.split(x), masks, strict=True)
            return torch.cat([plain(text, timesteps, mask, *args, **kwargs) for text, mask in parts], 1)

        return forward

    with replaced([transformer], called), replaced([transformer.txt_in], refined):
        yield


JOINT = carried_by(_in_diffusers, _in_comfyui)
