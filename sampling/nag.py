"""Normalised attention guidance: a negative prompt that works at cfg 1, at the cost of attention to it alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Entry, FamilyError
from ..base.crossing import TextCrossing
from ..base.forwards import replaced, without_output
from ..base.guidance import Guide, Pass
from ..base.joint import JointAttention

# What attention's last layer is called in diffusers' modules and in ComfyUI's.
_OUTPUTS = ("to_out", "o")
# What they call their second argument, the text.
_CONTEXTS = ("encoder_hidden_states", "context")


def normalised(positive: Tensor, negative: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """What attention to the positive prompt gives, led away from what attention to the negative one gives.

    Args:
        positive, negative: [..., D], before attention's last layer.
        scale: how far away; 1 is off.
        tau: the most that the sum of absolute values may grow by, as a factor.
        alpha: share of the result, the rest is `positive`; 0 is off.
    Source: Chen et al. 2025, arXiv:2505.21179, section 3.2.
    """
    guided = positive * scale - negative * (scale - 1)
    before, after = (tensor.abs().sum(-1, keepdim=True) for tensor in (positive, guided))
    growth = after / before.clamp_min(torch.finfo(before.dtype).tiny)
    guided = torch.where(growth > tau, guided * (tau / growth), guided)
    return guided * alpha + positive * (1 - alpha)


@dataclass(frozen=True, eq=False)
class Nag(Guide):
    """Normalised attention guidance of the positive prompt's pass.

    Args:
        scale, tau, alpha: see `normalised`.
        negative: the dictionary of the negative CONDITIONING, its embedding under "cross_attn".
        attention: how the transformer attends to the prompt.
        path: of the transformer's block list.
    """

    scale: float
    tau: float
    alpha: float
    negative: Entry
    attention: TextCrossing | JointAttention
    path: str

    @property
    def remark(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"negative prompt by attention {self.scale:g}"

    def passes(self) -> tuple[Pass, ...]:
        return (Pass("positive", change=self.guided),)

    def guided(self, transformer: nn.Module) -> AbstractContextManager[None]:
        if isinstance(self.attention, JointAttention):
            return self.attention.carry(transformer, self.negative, self._mixed)
        return self._crossed(transformer, self.attention)

    def _mixed(self, positive: Tensor, negative: Tensor) -> Tensor:
        return normalised(positive, negative, self.scale, self.tau, self.alpha)

    def _crossed(self, transformer: nn.Module, crossing: TextCrossing) -> AbstractContextManager[None]:
        if crossing.attentions is None:
            blocks: Any = transformer.get_submodule(self.path)
            attentions = [_attention(block, crossing) for block in blocks]
        else:
            attentions = crossing.attentions(transformer)
        projected: list[tuple[Tensor, dict[str, Tensor]]] = []

        def text(hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            # Asked for within the transformer's call, when its host has brought the layers to the device.
            if not projected:
                projected.append(crossing.project(transformer, self.negative, hidden))
            return projected[0]

        return replaced(attentions, lambda attention: self._forward(attention, crossing, text))

    def _forward(
        self, attention: Any, crossing: TextCrossing, text: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]
    ) -> Any:
        plain = attention.forward

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            name = next((name for name in _CONTEXTS if name in kwargs), "")
            context = kwargs[name] if name else args[0]
            negative, masks = text(hidden)
            context_away = negative.expand(len(hidden), -1, -1)
            if crossing.has_pictures(attention):  # pictures lie before the text, and both prompts see them
                context_away = torch.cat([context[:, : context.shape[1] - context_away.shape[1]], context_away], 1)
            if name:
                second_args, second = args, {**kwargs, name: context_away}
            else:
                second_args, second = (context_away, *args[1:]), dict(kwargs)
            for key in crossing.masks:
                if key in second:
                    second[key] = masks.get(key)
            with without_output(attention, next(name for name in _OUTPUTS if name in attention._modules)) as last:
                positive = plain(hidden, *args, **kwargs)
                away = plain(hidden, *second_args, **second)
            return last(self._mixed(positive, away))

        return forward


def _attention(block: nn.Module, crossing: TextCrossing) -> Any:
    for name in crossing.names:
        if hasattr(block, name):
            return getattr(block, name)
    raise FamilyError(
        f"Normalised attention guidance looks for {' or '.join(crossing.names)} in each block of the transformer, and "
        f"{type(block).__name__} has none. Set nag of Video Guidance to 0."
    )
