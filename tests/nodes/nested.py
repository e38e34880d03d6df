"""LATENTs of several streams without a ComfyUI."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Nested:
    """The surface of ComfyUI's `comfy.nested_tensor.NestedTensor`, of which it is no subclass of Tensor either."""

    is_nested = True

    def __init__(self, tensors: Any):
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors

    @property
    def shape(self) -> torch.Size:
        return self.tensors[0].shape

    @property
    def ndim(self) -> int:
        return max(one.ndim for one in self.tensors)


def nested(frames: int = 3, clips: int = 1, channels: int = 16) -> dict[str, Any]:
    """A LATENT with picture and sound."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(clips, channels, frames, 4, 4, generator=generator)
    return {"samples": Nested((picture, torch.randn(clips, 8, 10, 16, generator=generator)))}
