"""Clips for the tests of training, written here."""

from __future__ import annotations

from pathlib import Path

import torch

from opent2v.media import VideoWriter

PROMPTS = ("a red triangle moving to the right on a black background", "a blue star growing on a white background")


def frames_of(number: int, count: int, width: int = 32, height: int = 32) -> torch.Tensor:
    """[count, H, W, 3] in 0..1: a bright square that moves, another for each number."""
    frames = torch.full((count, height, width, 3), 0.1 + 0.05 * (number % 5))
    for n in range(count):
        top, left = (3 * number + n) % (height - 8), (5 * number + 2 * n) % (width - 8)
        frames[n, top : top + 8, left : left + 8, number % 3] = 0.9
    return frames


def write_clip(folder: Path, stem: str, frames: torch.Tensor, fps: float = 16, caption: str | None = None, audio=None):
    """Write a clip, and its caption where there is one; returns the clip's path."""
    folder.mkdir(parents=True, exist_ok=True)
    count, height, width, _ = frames.shape
    with VideoWriter(folder, stem, fps=fps, width=width, height=height, audio=audio) as writer:
        writer.write(frames)
    assert count and writer.path is not None
    path = writer.path.rename(folder / f"{stem}{writer.path.suffix}")
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def folder_of(folder: Path, count: int = 3, frames: int = 9) -> Path:
    """A folder of clips with captions."""
    for n in range(count):
        write_clip(folder, f"clip{n}", frames_of(n, frames), caption=PROMPTS[n % 2])
    return folder
