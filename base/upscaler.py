"""A network that makes the latent of a video larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .types import Shapes


@dataclass(frozen=True)
class UpscalerLayout:
    """A latent upscaler, recognised by the tensor names and shapes of its file.

    Attributes:
        title: in the user's words: "LTX latent upscaler, 2x in space".
        class_name: of the library's module.
        config: of the module.
        channels: of the latents.
        spatial, temporal: how many times as large, and as many frames less one, a latent becomes.
    """

    title: str
    class_name: str
    config: Mapping[str, Any]
    channels: int
    spatial: float = 1.0
    temporal: int = 1


# (shapes of a file's tensors, the "config" in its metadata) -> the layout, None where it holds no upscaler.
RecogniseUpscaler = Callable[[Shapes, Mapping[str, Any]], UpscalerLayout | None]
