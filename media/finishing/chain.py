"""Finishing steps, one after the other, on frames that come in pieces: memory does not grow with the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from torch import Tensor


class Step:
    """One finishing step: settings only. All that a run needs lives in `run`, so a step can be used again."""

    def fps(self, fps: Fraction) -> Fraction:
        """Frames per second of the output, from those of the input."""
        return fps

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        """Frames [n, H, W, 3] in 0..1 in pieces -> the finished frames in pieces, which may be cut differently.

        Args:
            notes: what the user should know of the run is added here, a sentence each.
        """
        raise NotImplementedError


def finish(
    steps: Sequence[Step], pieces: Iterable[Tensor], fps: Fraction
) -> tuple[Iterator[Tensor], Fraction, list[str]]:
    """Send frames through steps.

    Args:
        pieces: [n, H, W, C] in 0..1, all of one size; alpha is dropped and grey becomes RGB where there are steps.
    Returns:
        The finished pieces (none is empty), their frames per second, and the notes: complete after the last piece.
    """
    notes: list[str] = []
    frames = (_rgb(piece) for piece in pieces) if steps else iter(pieces)
    for step in steps:
        frames = step.run(frames, fps, notes)
        fps = step.fps(fps)
    return (piece for piece in frames if piece.shape[0]), fps, notes


def _rgb(frames: Tensor) -> Tensor:
    return frames[..., :3].float().expand(*frames.shape[:3], 3)
