"""The job of a writer for one kind of file, and the protocol that it implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .audio import AudioTrack
from .pyav import av
from .scaling import Scaler
from .settings import SaveSettings


@dataclass
class Job:
    """One video to be written.

    Attributes:
        path: the temporary file (or folder, for numbered pictures) it grows in; exists.
        stem: what the numbered pictures are called.
        settings: checked; pictures come as uint8 where they store 8 bits per colour, else as uint16.
        width, height: of the pictures as they are stored.
        has_alpha: pictures are [H, W, 4], else [H, W, 3].
        metadata: texts.
    """

    path: Path
    stem: str
    settings: SaveSettings
    fps: Fraction
    width: int
    height: int
    has_alpha: bool
    track: AudioTrack | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def pixels(self) -> str:
        """FFmpeg's pixel format in the file."""
        kind = self.settings.kind
        return (kind.alpha if self.has_alpha else kind.pixels)[self.settings.bits]


class Sink(Protocol):
    """A file that grows. Every method may raise OSError."""

    def write(self, picture: np.ndarray) -> None:
        """Append a picture, and the sound up to its end where there is one."""
        ...

    def finish(self) -> None:
        """Write what is still held back, the texts and the mark; the file is complete then."""
        ...

    def close(self) -> None:
        """Let go of everything, after `finish` or instead of it."""
        ...


class FrameMaker:
    """Pictures to frames of one pixel format; YUV is BT.709 in limited range, its chroma at the left.

    One for a whole file: FFmpeg's scaler takes as long to set up as to convert a frame.
    """

    def __init__(self, pixels: str):
        self._scaler, self._reformatter = Scaler(), av.video.reformatter.VideoReformatter()
        self._pixels = pixels

    def frame(self, picture: np.ndarray) -> Any:
        """[H, W, 3 or 4] uint8 or uint16 -> av.VideoFrame."""
        wide = picture.dtype == np.uint16
        source = ("rgba64le" if wide else "rgba") if picture.shape[2] == 4 else ("rgb48le" if wide else "rgb24")
        frame = av.VideoFrame.from_ndarray(picture, format=source)
        if self._pixels == source:
            return frame
        if is_yuv(self._pixels):
            return self._scaler.to_yuv(frame, self._pixels)
        return self._reformatter.reformat(frame, format=self._pixels)


def is_yuv(pixels: str) -> bool:
    return "yuv" in pixels or pixels in ("nv12", "p010le")
