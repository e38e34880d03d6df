"""What a prompt shows besides its words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shown:
    """
    Attributes:
        kind: "image", "video" or "audio".
        frames: [n, H, W, 3] in 0..1 as the text encoder sees them: one of a picture, two for each second of a clip.
            None: of a sound.
    """

    kind: str
    frames: Tensor | None = None
