"""A clip's frames and sound, as its bucket wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..media import VideoError, read_video
from ..media.cover import fit
from ..media.measure import Measured, measure_video
from ..media.reader_sound import read_whole_sound
from .buckets import Bucket
from .clips import Clip
from .errors import TrainingError

# The first words of the reader's remarks on clips of which something is lost.
_DAMAGE = ("The file is damaged", "The sound is damaged", "The file's sound is in a format")


def measure(clip: Clip, fps: float) -> Measured:
    """The clip's size and its length at this rate.

    Raises:
        TrainingError: it cannot be read, or is damaged.
    """
    if clip.is_picture:
        picture = _picture(clip.path)
        return Measured(picture.shape[2], picture.shape[1], 1, False)
    try:
        measured = measure_video(clip.path, fps)
    except VideoError as error:
        raise TrainingError(str(error)) from error
    _refuse_damage(measured.remarks)
    return measured


def read(clip: Clip, bucket: Bucket, fps: float) -> tuple[Tensor, dict[str, Any] | None]:
    """(IMAGE [F, H, W, 3] in 0..1, the AUDIO of the same stretch or None) in the bucket's size.

    Raises:
        TrainingError: something of the clip is lost.
    """
    if clip.is_picture:
        return fit(_picture(clip.path), bucket.width, bucket.height), None
    try:
        video = read_video(clip.path, count=bucket.frames, fps=fps, width=bucket.width, height=bucket.height)
        audio, remarks = (video.audio, []) if clip.sound is None else read_whole_sound(clip.sound)
    except VideoError as error:
        raise TrainingError(str(error)) from error
    _refuse_damage([*video.remarks, *remarks])
    if len(video.frames) != bucket.frames:
        raise TrainingError(f"{len(video.frames)} frames of it could be read; {bucket.frames} were expected.")
    return video.frames, audio if bucket.has_sound else None


def _refuse_damage(remarks: list[str] | tuple[str, ...]) -> None:
    damage = next((remark for remark in remarks if remark.startswith(_DAMAGE)), None)
    if damage is not None:
        raise TrainingError(f"{damage} Repair the clip, or take it out.")


def _picture(path: Path) -> Tensor:
    """[1, H, W, 3] in 0..1, upright; transparent parts are black."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise TrainingError("It is an animation under a picture's name. Save it as a video.")
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path.name} is no picture that can be read ({error}). Save it again.") from error
    pixels = np.asarray(upright, dtype=np.float32) / 255
    return torch.from_numpy(pixels[..., :3] * pixels[..., 3:])[None]
