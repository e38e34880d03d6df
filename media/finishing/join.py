"""Joining two clips, and making one clip a loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .chain import Step
from .colour import Moments, recoloured


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """[n, H, W, 3] that goes over from one clip's frames to another's; neither end is a frame of one clip alone."""
    share = torch.linspace(0, 1, before.shape[0] + 2)[1:-1].to(before).view(-1, 1, 1, 1)
    return before + (after - before) * share


def join(first: Tensor, second: Tensor, overlap: int, colour: float = 0.0) -> Tensor:
    """Two clips [n, H, W, 3] as one, the last `overlap` frames of the first fading into those of the second.

    Args:
        colour: 0..1, how far the second clip gets the colours of the first one's last frame.
    Raises:
        ValueError: different sizes, or an overlap longer than a clip.
    """
    if first.shape[1:3] != second.shape[1:3]:
        sizes = [f"{clip.shape[2]} x {clip.shape[1]}" for clip in (first, second)]
        raise ValueError(
            f"The first clip is {sizes[0]} pixels and the second {sizes[1]}; both need the same size. "
            "Scale one with ComfyUI's Upscale Image first."
        )
    if overlap > min(first.shape[0], second.shape[0]):
        raise ValueError(
            f"The clips would overlap by {overlap} frames, but have {first.shape[0]} and {second.shape[0]}. "
            "Choose an overlap no longer than the shorter clip."
        )
    second = second.to(first)
    if colour:
        # Only the difference at the seam is removed, since the second clip may change its light later on.
        second = recoloured(second, Moments.of_all(second[:1]), Moments.of_all(first[-1:]), colour)
    kept = first.shape[0] - overlap
    return torch.cat([first[:kept], cross_fade(first[kept:], second[:overlap]), second[overlap:]])


@dataclass(frozen=True)
class Loop(Step):
    """Makes the video's end lead back to its beginning.

    Attributes:
        overlap: frames of the end that fade into the beginning; the video gets that much shorter. 0: ping-pong, the
            video runs back to its beginning. For this all frames are kept, as 8 bit.
    """

    overlap: int = 0

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        return _faded_loop(pieces, self.overlap) if self.overlap else _ping_pong(pieces)


def _ping_pong(pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    kept = []
    for piece in pieces:
        kept.append((piece * 255).round().to(torch.uint8))
        yield piece
    frames = [frame for piece in kept for frame in piece.split(1)]
    # Neither turning point is shown twice.
    for frame in frames[-2:0:-1]:
        yield frame.float() / 255


def _faded_loop(pieces: Iterator[Tensor], overlap: int) -> Iterator[Tensor]:
    head = tail = None
    count = 0
    for piece in pieces:
        count += piece.shape[0]
        tail = piece if tail is None else torch.cat([tail, piece])
        if head is None or head.shape[0] < overlap:
            # The beginning is shown as the end fades into it.
            taken = overlap - (0 if head is None else head.shape[0])
            head = tail[:taken].clone() if head is None else torch.cat([head, tail[:taken]])
            tail = tail[taken:]
        ready = tail.shape[0] - overlap
        if ready > 0:
            yield tail[:ready]
            tail = tail[ready:].clone()
    if head is None or tail is None or count < 2 * overlap + 1:
        raise ValueError(
            f"The video has {count} frames; a loop that fades over {overlap} needs at least {2 * overlap + 1}. "
            "Choose a shorter fade, or 0 for ping-pong."
        )
    yield cross_fade(tail, head)
