"""A file with one picture in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .timeline import VideoError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_picture(path: Path) -> Tensor:
    """[1, H, W, 3] in 0..1, upright as its camera was held, without its alpha.

    Raises:
        VideoError: it is no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):  # 16 bits of grey
                grey = np.asarray(picture, np.float32) / 65535
                return torch.from_numpy(grey.clip(0, 1)[None, ..., None].repeat(3, -1))
            return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32)[None] / 255)
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(f"{path.name} is no picture that can be read. Choose another file.") from error
