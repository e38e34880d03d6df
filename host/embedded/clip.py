"""CLIP of the embedded host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...base import LateTextEncoder, Shown, TextEncoder
from ..leaves import switch_leaves
from ..tags import PROMPT_FAMILY
from ..watch import watched
from . import machine
from .ops import LEAVES
from .patches import Patches, changed
from .place import check_interrupt


@dataclass(frozen=True)
class Clip:
    part: TextEncoder
    device: torch.device
    patches: Patches = ()


def clip(part: TextEncoder) -> Clip:
    for encoder in part.encoders.values():
        switch_leaves(encoder, LEAVES).to(machine.device())
    return Clip(part, machine.device())


class LateClip(Clip):
    """A Clip without its part. It becomes a plain one when the part is asked for."""

    def __init__(self, late: LateTextEncoder) -> None:
        for name, value in (("late", late), ("device", machine.device()), ("patches", ())):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name != "part":
            raise AttributeError(name)
        loaded = clip(self.__dict__["late"].load())
        object.__setattr__(self, "part", loaded.part)
        object.__setattr__(self, "__class__", Clip)
        return loaded.part


def late_clip(part: LateTextEncoder) -> Clip:
    return LateClip(part)


def text_identity(clip: Clip) -> str:
    return "" if clip.patches else late_or_part(clip).identity


def late_or_part(clip: Any) -> Any:
    """The text encoder of a CLIP, loaded or not; nothing is loaded."""
    return clip.__dict__["late"] if isinstance(clip, LateClip) else clip.part


def tokens(clip: Clip, text: str) -> tuple[int, int] | None:
    ids, whole = clip.part.tokens(text)
    return len(ids[clip.part.variant.prompts[0].slot]), whole


def shows(clip: Clip) -> bool:
    return late_or_part(clip).shows


@torch.inference_mode()
def embed(clip: Clip, text: str, shown: Sequence[Shown] = ()) -> list[list[Any]]:
    ids, _ = clip.part.tokens(text, shown)
    encoders = clip.part.encoders
    with changed(encoders, clip.patches, torch.float32), watched(encoders.values(), lambda *_: check_interrupt()):
        context, entries = clip.part.embed(ids, clip.device)
    entries = {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in entries.items()}
    return [[context.cpu(), {"pooled_output": None, **entries, PROMPT_FAMILY: clip.part.variant.family.id}]]
