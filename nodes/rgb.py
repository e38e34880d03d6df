"""IMAGEs as the nodes that read them take them: with frames, in three colours, from 0 to 1."""

from __future__ import annotations

from torch import Tensor


def rgb(images: Tensor, name: str) -> Tensor:
    """[frames, height, width, 3]; grey is repeated, alpha is left out.

    Args:
        name: of the input, for messages.
    Raises:
        ValueError: no frames, another number of channels, or whole numbers.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{name} is {list(images.shape)}; expected an IMAGE [frames, height, width, channels] with 1, 3 or 4 "
            "channels. Make one with ComfyUI's Load Image or Load Video Frames."
        )
    if not images.numel():
        raise ValueError(f"{name} is {list(images.shape)} and so has no frames. Connect at least one picture.")
    if not images.is_floating_point():
        raise ValueError(f"{name} is {images.dtype}; expected floating point numbers from 0 to 1. Divide them by 255.")
    return images[..., :3].expand(*images.shape[:3], 3)
