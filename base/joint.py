"""A second prompt beside the first in a transformer whose video and prompt share one attention.

Everything of such a block but its attention works token by token. So the text stream may hold both prompts, one behind
the other, and each of them attends to the video apart: layers, norms and feed-forwards of the video run once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .forwards import without_output
from .types import Entry

# (what the video's tokens get of attention with the positive prompt, with the negative one) -> what they go on with;
# all [B, N, D], before attention's last layer.
Mix = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class JointAttention:
    """How a transformer carries a second prompt, in diffusers' module and in ComfyUI's.

    Attributes:
        carry: (transformer, dictionary of the second CONDITIONING with "cross_attn", mix) -> a context, in which every
            call of the transformer carries that prompt too. Both prompts' tokens are modulated as the first's.
    """

    carry: Callable[[nn.Module, Entry, Mix], AbstractContextManager[None]]


@dataclass
class Prompts:
    """Both prompts' tokens in the current call.

    Attributes:
        entry: dictionary of the second CONDITIONING.
        lengths: tokens of the first prompt and of the second.
    """

    entry: Entry
    lengths: tuple[int, int] = (0, 0)

    def second(self, first: Tensor) -> Tensor:
        """[B, L, D] the second prompt's embedding, in the rows, dtype and device of the first's [B, L', D]."""
        context = self.entry["cross_attn"].to(first).expand(len(first), -1, -1)
        self.lengths = first.shape[1], context.shape[1]
        return context

    def joined(self, first: Tensor) -> Tensor:
        """[B, L' + L, D] both embeddings."""
        return torch.cat([first, self.second(first)], 1)

    def mask(self, first: Tensor) -> Tensor:
        """[B, L] of the second prompt, 1 where a token counts, for the first's embedding or mask [B, L', ...]."""
        context, mask = self.entry["cross_attn"], self.entry.get("attention_mask")
        mask = context.new_ones(context.shape[:2]) if mask is None else mask.reshape(len(mask), -1)
        return mask[:, : context.shape[1]].to(first.device).expand(len(first), -1)

    def split(self, text: Tensor) -> Sequence[Tensor]:
        """The tokens of each, of a text stream [B, L' + L, ...]."""
        return text.split(self.lengths, 1)


# (transformer, both prompts, mix) -> a context in which every call of the transformer carries both.
Carrying = Callable[[Any, Prompts, Mix], AbstractContextManager[None]]


def carried_by(in_diffusers: Carrying, in_comfyui: Carrying | None = None) -> JointAttention:
    """
    Args:
        in_diffusers: for diffusers' module.
        in_comfyui: for ComfyUI's own; None: there is none.
    """

    def carry(transformer: nn.Module, entry: Entry, mix: Mix) -> AbstractContextManager[None]:
        # ComfyUI's own networks call their blocks otherwise.
        if in_comfyui is None or hasattr(transformer, "transformer_blocks"):
            return in_diffusers(transformer, Prompts(entry), mix)
        return in_comfyui(transformer, Prompts(entry), mix)

    return JointAttention(carry)


def apart(
    attention: nn.Module,
    prompts: Prompts,
    mix: Mix,
    names: tuple[str, str],
    settings: Callable[[Tensor, dict[str, Any], bool], dict[str, Any]],
    last: str = "to_out",
    is_shared: bool = False,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A forward for a module of attention (video, text, ...) -> (video, text), in which each prompt attends apart.

    Args:
        names: of its arguments for the video's and the text's tokens.
        settings: (video [B, N, D], other arguments, whether they are for the second prompt) -> those arguments.
        last: name of the layer behind the video's attention.
        is_shared: that layer is behind the text's as well.
    """
    plain: Any = attention.forward

    def forward(*args: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        arguments = dict(zip(names, args, strict=False)) | kwargs
        video, texts = arguments.pop(names[0]), prompts.split(arguments.pop(names[1]))
        with without_output(attention, last) as layer:
            (towards, first), (away, second) = (
                plain(video, text, **settings(video, arguments, is_second))
                for text, is_second in zip(texts, (False, True), strict=True)
            )
        text = torch.cat([first, second], 1)
        return layer(mix(towards, away)), layer(text) if is_shared else text

    return forward


def attention_apart(prompts: Prompts, mix: Mix, is_text_first: bool, others: Callable[..., Tensor] | None) -> Any:
    """For ComfyUI's "optimized_attention_override": in its blocks' attention, each prompt attends apart.

    Args:
        is_text_first: the text's tokens lie before the video's.
        others: an override that is there already.
    """

    def override(attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if others is not None:
            attend = _through(others, attend)
        axis = 2 if kwargs.get("skip_reshape") else 1
        first, second = prompts.lengths
        video = q.shape[axis] - first - second
        if video <= 0:  # a prompt alone, in the layers that refine it
            return attend(q, k, v, *args, **kwargs)
        sizes = [first, second, video] if is_text_first else [video, first, second]

        def of(tensor: Tensor, at: int, is_second: bool) -> Tensor:
            parts = list(tensor.split(sizes, at))
            parts.pop((0 if is_second else 1) + (0 if is_text_first else 1))
            return torch.cat(parts, at)

        def attended(is_second: bool) -> Sequence[Tensor]:
            mask = kwargs.get("mask")
            masked = {} if mask is None else {"mask": of(mask, -1, is_second)}
            output = attend(*(of(tensor, axis, is_second) for tensor in (q, k, v)), *args, **{**kwargs, **masked})
            text = second if is_second else first
            parts = output.split([text, video] if is_text_first else [video, text], 1)
            return parts if is_text_first else parts[::-1]

        (text, towards), (text_away, away) = attended(False), attended(True)
        mixed = mix(towards, away)
        return torch.cat([text, text_away, mixed] if is_text_first else [mixed, text, text_away], 1)

    return override


def _through(others: Callable[..., Tensor], attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: others(attend, *args, **kwargs)


def options_with(options: dict[str, Any] | None, prompts: Prompts, mix: Mix, is_text_first: bool) -> dict[str, Any]:
    """ComfyUI's transformer_options of a call, in whose attention each prompt attends apart."""
    options = dict(options or {})
    others = options.get("optimized_attention_override")
    options["optimized_attention_override"] = attention_apart(prompts, mix, is_text_first, others)
    return options
