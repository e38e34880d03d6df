"""Prompts that travel: which prompt, or mixture of two, belongs to a moment of a video."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..base.guidance import Conditioning
from .errors import SamplingError

# Entry of a CONDITIONING's dictionary: the `Place` at which its prompt is reached.
AT = "opent2v_at"
_HEAD = r"(\d+(?:\.\d+)?)\s*(s|f|%)\s*:"
_FIRST, _NEXT = re.compile(rf"\s*{_HEAD}"), re.compile(rf"(?:^|[\n/])\s*{_HEAD}")


@dataclass(frozen=True)
class Place:
    """A moment of a video.

    Attributes:
        value: video frames from the start, or a share of the video, 0 to 1.
        is_share: which of both.
    """

    value: float
    is_share: bool = False

    def frame(self, frames: int) -> float:
        """The video frame, of a video of so many."""
        return self.value * (frames - 1) if self.is_share else self.value


def travel(text: str, fps: float) -> list[tuple[Place, str]]:
    """The prompts of a text such as "0 s: a red star / 2.5 s: a blue star", with "/" or a new line between them.

    Moments are seconds (s), frames (f) or per cent of the video (%).

    Args:
        fps: of the video, for moments in seconds; 0: not known.
    Returns:
        Empty for a text that does not begin with a moment: it is one prompt.
    Raises:
        SamplingError: a moment without a prompt, or one that is not behind the one before.
    """
    if not _FIRST.match(text):
        return []
    heads = list(_NEXT.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    prompts: list[tuple[Place, str]] = []
    for head, end in zip(heads, ends, strict=True):
        number, unit = float(head[1]), head[2]
        prompt = text[head.end() : end].strip()
        if not prompt:
            raise SamplingError(
                f"The prompt at {number:g} {unit} is empty. Write one behind the colon, or take it out."
            )
        if unit == "s" and not fps:
            raise SamplingError(
                "The frames per second of this CLIP's model are not known, so its prompt cannot travel by seconds. "
                "Count in frames (40 f:) or per cent (50 %:)."
            )
        place = Place(number / 100, True) if unit == "%" else Place(number * fps if unit == "s" else number)
        if prompts and place.is_share != prompts[-1][0].is_share:
            raise SamplingError(
                f"The prompt at {number:g} {unit} stands beside others in another count. Write all moments in per "
                "cent, or none."
            )
        if prompts and place.value <= prompts[-1][0].value:
            raise SamplingError(
                f"The prompt at {number:g} {unit} is not behind the one before it. Write the prompts in the order of "
                "time."
            )
        prompts.append((place, prompt))
    return prompts


def travels(conditioning: Conditioning) -> bool:
    """Whether a CONDITIONING's prompts belong to moments of the video."""
    return are_stops([entries for _, entries in conditioning])


def are_stops(prompts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether prompts, by their entries, are several that belong to moments of the video."""
    return len(prompts) > 1 and all(AT in entries for entries in prompts)


def check_travel(is_travelling: bool, windows: int) -> None:
    """
    Args:
        windows: how many there are in a step; 1: the whole video is computed at once.
    Raises:
        SamplingError: a prompt travels, and the model reads one prompt for the whole video.
    """
    if is_travelling and windows < 2:
        raise SamplingError(
            "The prompt travels over time, and this run computes the whole video at once, with one prompt. Connect "
            "Video Windows to windows, with a length shorter than the video."
        )


def mixture(stops: Sequence[float], moment: float) -> tuple[int, int, float]:
    """(stop before, stop behind, share of the latter, 0 to 1) of a moment.

    Args:
        stops: rising, in the unit of the moment; before the first and behind the last, that one alone counts.
    """
    behind = next((n for n, stop in enumerate(stops) if stop >= moment), len(stops) - 1)
    before = max(behind - 1, 0)
    if behind == before or moment >= stops[behind]:
        return behind, behind, 0.0
    return before, behind, (moment - stops[before]) / (stops[behind] - stops[before])


def mixed(first: Mapping[str, Any], second: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The conditions of two prompts as those of one between them.

    Tensors of floating point numbers are mixed. Where names, shapes or other tensors differ, as those of prompts of
    other lengths, the nearer prompt stands for both.
    """
    nearer = dict(second if share > 0.5 else first)
    if first.keys() != second.keys():
        return nearer
    between = {}
    for name, value in first.items():
        partner = second[name]
        if not isinstance(value, Tensor) or not isinstance(partner, Tensor):
            between[name] = nearer[name]
        elif value.shape != partner.shape:
            return nearer
        elif value.is_floating_point():
            between[name] = torch.lerp(value, partner, share)
        elif not torch.equal(value, partner):
            return nearer
        else:
            between[name] = value
    return between


def moment_of(span: Sequence[int], count: int, temporal: int) -> float:
    """The video frame in the middle of a window.

    Args:
        span: latent frames of the window, which may lead from the end to the start.
        count: latent frames of the whole.
        temporal: video frames per latent frame.
    """
    return (span[0] + (len(span) - 1) / 2) % count * temporal
