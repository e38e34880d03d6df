"""Spatio-temporal guidance: the prompt's prediction is pushed away from that of a transformer with blocks weakened.

Source: Hyung et al. 2024, arXiv:2411.18664; Lightricks/LTX-Video @5260738, stg_mode "attention_values".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .errors import FamilyError


@dataclass(frozen=True)
class Stg:
    """The guidance of one step.

    Attributes:
        scale: 0 is off.
        blocks: whose self-attention is weakened, counted from 0.
        rescale: how much of the spread that all guidance adds is taken back, 0 to 1.
    """

    scale: float = 0.0
    blocks: tuple[int, ...] = ()
    rescale: float = 0.0


@dataclass(frozen=True)
class Band:
    """What the makers use from a noise level on, up to that of the band before.

    Attributes:
        level: lowest sigma, 0 to 1; the last band of a list holds below its own as well.
    """

    level: float
    cfg: float
    stg: Stg


@dataclass(frozen=True)
class OwnStg:
    """What a variant's makers use: the blocks, and by noise level where they have published that."""

    blocks: tuple[int, ...]
    bands: tuple[Band, ...] = ()

    def band(self, sigma: float) -> Band:
        return next((band for band in self.bands if band.level <= sigma), self.bands[-1])


def attentions(transformer: nn.Module, path: str, numbers: Sequence[int]) -> list[Any]:
    """The self-attention of these of the blocks at `path`.

    Raises:
        FamilyError: a number that is no block's.
    """
    blocks: Any = transformer.get_submodule(path)
    if wrong := [n for n in numbers if not 0 <= n < len(blocks)]:
        raise FamilyError(
            f"Spatio-temporal guidance is asked to weaken block {wrong[0]}; this transformer's blocks are 0 to "
            f"{len(blocks) - 1}. Change the blocks of Spatio-Temporal Guidance."
        )
    return [blocks[n].attn1 for n in numbers]


@contextmanager
def values_only(transformer: nn.Module, path: str, numbers: Sequence[int]) -> Iterator[None]:
    """Within, self-attention (`attn1`) in these of the blocks at `path` hands each token its own value only.

    Raises:
        FamilyError: as `attentions`.
    """
    before = []
    try:
        for attention in attentions(transformer, path, numbers):
            # Other packs put a forward of their own there.
            before.append((attention, vars(attention).get("forward")))
            attention.forward = _values_of(attention)
        yield
    finally:
        for attention, forward in before:
            del attention.forward
            if forward is not None:
                attention.forward = forward


def _values_of(attention: Any) -> Any:
    # diffusers names its first argument, ComfyUI gives it by position.
    def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        hidden_states = attention.to_v(hidden_states)
        for layer in attention.to_out:
            hidden_states = layer(hidden_states)
        return hidden_states

    return forward
