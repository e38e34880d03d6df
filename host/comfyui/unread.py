"""Requests of other nodes that diffusers' transformers cannot fulfil are refused by name, not ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from comfy.model_sampling import CONST
from torch import nn

from ...base import Variant
from ...sampling import SamplingError
from ...sampling.guides import values_only, without

# Options by which ComfyUI's nodes isolate the streams of a joint model, in the order of `Network.crossings`.
_CROSSINGS = ("a2v_cross_attn", "v2a_cross_attn")


@contextmanager
def changed_as_asked(variant: Variant, transformer: nn.Module, options: Mapping[str, Any]) -> Iterator[None]:
    """The transformer of a joint model as LTXVSpatioTemporalGuidance and LTXVModalityGuidance ask for it in a call."""
    network, published = variant.family.network, variant.family.sampling.stg(variant)
    with ExitStack() as stack:
        if blocks := options.get("stg_self_attn_blocks"):
            names = published.attentions if published else ("attn1",)
            stack.enter_context(values_only(transformer, network.blocks, sorted(blocks), names))
        closed = [
            name for name, option in zip(network.crossings, _CROSSINGS, strict=False) if not options.get(option, True)
        ]
        if closed:
            stack.enter_context(without(transformer, network.blocks, closed))
        yield


def refuse_unread(options: Mapping[str, Any], is_joint: bool = False) -> None:
    """Raise where the host's options of a call ask for a change of blocks, attention or positions.

    ComfyUI's own networks read these options inside; diffusers' transformers do not.

    Args:
        is_joint: the model reads those of its guidance nodes, see `changed_as_asked`.

    Raises:
        SamplingError: naming the nodes that ask.
    """
    asking = dict.fromkeys(_asking(options, is_joint))
    if not asking:
        return
    advice = ""
    if any("Guidance" in name for name in asking):
        advice = " Video Guidance's stg does something alike: away from what the model makes with perturbed blocks."
    raise SamplingError(
        f"{', '.join(asking)} changes the inside of ComfyUI's own networks; on a MODEL of this pack's loaders it would "
        f"change nothing. Take that node out.{advice}"
    )


def refuse_other_space(model_sampling: Any, predicts: str) -> None:
    """Raise where a node has given a flow model the sampling of noise predictors, or the other way round.

    Args:
        predicts: what the transformer predicts: "flow", "v" or "eps".
    Raises:
        SamplingError: the two are not of one kind.
    """
    if isinstance(model_sampling, CONST) == (predicts == "flow"):
        return
    set_for, its_own = ("noise", "a flow") if predicts == "flow" else ("a flow", predicts)
    raise SamplingError(
        f"A node in front (ModelSamplingDiscrete or one like it) has set the sampling of this MODEL for models that "
        f"predict {set_for}; this one predicts {its_own}. Take that node out."
    )


def _asking(options: Mapping[str, Any], is_joint: bool) -> Iterator[str]:
    for functions in options.get("patches", {}).values():
        yield from map(_node, functions)
    for places in options.get("patches_replace", {}).values():
        yield from map(_node, places.values())
    rope = options.get("rope_options") or {}
    if any(value != (1.0 if name.startswith("scale") else 0.0) for name, value in rope.items()):
        yield "ScaleROPE"
    if options.get("stg_self_attn_blocks") and not is_joint:
        yield "LTXVSpatioTemporalGuidance"
    if not is_joint and not all(options.get(option, True) for option in _CROSSINGS):
        yield "LTXVModalityGuidance"


def _node(change: Callable[..., Any]) -> str:
    """Name of the node that made a patch: core's nodes define a function inside their method, or a class."""
    named = getattr(change, "__qualname__", None)
    return named.split(".")[0] if named else type(change).__name__
