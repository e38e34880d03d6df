"""Starting from a video."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..base import FamilyError, Geometry
from ..host import host
from ..media.cover import fit
from .pairing import latent_record
from .picture import fitted, size_input
from .remarks import with_remarks
from .rgb import rgb


class OpenT2VEncodeVideo:
    """Encodes frames to a latent to start from."""

    CATEGORY = "OpenT2V"
    FUNCTION = "encode"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("LATENT", "INT", "INT", "INT")
    RETURN_NAMES = ("latent", "width", "height", "frames")
    OUTPUT_TOOLTIPS = (
        "The video as a latent; the sampler's denoise below 1 keeps a part of it.",
        "Width in pixels, as used.",
        "Height in pixels, as used.",
        "Number of frames, as used.",
    )
    DESCRIPTION = "Encode frames for video to video, cut to a size and length the model can make."
    SEARCH_ALIASES: ClassVar = [
        "vae encode",
        "video to video",
        "v2v",
        "video encode",
        "vid2vid",
        "encode video",
        "video to latent",
        "视频转视频",
        "视频生视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "images": ("IMAGE", {"tooltip": "The frames."}),
                "width": size_input("Width in pixels; the frames are scaled and cut to it. 0: that of the frames."),
                "height": size_input("Height in pixels; the frames are scaled and cut to it. 0: that of the frames."),
                "frames": size_input("How many frames to use, from the first on. 0: all."),
            },
        }

    def encode(self, vae: Any, images: Tensor, width: int, height: int, frames: int) -> dict[str, Any]:
        variant = host.variant(vae)
        if variant is None:
            raise FamilyError(
                "This VAE was not loaded by an OpenT2V node, so the sizes it can encode are not known here. Load it "
                "with Load Video Model or Load Video VAE, or use ComfyUI's own VAE Encode for it."
            )
        images = rgb(images, "images")
        count = min(frames, len(images)) if frames else len(images)
        width, height, frames = _legal(variant.geometry, width or images.shape[2], height or images.shape[1], count)
        remarks = [f"{width} x {height}, {frames} frames"]
        remarks += fitted("The video", images, width, height)
        if frames < len(images):
            rule = f"; the model makes {variant.geometry.frame_rule}" if frames < count else ""
            remarks.append(f"The first {frames} of {len(images)} frames are used{rule}.")
        samples = host.encode(vae, fit(images[:frames], width, height))
        latent = {"samples": samples, "opent2v": latent_record(variant)}
        return with_remarks((latent, width, height, frames), remarks)


def _legal(geometry: Geometry, width: int, height: int, count: int) -> tuple[int, int, int]:
    """The nearest legal size, and the longest legal length that does not exceed this many frames."""
    if geometry.only is not None:
        if count < geometry.only[2]:
            raise FamilyError(
                f"The video has {count} frames; this model makes only {geometry.only[2]}. Give it at least as many."
            )
        return geometry.only
    lengths = (geometry.legal(width, height, n) for n in range(count, 0, -1))
    return next(legal for legal in lengths if legal[2] <= count)
