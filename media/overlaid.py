"""Clips laid over a first one, for people who compare them: split by a line that moves, or as their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .compare import psnr_of
from .cover import scaled

GAIN = 10  # of a difference, which is too dark to be seen as it is
REACH = 0.45  # how far the line of a split moves from the middle, as a share of the width
_LINE = 0.004  # width of that line, as a share of the picture's
_SHAPES = 0.01  # by how much the ratio of width to height may differ before clips do not lie over one another


def split(clip: Tensor, reference: Tensor) -> Tensor:
    """The reference left of an upright line and the clip right of it; the line moves to and fro once from end to end.

    It begins in the middle and comes back there, so that the result can be played in a loop. A shorter clip holds its
    last frame.

    Args:
        clip, reference: [F, H, W, 3] in 0..1; the clip is scaled to the reference's size.
    Returns:
        [longest F, H, W, 3]
    Raises:
        ValueError: another ratio of width to height.
    """
    left, right = _of_one_size(clip, reference)
    frames, width = len(left), left.shape[2]
    places = line_places(frames, width)
    columns = torch.arange(width)
    joined = torch.where((columns < places[:, None])[:, None, :, None], left, right)
    half = max(1, round(_LINE * width / 2))
    away = (columns - places[:, None]).add(0.5).abs()[:, None, :, None]
    joined[(away < half + 1).expand_as(joined)] = 0.0  # a dark edge, so that the line is seen on a bright picture
    joined[(away < half).expand_as(joined)] = 1.0
    return joined


def line_places(frames: int, width: int) -> Tensor:
    """Where the line of a split stands in each frame, in pixels from the left: [F]."""
    turns = torch.arange(frames) / frames
    return (width * (0.5 + REACH * torch.sin(2 * math.pi * turns))).round().long()


def difference(clip: Tensor, reference: Tensor) -> Tensor:
    """How far a clip is from the reference, times `GAIN`; arguments, result and errors as of `split`."""
    theirs, ours = _of_one_size(clip, reference)
    return (ours - theirs).abs_().mul_(GAIN).clamp_(max=1)


def psnrs(clip: Tensor, reference: Tensor) -> list[float]:
    """PSNR of each frame in dB, infinite where both are equal; arguments and errors as of `split`."""
    theirs, ours = _of_one_size(clip, reference)
    # Frame by frame, since the squares of whole clips take their memory again.
    errors = ((ours[frame] - theirs[frame]).square().mean().item() for frame in range(len(ours)))
    return [psnr_of(error) for error in errors]


def check_shapes(clips: Sequence[Tensor]) -> None:
    """
    Raises:
        ValueError: clips that do not lie over the first one.
    """
    height, width = clips[0].shape[1:3]
    for number, clip in enumerate(clips[1:], 2):
        ratio = clip.shape[2] * height / (clip.shape[1] * width)
        if abs(ratio - 1) > _SHAPES:
            raise ValueError(
                f"Clip {number} is {clip.shape[2]} x {clip.shape[1]}, the first {width} x {height}: clips of other "
                "ratios of width to height do not lie over one another. Choose row, column or grid, or make them alike."
            )


def _of_one_size(clip: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """(reference, clip) in the reference's size and the longer one's frames."""
    check_shapes([reference, clip])
    size = reference.shape[1:3]
    clip, reference = clip[..., :3].float(), reference[..., :3].float()
    if clip.shape[1:3] != size:
        clip = scaled(clip, size[1], size[0])
    frames = max(len(clip), len(reference))
    return _held(reference, frames), _held(clip, frames)


def _held(clip: Tensor, frames: int) -> Tensor:
    """A clip that stays at its last frame; a copy only where it is too short."""
    return clip if len(clip) == frames else torch.cat([clip, clip[-1:].expand(frames - len(clip), -1, -1, -1)])
