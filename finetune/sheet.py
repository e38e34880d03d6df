"""Contact sheets: some frames of each clip in a row, clip under clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..media.cover import fit

# Frames of a clip on the sheet, and their height in pixels.
_COLUMNS, _ROW = 5, 160


def write_sheet(path: Path, clips: Sequence[Tensor]) -> Path | None:
    """Write a PNG of clips, each an IMAGE [F, H, W, 3] in 0..1; None where there are none."""
    from PIL import Image

    if not clips:
        return None
    rows = [_row(frames) for frames in clips]
    width = max(row.shape[1] for row in rows)
    filled = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1])) for row in rows]
    sheet = (torch.cat(filled).clamp(0, 1) * 255).round().byte().numpy()
    Image.fromarray(sheet).save(path)
    return path


def _row(frames: Tensor) -> Tensor:
    """[H, W, 3] of some frames side by side."""
    count = min(_COLUMNS, len(frames))
    chosen = frames[torch.linspace(0, len(frames) - 1, count).round().long()]
    height, width = _ROW, max(1, math.ceil(_ROW * frames.shape[2] / frames.shape[1]))
    return torch.cat(list(fit(chosen, width, height)), dim=1)
