"""Requests of other nodes that diffusers' transformers cannot fulfil are refused by name, not ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from comfy.model_sampling import CONST

from ...sampling import SamplingError


def refuse_unread(options: Mapping[str, Any]) -> None:
    """Raise where the host's options of a call ask for a change of blocks, attention or positions.

    ComfyUI's own networks read these options inside; diffusers' transformers do not.

    Raises:
        SamplingError: naming the nodes that ask.
    """
    asking = dict.fromkeys(_asking(options))
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
    raise SamplingError(
        f"A node in front (ModelSamplingDiscrete or one like it) has set the sampling of this MODEL for models that "
        f"predict {'noise' if predicts == 'flow' else 'a flow'}; this one predicts "
        f"{'a flow' if predicts == 'flow' else predicts}. Take that node out."
    )


def _asking(options: Mapping[str, Any]) -> Iterator[str]:
    for functions in options.get("patches", {}).values():
        yield from map(_node, functions)
    for places in options.get("patches_replace", {}).values():
        yield from map(_node, places.values())
    rope = options.get("rope_options") or {}
    if any(value != (1.0 if name.startswith("scale") else 0.0) for name, value in rope.items()):
        yield "ScaleROPE"
    if options.get("stg_self_attn_blocks"):
        yield "LTXVSpatioTemporalGuidance"


def _node(change: Callable[..., Any]) -> str:
    """Name of the node that made a patch: core's nodes define a function inside their method, or a class."""
    named = getattr(change, "__qualname__", None)
    return named.split(".")[0] if named else type(change).__name__
