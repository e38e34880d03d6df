"""Calls of a sampler joined to one run of the model, a clip for each, and its result taken apart again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..host import host
from ..sampling.streams import unbind

# What may differ from call to call; everything else must be the same.
_OF_A_CLIP = frozenset({"seed", "positive", "negative", "latent", "unique_id", "prompt"})
# Entries of a CONDITIONING's dictionary that belong to the words, [1, ...] each.
_OF_WORDS = frozenset({"pooled_output", "attention_mask"})


def joined(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The arguments of one call for all; None where they do not fit together.

    They fit where they differ in seed, prompts and starting latents only, and these have equal shapes: a prompt of
    another length would change what the others are computed from.
    """
    first = dict(calls[0])
    if first.get("keep") or first.get("step_cache") is not None or first.get("seeds"):
        return None
    names = {name for call in calls for name in call} - _OF_A_CLIP
    if not all(_same(call.get(name), first.get(name)) for call in calls[1:] for name in names):
        return None
    latent = _latents([call["latent"] for call in calls])
    prompts = {name: _prompts([call[name] for call in calls]) for name in ("positive", "negative")}
    if latent is None or None in prompts.values():
        return None
    return {**first, **prompts, "latent": latent, "seeds": ", ".join(str(call["seed"]) for call in calls)}


def clips_of(latent: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The LATENT of each clip of a batch."""
    streams = unbind(latent["samples"])
    return [{**latent, "samples": host.nested([stream[n : n + 1] for stream in streams])} for n in range(count)]


def _latents(latents: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    first = latents[0]
    names = {name for latent in latents for name in latent} - {"samples"}
    if "batch_index" in names or not all(_same(latent.get(n), first.get(n)) for latent in latents for n in names):
        return None
    clips = [unbind(latent["samples"]) for latent in latents]
    shapes = [[tuple(stream.shape) for stream in streams] for streams in clips]
    if any(of_clip != shapes[0] for of_clip in shapes) or shapes[0][0][0] != 1:
        return None
    return {**first, "samples": host.nested([torch.cat(streams) for streams in zip(*clips, strict=True)])}


def _prompts(conditionings: Sequence[Any]) -> list[Any] | None:
    if len({len(conditioning) for conditioning in conditionings}) != 1:
        return None
    entries = [_entry(entries) for entries in zip(*conditionings, strict=True)]
    return None if None in entries else entries


def _entry(entries: Sequence[Any]) -> list[Any] | None:
    """One entry of a CONDITIONING, [context, dictionary], for all clips."""
    contexts, dictionaries = zip(*entries, strict=True)
    names = dict.fromkeys(name for dictionary in dictionaries for name in dictionary)
    together = {"": _tensors(contexts)}
    for name in names:
        values = [dictionary.get(name) for dictionary in dictionaries]
        is_shared = all(_same(value, values[0]) for value in values)
        together[name] = values[0] if is_shared else _tensors(values) if name in _OF_WORDS else None
        if together[name] is None and not is_shared:
            return None
    context = together.pop("")
    return None if context is None else [context, together]


def _tensors(values: Sequence[Any]) -> Tensor | None:
    """[1, ...] of each clip as [clips, ...], or as it is where all have the same; None where that cannot be."""
    if all(_same(value, values[0]) for value in values):
        return values[0]
    if not all(isinstance(value, Tensor) and value.shape == values[0].shape and len(value) == 1 for value in values):
        return None
    return torch.cat(list(values))


def _same(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if isinstance(first, Tensor) or getattr(first, "is_nested", False):
        if not isinstance(second, type(first)):
            return False
        streams = unbind(first), unbind(second)
        return len(streams[0]) == len(streams[1]) and all(
            a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(*streams, strict=True)
        )
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    return type(first) is type(second) and bool(first == second)
