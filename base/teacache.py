"""TeaCache settings of a model: a signal, and a polynomial from the signal's change to the output's change.

Source of the coefficients: ali-vilab/TeaCache @7c10efc (Apache-2.0), made there from 50 steps of 70 prompts. Outside
the changes that were seen, several polynomials turn negative, and a run under them would freeze; `low` and `high` are
the ends of the stretch up to 0.5 where they are positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .errors import FamilyError

# (first block, arguments of its call by name) -> [B, ...], the tensor whose change predicts that of the output.
Signal = Callable[[nn.Module, Mapping[str, Any]], Tensor]
# Lower bound of the estimated change. Without it, a step with an estimate of zero or below would be reused for ever.
LEAST = 1e-3
EPSILON = 1e-6  # of the makers' norms


@dataclass(frozen=True)
class TeaCache:
    """The official set of one model.

    Attributes:
        coefficients: highest power first.
        low, high: the relative changes of the signal that the polynomial is used for; below, `low` counts, and above
            the step is computed.
    """

    coefficients: tuple[float, ...]
    low: float
    high: float
    signal: Signal

    def __call__(self, change: float) -> float:
        """Expected relative change of the output."""
        x, value = min(max(change, self.low), self.high), 0.0
        for coefficient in self.coefficients:
            value = value * x + coefficient
        return max(value, LEAST)


def timestep(block: nn.Module, named: Mapping[str, Any]) -> Tensor:
    """The embedded timestep, as the blocks get it: by diffusers' name or the makers'."""
    return named["temb"] if "temb" in named else named["e"]


def normed(block: nn.Module, named: Mapping[str, Any]) -> Tensor:
    """The video's tokens as diffusers' first block normalises and modulates them.

    Raises:
        FamilyError: a block of another kind.
    """
    norm = dict(block.named_children()).get("norm1")
    if norm is None:
        raise FamilyError(
            "TeaCache's signal was not found in this MODEL's blocks. Take the MODEL from Load Video Diffusion Model, "
            "or set the step cache's policy to easycache."
        )
    return norm(named["hidden_states"], emb=named["temb"])[0]


def modulated(block: nn.Module, named: Mapping[str, Any]) -> Tensor:
    """The same where the block's own table and the timestep [B, 1 or tokens, 6 * D] modulate, by either name."""
    x = named["hidden_states"] if "hidden_states" in named else named["x"]
    time = named["temb"] if "temb" in named else named["timestep"]
    table = block.scale_shift_table
    assert isinstance(table, Tensor)
    shift, scale = (table.to(x)[:2] + time.unflatten(-1, (len(table), -1))[..., :2, :]).unbind(dim=-2)
    return functional.rms_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale) + shift
