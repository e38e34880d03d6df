"""From latent to pictures to a file."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import host
from ..media import OutputError, VideoWriter, check_prefix, save_location
from .remarks import with_remarks

CHUNK = 16  # frames converted at a time


class OpenT2VDecode:
    """Decodes a video latent to pictures."""

    CATEGORY = "OpenT2V"
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("The frames.",)
    DESCRIPTION = "Decode a latent to frames; in tiles of space and time where memory is short."
    SEARCH_ALIASES: ClassVar = ["vae decode", "video decode"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "latent": ("LATENT", {"tooltip": "The sampler's result."}),
            }
        }

    def decode(self, vae: Any, latent: dict[str, Any]) -> tuple[Any]:
        samples, channels = latent["samples"], host.latent_channels(vae)
        if samples.shape[1] != channels:
            variant = host.variant(vae)
            name = f" ({variant.title})" if variant else ""
            raise ValueError(
                f"The latent has {samples.shape[1]} channels; this VAE{name} decodes {channels}. "
                "Use the VAE that belongs to the model that made the latent."
            )
        return (host.decode(vae, samples),)


class OpenT2VSaveVideo:
    """Saves frames as an MP4 that plays everywhere and carries its workflow."""

    CATEGORY = "OpenT2V"
    FUNCTION = "save"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("file",)
    OUTPUT_TOOLTIPS = ("Path of the saved file.",)
    DESCRIPTION = "Save frames as H.264 MP4, with the workflow inside. Existing files are never overwritten."
    SEARCH_ALIASES: ClassVar = ["save video", "mp4", "video combine", "export"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames."}),
                "fps": (
                    "FLOAT",
                    {
                        "default": 16.0,
                        "min": 0.1,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Frames per second. Connect Empty Video Latent's fps for the model's own.",
                    },
                ),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "OpenT2V",
                        "tooltip": "Name below the output folder; a number is added. May hold a folder and "
                        "%year%, %month%, %day%, %width%, %height%.",
                    },
                ),
                "quality": (
                    "INT",
                    {"default": 80, "min": 0, "max": 100, "tooltip": "Higher: finer picture, larger file."},
                ),
            },
            "optional": {"audio": ("AUDIO", {"tooltip": "Sound, cut to the length of the picture."})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str | None = None) -> bool | str:
        """Refuse a bad name or folder before the first step, not after the last."""
        if filename_prefix is not None:  # None: comes from another node and is not known yet
            try:
                check_prefix(host.output_folder(), filename_prefix)
            except (ValueError, OutputError) as error:
                return str(error)
        return True

    def save(
        self,
        images: Any,
        fps: float,
        filename_prefix: str,
        quality: int,
        audio: dict[str, Any] | None = None,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        frames, height, width = images.shape[:3]
        output = host.output_folder()
        folder, stem = save_location(output, filename_prefix, width, height)
        bar = host.progress(frames, unique_id)
        writer = VideoWriter(
            folder,
            stem,
            fps=fps,
            width=width,
            height=height,
            quality=quality,
            audio=audio,
            metadata=host.file_metadata(prompt, extra_pnginfo),
        )
        with writer:
            for start in range(0, frames, CHUNK):
                writer.write(images[start : start + CHUNK])
                bar(min(start + CHUNK, frames))
        path = writer.path
        subfolder = path.parent.relative_to(output).as_posix()
        shown = {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}
        return with_remarks((str(path),), [], images=[shown], animated=(True,))
