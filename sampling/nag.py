"""Normalised attention guidance: a negative prompt that works at cfg 1, at the cost of attention to it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Entry, FamilyError
from ..base.crossing import TextCrossing
from ..base.guidance import Guide, Pass
from .guides import replaced

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
        crossing: how the transformer attends to the prompt.
        path: of the transformer's block list.
    """

    scale: float
    tau: float
    alpha: float
    negative: Entry
    crossing: TextCrossing
    path: str

    @property
    def remark(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"negative prompt by attention {self.scale:g}"

    def passes(self) -> tuple[Pass, ...]:
        return (Pass("positive", change=self.guided),)

    def guided(self, transformer: nn.Module) -> AbstractContextManager[None]:
        blocks: Any = transformer.get_submodule(self.path)
        attentions = [self._attention(block) for block in blocks]
        projected: list[tuple[Tensor, dict[str, Tensor]]] = []

        def text(hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            # Asked for within the transformer's call, when its host has brought the layers to the device.
            if not projected:
                projected.append(self.crossing.project(transformer, self.negative, hidden))
            return projected[0]

        return replaced(attentions, lambda attention: self._forward(attention, text))

    def _attention(self, block: nn.Module) -> Any:
        for name in self.crossing.names:
            if hasattr(block, name):
                return getattr(block, name)
        raise FamilyError(
            f"Normalised attention guidance looks for {' or '.join(self.crossing.names)} in each block of the "
            f"transformer, and {type(block).__name__} has none. Set nag of Video Guidance to 0."
        )

    def _forward(self, attention: Any, text: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]) -> Any:
        plain = attention.forward

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            name = next((name for name in _CONTEXTS if name in kwargs), "")
            context = kwargs[name] if name else args[0]
            negative, masks = text(hidden)
            context_away = negative.expand(len(hidden), -1, -1)
            if self.crossing.has_pictures(attention):  # pictures lie before the text, and both prompts see them
                context_away = torch.cat([context[:, : context.shape[1] - context_away.shape[1]], context_away], 1)
            if name:
                second_args, second = args, {**kwargs, name: context_away}
            else:
                second_args, second = (context_away, *args[1:]), dict(kwargs)
            for key in self.crossing.masks:
                if key in second:
                    second[key] = masks.get(key)
            with _without_output(attention) as output:
                positive = plain(hidden, *args, **kwargs)
                away = plain(hidden, *second_args, **second)
            mixed = normalised(positive, away, self.scale, self.tau, self.alpha)
            for layer in output if isinstance(output, nn.ModuleList) else [output]:
                mixed = layer(mixed)
            return mixed

        return forward


@contextmanager
def _without_output(attention: nn.Module) -> Iterator[nn.Module]:
    """Inside the context, attention returns what its last layer would read; that layer is handed out."""
    name = next(name for name in _OUTPUTS if name in attention._modules)
    output = attention._modules[name]
    assert output is not None
    nothing = nn.Identity()
    attention._modules[name] = nn.ModuleList([nothing, nothing]) if isinstance(output, nn.ModuleList) else nothing
    try:
        yield output
    finally:
        attention._modules[name] = output
