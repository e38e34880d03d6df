"""How LTX-2 carries a second prompt, for normalised attention guidance of both streams, in our module and in ComfyUI's.

The blocks modulate the prompt's tokens one by one. So both prompts lie one behind the other in what the transformer
reads, and only the attention to them tells them apart. The gates of 2.3 and newer open behind the guidance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...base import Entry
from ...base.forwards import replaced, without_output
from ...base.joint import JointAttention, Mix
from .text import UNPROCESSED, text_of

# The names of the prompt among the arguments of the transformer: diffusers' for each stream, ComfyUI's for both.
_CONTEXTS = ("encoder_hidden_states", "audio_encoder_hidden_states"), ("context",)
_MASKS = ("attention_mask", "mask")


@contextmanager
def carry(transformer: nn.Module, entry: Entry, mix: Mix) -> Iterator[None]:
    """See `JointAttention.carry`."""
    module: Any = transformer
    is_comfyui = not hasattr(module, "variant_of_text")
    names = _CONTEXTS[is_comfyui]
    seconds: list[Tensor] = []  # the second prompt, when the first call has brought the layers to the device
    lengths = [0]

    def reading_both(transformer: Any) -> Any:
        plain = transformer.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            firsts = [kwargs[name] for name in names]
            lengths[0] = firsts[0].shape[1]
            if not seconds:
                seconds.append(_text_in(module, entry, firsts[0], is_comfyui))
            parts = seconds[0].split([first.shape[2] for first in firsts], 2)
            both = {
                name: torch.cat([first, second.expand(len(first), -1, -1)], 1)
                for name, first, second in zip(names, firsts, parts, strict=True)
            }
            return plain(*args, **{**kwargs, **both})

        return forward

    attentions = [attention for block in module.transformer_blocks for attention in (block.attn2, block.audio_attn2)]
    with (
        replaced([module], reading_both),
        replaced(attentions, lambda attention: _apart(attention, mix, lengths)),
    ):
        yield


def _text_in(transformer: Any, entry: Entry, like: Tensor, is_comfyui: bool) -> Tensor:
    """[1, L, D] the second prompt behind the connectors."""
    if not is_comfyui:
        return text_of(transformer.variant_of_text(), transformer, entry, like)
    context = entry["cross_attn"].to(like)
    if not hasattr(transformer, "preprocess_text_embeds"):  # ComfyUI 0.8: its text encoder holds the connectors
        return context
    return transformer.preprocess_text_embeds(context, unprocessed=entry.get(UNPROCESSED, False))


def _apart(attention: Any, mix: Mix, lengths: list[int]) -> Any:
    """A forward in which the first `lengths[0]` tokens of the text and the others are attended to apart."""
    plain = attention.forward

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        name = "encoder_hidden_states" if "encoder_hidden_states" in kwargs else "context"
        text = kwargs.pop(name)
        first, second = text.split([lengths[0], text.shape[1] - lengths[0]], 1)
        # A mask is the first prompt's; of the second no token is padding any more.
        unmasked = {key: None if key in _MASKS else value for key, value in kwargs.items()}
        with without_output(attention, "to_out") as last, _without_gates(attention) as gates:
            positive = plain(hidden, *args, **{name: first}, **kwargs)
            mixed = mix(positive, plain(hidden, *args, **{name: second}, **unmasked))
        if gates is not None:
            opened = 2 * gates(hidden).sigmoid().unsqueeze(-1)  # one for each head
            mixed = (mixed.unflatten(-1, (opened.shape[-2], -1)) * opened).flatten(-2)
        return last(mixed)

    return forward


@contextmanager
def _without_gates(attention: nn.Module) -> Iterator[Any]:
    """Inside the context, attention opens no gates; the layer that does, or None, is handed out."""
    gates = attention._modules.get("to_gate_logits")
    if gates is None:
        yield None
        return
    attention._modules["to_gate_logits"] = None
    try:
        yield gates
    finally:
        attention._modules["to_gate_logits"] = gates


JOINT = JointAttention(carry)
