"""From latent to pictures to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from .. import host
from ..media import OutputError, VideoWriter, check_prefix, save_location
from ..media.formats import BIT_DEPTHS, FORMATS, available
from ..media.pyav import MissingPyAV, check_pyav
from ..media.settings import AUDIO_LENGTHS, SIZE_RULES, check_settings
from .inputs import audio_vae_input, check_latent
from .preview import preview
from .remarks import with_remarks
from .streams import Sound, picture

CHUNK = 16  # frames converted at a time


class OpenT2VDecode:
    """Decodes a video latent to pictures, and its sound."""

    CATEGORY = "OpenT2V"
    FUNCTION = "decode"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("IMAGE", "AUDIO")
    RETURN_NAMES = ("images", "audio")
    OUTPUT_TOOLTIPS = ("The frames.", "The sound, where the latent holds one and audio_vae is connected.")
    DESCRIPTION = "Decode a latent to frames, and its sound; in tiles of space and time where memory is short."
    SEARCH_ALIASES: ClassVar = [
        "vae decode",
        "video decode",
        "vae decode video",
        "latent to video",
        "latent to images",
        "解码视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "latent": ("LATENT", {"tooltip": "The sampler's result."}),
            },
            "optional": {"audio_vae": audio_vae_input()},
        }

    def decode(self, vae: Any, latent: dict[str, Any], audio_vae: Any = None) -> dict[str, Any]:
        check_latent(vae, latent)
        sound = Sound(latent, audio_vae)
        return with_remarks((host.decode(vae, picture(latent)), sound.decode()), sound.remarks)


class OpenT2VSaveVideo:
    """Saves frames as a video, an animated picture or numbered pictures that carry their workflow."""

    CATEGORY = "OpenT2V"
    FUNCTION = "save"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "VIDEO")
    RETURN_NAMES = ("file", "video")
    OUTPUT_TOOLTIPS = (
        "Path of the saved file; of the folder for a png sequence.",
        "The saved video; it is read when it is asked for. Nothing for gif, webp and png sequence.",
    )
    DESCRIPTION = (
        "Save frames as MP4, WebM, MKV, MOV, GIF, WebP or PNG files, with the workflow inside. "
        "Existing files are never overwritten."
    )
    SEARCH_ALIASES: ClassVar = [
        "save video",
        "mp4",
        "webm",
        "h265",
        "hevc",
        "av1",
        "vp9",
        "prores",
        "ffv1",
        "gif",
        "webp",
        "png sequence",
        "video combine",
        "export",
        "export video",
        "write video",
        "导出视频",
        "保存视频",
    ]

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
                        "tooltip": "Name below the output folder; a number is added. May hold a folder, "
                        "%date:yyyy-MM-dd%, %width%, %height% and, on the page, a value such as "
                        "%Video Sampler.seed%.",
                    },
                ),
                "quality": (
                    "INT",
                    {"default": 80, "min": 0, "max": 100, "tooltip": "Higher: finer picture, larger file."},
                ),
            },
            "optional": {
                "audio": ("AUDIO", {"tooltip": "Sound, cut to the length of the picture."}),
                "format": (
                    list(available()),
                    {
                        "default": "mp4 h264",
                        "tooltip": "mp4 h264 plays everywhere; h265 and av1 are smaller; ffv1 and png lose nothing; "
                        "prores is for editing.",
                    },
                ),
                "bit_depth": (
                    [str(depth) for depth in BIT_DEPTHS],
                    {
                        "advanced": True,
                        "default": "8",
                        "tooltip": "Bits per colour at least. 10: smoother gradients, but browsers do not play h264.",
                    },
                ),
                "crf": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": -1.0,
                        "min": -1.0,
                        "max": 100.0,
                        "step": 0.5,
                        "tooltip": "The encoder's own rate factor; lower: finer, larger. -1: from quality.",
                    },
                ),
                "preset": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "The encoder's own preset, such as slow, or 6 for av1; slower: smaller file. "
                        "Empty: the usual one.",
                    },
                ),
                "size_rule": (
                    list(SIZE_RULES),
                    {
                        "advanced": True,
                        "default": "pad",
                        "tooltip": "Where the format needs even sides. pad: repeat the last column or row. "
                        "crop: leave it out.",
                    },
                ),
                "audio_length": (
                    list(AUDIO_LENGTHS),
                    {
                        "advanced": True,
                        "default": "cut",
                        "tooltip": "Sound shorter than the picture. cut: it ends earlier. pad: silence follows.",
                    },
                ),
                "provenance": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": True,
                        "tooltip": "Mark the file as made by a model, as IPTC defines it.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        filename_prefix: str | None = None,
        format: str | None = "mp4 h264",
        fps: float | None = 16.0,
        quality: int | None = 80,
        crf: float | None = -1.0,
        preset: str | None = "",
        bit_depth: str | None = "8",
    ) -> bool:
        """Refuse bad names, folders and settings before the first step, not after the last."""
        # None: comes from another node and is not known yet
        try:
            check_pyav()
        except MissingPyAV as error:
            raise host.InputRefused("", str(error)) from error
        try:
            if filename_prefix is not None:
                check_prefix(host.output_folder(), filename_prefix)
        except (ValueError, OutputError) as error:
            raise host.InputRefused("filename_prefix", str(error)) from error
        try:
            if format is not None:
                check_settings(
                    format,
                    16.0 if fps is None else fps,
                    80 if quality is None else quality,
                    rate_factor(crf),
                    preset,
                    bits(bit_depth),
                )
        except ValueError as error:  # its first word is the setting
            raise host.InputRefused(str(error).split(maxsplit=1)[0], str(error)) from error
        except RuntimeError as error:
            raise host.InputRefused("format", str(error)) from error
        return True

    def save(
        self,
        images: Any,
        fps: float,
        filename_prefix: str,
        quality: int,
        audio: dict[str, Any] | None = None,
        format: str = "mp4 h264",
        bit_depth: str = "8",
        crf: float = -1.0,
        preset: str = "",
        size_rule: str = "pad",
        audio_length: str = "cut",
        provenance: bool = True,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        frames, height, width = images.shape[:3]
        output = host.output_folder()
        folder, stem = save_location(output, filename_prefix, width, height)
        bar = host.progress(frames, unique_id)
        metadata = host.file_metadata(prompt, extra_pnginfo, unique_id)
        writer = VideoWriter(
            folder,
            stem,
            fps=fps,
            width=width,
            height=height,
            format=format,
            quality=quality,
            crf=rate_factor(crf),
            preset=preset,
            bit_depth=bits(bit_depth),
            audio=audio,
            audio_length=audio_length,
            metadata=metadata,
            size_rule=size_rule,
            provenance=provenance,
        )
        with writer:
            for start in range(0, frames, CHUNK):
                writer.write(images[start : start + CHUNK])
                bar(min(start + CHUNK, frames))
        ui, remarks = preview(writer.path, output, FORMATS[format], bool(metadata))
        return with_remarks((str(writer.path), saved_video(writer.path, format)), [*writer.remarks, *remarks], **ui)


def saved_video(path: Path, format: str) -> Any:
    """A VIDEO of a saved file; of a format that is none, what says so where it is asked for."""
    if FORMATS[format].container:
        return host.video(path)
    return host.missing(
        f"A file saved as {format} is no VIDEO. Choose a format such as mp4 h264, or connect what made the frames."
    )


def rate_factor(crf: float | None) -> float | None:
    return None if crf is None or crf < 0 else crf


def bits(text: str | None) -> int:
    return 8 if text is None else int(text) if text.isdecimal() else 0
