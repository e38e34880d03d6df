"""Pictures and words laid over the frames: captions and watermarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .captions import Line
from .chain import Step
from .fonts import font_for

PLACES = {
    "bottom": (0.5, 1.0), "top": (0.5, 0.0), "centre": (0.5, 0.5), "bottom left": (0.0, 1.0),
    "bottom right": (1.0, 1.0), "top left": (0.0, 0.0), "top right": (1.0, 0.0),
}  # fmt: skip
MARGIN = 0.03  # of the shorter side
# Chinese, Japanese and Korean signs, full-width punctuation included: a line may break before each.
_NO_SPACES = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"


def lay(frames: Tensor, picture: Tensor, place: str) -> Tensor:
    """Frames [n, H, W, 3] with a picture [h, w, 4] (straight alpha) over them; what lies outside is cut off."""
    height, width = frames.shape[1:3]
    margin = round(MARGIN * min(height, width))
    across, down = PLACES[place]
    x = round(margin + across * (width - picture.shape[1] - 2 * margin))
    y = round(margin + down * (height - picture.shape[0] - 2 * margin))
    picture = picture[max(0, -y) : height - y, max(0, -x) : width - x].to(frames)
    x, y = max(0, x), max(0, y)
    there = (..., slice(y, y + picture.shape[0]), slice(x, x + picture.shape[1]), slice(None))
    frames = frames.clone()
    frames[there] += (picture[..., :3] - frames[there]) * picture[..., 3:]
    return frames


@dataclass(frozen=True)
class Caption(Step):
    """Words burnt into the frames, white with a dark edge.

    Attributes:
        lines: what is shown when, see `read_captions`. Those shown at once stand on each other, the first one lowest
            at the bottom of the picture and highest elsewhere.
        size: height of the letters, as a share of the picture's height.
        fonts: folders searched for a font before the machine's own.
    """

    lines: tuple[Line, ...]
    place: str = "bottom"
    size: float = 0.06
    opacity: float = 1.0
    fonts: tuple[Path, ...] = ()

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        drawn = lru_cache(maxsize=4)(self._drawn)
        index = 0
        for piece in pieces:
            out = []
            for frame in piece.split(1):
                seconds = float(index / fps)
                words = self._shown(seconds)
                if words:
                    frame = lay(frame, drawn(words, frame.shape[1], frame.shape[2]), self.place)
                out.append(frame)
                index += 1
            yield torch.cat(out)

    def _shown(self, seconds: float) -> str:
        shown = [o.text for o in self.lines if o.start <= seconds and (o.end is None or seconds < o.end)]
        return "\n".join(reversed(shown) if self.place.startswith("bottom") else shown)

    def _drawn(self, text: str, height: int, width: int) -> Tensor:
        return draw_text(text, max(6, round(self.size * height)), width, self.opacity, self.fonts)


def draw_text(text: str, size: int, width: int, opacity: float = 1.0, fonts: tuple[Path, ...] = ()) -> Tensor:
    """Words as a picture [h, w, 4] in 0..1, lines broken to fit into a picture of `width` pixels.

    Args:
        size: height of the letters in pixels.
    Raises:
        FontError: no font has the letters.
    """
    from PIL import Image, ImageDraw

    font = font_for(text, size, fonts)
    edge = max(1, size // 12)
    room = width * (1 - 2 * MARGIN) - 2 * edge
    lines = [part for line in text.split("\n") for part in _broken(line, font, room)]
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    options = {"font": font, "align": "center", "stroke_width": edge, "spacing": size // 4}
    left, top, right, bottom = (round(v) for v in pen.multiline_textbbox((0, 0), "\n".join(lines), **options))
    canvas = Image.new("RGBA", (max(1, right - left), max(1, bottom - top)), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).multiline_text(
        (-left, -top), "\n".join(lines), fill=(255, 255, 255, 255), stroke_fill=(0, 0, 0, 255), **options
    )
    picture = torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)
    picture[..., 3] *= opacity
    return picture


def _broken(line: str, font: Any, room: float) -> list[str]:
    """The line in pieces that fit: between words, anywhere in scripts without spaces, and inside a longer word."""
    pieces, current = [], ""
    for word in re.findall(rf"[{_NO_SPACES}]|[^\s{_NO_SPACES}]+|\s+", line):
        if current.strip() and font.getlength((current + word).rstrip()) > room:
            pieces.append(current.strip())
            current = ""
        current += word
        while len(current.strip()) > 1 and font.getlength(current.strip()) > room:
            current = current.strip()
            fits = next(n for n in range(len(current) - 1, 0, -1) if n == 1 or font.getlength(current[:n]) <= room)
            pieces.append(current[:fits])
            current = current[fits:]
    return [*pieces, current.strip()]


@dataclass(frozen=True)
class Watermark(Step):
    """A picture [h, w, 3 or 4] laid over every frame.

    Attributes:
        scale: its width as a share of the frame's.
        opacity: 0 invisible, 1 as the picture is.
    """

    picture: Tensor
    place: str = "bottom right"
    scale: float = 0.2
    opacity: float = 0.5

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        mark: Tensor | None = None
        for piece in pieces:
            mark = self._sized(piece.shape[2]) if mark is None else mark
            yield lay(piece, mark, self.place)

    def _sized(self, width: int) -> Tensor:
        picture = self.picture.float().cpu()
        if picture.shape[2] == 3:
            picture = torch.cat([picture, torch.ones_like(picture[..., :1])], dim=-1)
        target = max(1, round(self.scale * width))
        tall = max(1, round(picture.shape[0] * target / picture.shape[1]))
        # Colours are weighted by how visible they are: the colour of invisible places would show at the edges.
        weighted = torch.cat([picture[..., :3] * picture[..., 3:], picture[..., 3:]], dim=-1)
        small = interpolate(
            weighted.permute(2, 0, 1)[None], (tall, target), mode="bilinear", antialias=True, align_corners=False
        )[0].permute(1, 2, 0)
        alpha = small[..., 3:].clamp(0, 1)
        return torch.cat([small[..., :3] / alpha.clamp(min=1e-4), alpha * self.opacity], dim=-1).clamp(0, 1)
