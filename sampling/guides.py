"""The guidances beyond cfg that every model may be sampled with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..base import FamilyError
from ..base.forwards import replaced
from ..base.guidance import NEGATIVE, Conditioning, Guide, Pass, PassResults
from ..base.stg import Stg

# Keys that pictures add to a CONDITIONING's dictionary.
PICTURES = ("concat_latent_image", "concat_mask")


@dataclass(frozen=True, eq=False)
class ImageGuidance(Guide):
    """Adds (scale - 1) times the pictures' effect on the negative prompt's prediction to both prompts' predictions.

    Both move by the same amount, so cfg still guides by the prompt as before.

    Args:
        scale: [T or 1], for each latent frame; 1 is off.
    """

    scale: Tensor

    def passes(self) -> tuple[Pass, ...]:
        return NEGATIVE, Pass("without_image", "negative", without_image)

    def before_cfg(self, results: PassResults) -> Mapping[str, Tensor]:
        positive, negative = results.clean["positive"], results.clean["negative"]
        scale = self.scale.to(negative)
        # A sound's latents do not belong to single frames of the video, so it takes the mean scale.
        extra = (scale.view(1, 1, -1, 1, 1) if negative.ndim == 5 else scale.mean()) - 1
        change = extra * (negative - results.clean["without_image"])
        return {**results.clean, "positive": positive + change, "negative": negative + change}


def without_image(conditioning: Conditioning) -> Conditioning:
    return [[context, {k: v for k, v in values.items() if k not in PICTURES}] for context, values in conditioning]


class CfgStar(Guide):
    """CFG-Zero*: scales the negative prompt's prediction to the projection of the positive one on it.

    Source: Fan et al. 2025, arXiv:2503.18886 (CFG-Zero*), optimised scale; Lightricks/LTX-Video @5260738,
    cfg_star_rescale.
    """

    def before_cfg(self, results: PassResults) -> Mapping[str, Tensor]:
        away, towards = (results.output(results.clean[name]) for name in ("negative", "positive"))
        axes = list(range(1, away.ndim))
        alpha = (towards * away).sum(axes, keepdim=True) / (away.square().sum(axes, keepdim=True) + 1e-8)
        return {**results.clean, "negative": results.clean_of(away * alpha)}


@dataclass(frozen=True)
class CfgRescale(Guide):
    """Rescales the guided prediction to the standard deviation of the positive prompt's, against burnt colours.

    Args:
        share: 0 changes nothing, 1 takes the positive prompt's standard deviation whole.
    """

    share: float

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        return rescaled(clean, results, self.share)


@dataclass(frozen=True)
class Perturbed(Guide):
    """Spatio-temporal guidance: steers away from the prediction with perturbed attention in some blocks.

    Args:
        path: of the transformer's block list.
        names: of the blocks' self-attention.
    Source: Hyung et al. 2024, arXiv:2411.18664; Lightricks/LTX-Video @5260738, pipeline_ltx_video.py, "perform
    guidance", stg_mode "attention_values".
    """

    stg: Stg
    path: str
    names: tuple[str, ...] = ("attn1",)

    def passes(self) -> tuple[Pass, ...]:
        return (Pass("perturbed", change=self.perturbed),)

    def perturbed(self, transformer: nn.Module) -> AbstractContextManager[None]:
        return values_only(transformer, self.path, self.stg.blocks, self.names)

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        clean = clean + self.stg.scale * (results.clean["positive"] - results.clean["perturbed"])
        return rescaled(clean, results, self.stg.rescale) if self.stg.rescale else clean


@dataclass(frozen=True)
class SoundCfg(Guide):
    """Guides the sound of a joint model by a scale of its own.

    Args:
        scale: 1 is off.
    """

    scale: float

    def passes(self) -> tuple[Pass, ...]:
        return (NEGATIVE,)

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        if results.stream == 0:
            return clean
        away, towards = (results.clean[name] for name in ("negative", "positive"))
        return away + self.scale * (towards - away)


@dataclass(frozen=True)
class Modality(Guide):
    """Steers away from what a joint model makes where picture and sound do not attend to each other.

    Args:
        scale: 1 is off.
        path: of the transformer's block list.
        names: of the blocks' attention from one stream to the other.
    Source: Lightricks/LTX-2 @d5b526ed, modality guidance; diffusers 0.42.1, pipelines/ltx2.
    """

    scale: float
    path: str
    names: tuple[str, ...]

    def passes(self) -> tuple[Pass, ...]:
        return (Pass("isolated", change=self.isolated),)

    def isolated(self, transformer: nn.Module) -> AbstractContextManager[None]:
        return without(transformer, self.path, self.names)

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        return clean + (self.scale - 1) * (results.clean["positive"] - results.clean["isolated"])


def _nothing_of(attention: Any) -> Any:
    def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros_like(hidden_states)

    return forward


@dataclass(frozen=True)
class CleanRescale(Guide):
    """Rescales the guided clean latent to the standard deviation of the positive prompt's, stream by stream.

    Args:
        share: 0 changes nothing, 1 takes the positive prompt's standard deviation whole.
    Source: Lightricks/LTX-2 @d5b526ed; diffusers 0.42.1, pipelines/ltx2 (rescale_noise_cfg on clean latents).
    """

    share: float

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        axes, positive = list(range(1, clean.ndim)), results.clean["positive"]
        spread = clean.std(dim=axes, keepdim=True)
        tiny = torch.finfo(spread.dtype).tiny
        ratio = positive.std(dim=axes, keepdim=True) / spread.clamp_min(tiny)
        return clean * (self.share * ratio + 1 - self.share)


def rescaled(clean: Tensor, results: PassResults, share: float) -> Tensor:
    """The guided clean latent, rescaled by `share` to the standard deviation of the positive prompt's output.

    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4, on the model's own output.
    """
    guided, positive = results.output(clean), results.output(results.clean["positive"])
    axes = list(range(1, guided.ndim))
    spread = guided.std(dim=axes, keepdim=True)
    ratio = positive.std(dim=axes, keepdim=True) / spread.clamp_min(
        torch.finfo(spread.dtype).tiny
    )  # 0: nothing to scale
    return results.clean_of(guided * (share * ratio + 1 - share))


def attentions(
    transformer: nn.Module, path: str, numbers: Sequence[int], names: Sequence[str] = ("attn1",)
) -> list[Any]:
    """The self-attention modules of these names in the numbered blocks at `path`.

    Raises:
        FamilyError: a number that is no block's.
    """
    blocks: Any = transformer.get_submodule(path)
    if wrong := [n for n in numbers if not 0 <= n < len(blocks)]:
        raise FamilyError(
            f"Spatio-temporal guidance is asked to perturb block {wrong[0]}; this transformer's blocks are 0 to "
            f"{len(blocks) - 1}. Change stg_blocks of Video Guidance."
        )
    return [getattr(blocks[n], name) for n in numbers for name in names]


@contextmanager
def values_only(
    transformer: nn.Module, path: str, numbers: Sequence[int], names: Sequence[str] = ("attn1",)
) -> Iterator[None]:
    """Inside the context, self-attention in the numbered blocks at `path` returns each token's own value.

    Raises:
        FamilyError: as `attentions`.
    """
    with replaced(attentions(transformer, path, numbers, names), _values_of):
        yield


def without(transformer: nn.Module, path: str, names: Sequence[str]) -> AbstractContextManager[None]:
    """Inside the context, the attentions of these names in all blocks at `path` return nothing."""
    count = len(transformer.get_submodule(path))  # pyright: ignore[reportArgumentType]
    return replaced(attentions(transformer, path, range(count), names), _nothing_of)


def _values_of(attention: Any) -> Any:
    # diffusers names its first argument, ComfyUI gives it by position.
    def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        gates = getattr(attention, "to_gate_logits", None)  # LTX-2's, one for each head
        opened = None if gates is None else 2 * gates(hidden_states).sigmoid().unsqueeze(-1)
        hidden_states = attention.to_v(hidden_states)
        if opened is not None:
            hidden_states = (hidden_states.unflatten(-1, (opened.shape[-2], -1)) * opened).flatten(-2)
        for layer in attention.to_out:
            hidden_states = layer(hidden_states)
        return hidden_states

    return forward
