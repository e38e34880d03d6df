"""Shared by nodes that save a video: their inputs, the checks before a run, and the preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..host import InputRefused, host
from ..media import OutputError, SaveSettings, check_prefix
from ..media.formats import BIT_DEPTHS, available
from ..media.pyav import MissingPyAV, check_pyav
from ..media.settings import AUDIO_LENGTHS, SIZE_RULES

HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"}


def save_settings(
    format: str = "mp4 h264",
    bit_depth: str | None = "8",
    crf: float | None = -1.0,
    **settings: Any,
) -> SaveSettings:
    """The settings that these inputs name.

    Args:
        settings: further fields of `SaveSettings`. None, of an input that comes from another node and is not known yet,
            stands for the usual value.
    """
    depth = 8 if bit_depth is None else int(bit_depth) if bit_depth.isdecimal() else 0
    rate_factor = None if crf is None or crf < 0 else crf
    known = {name: value for name, value in settings.items() if value is not None}
    return SaveSettings(format=format, bit_depth=depth, crf=rate_factor, **known)


class SavingNode:
    """A node that saves a video."""

    CATEGORY = "OpenT2V"
    FUNCTION = "save"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True

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
        # None: the value comes from another node and is not known yet.
        try:
            check_pyav()
        except MissingPyAV as error:
            raise InputRefused("", str(error)) from error
        try:
            if filename_prefix is not None:
                check_prefix(host.output_folder(), filename_prefix)
        except (ValueError, OutputError) as error:
            raise InputRefused("filename_prefix", str(error)) from error
        try:
            if format is not None:
                settings = save_settings(format, quality=quality, crf=crf, preset=preset, bit_depth=bit_depth)
                settings.check(16.0 if fps is None else fps)
        except ValueError as error:  # the first word of the message names the setting
            raise InputRefused(str(error).split(maxsplit=1)[0], str(error)) from error
        except RuntimeError as error:
            raise InputRefused("format", str(error)) from error
        return True


def required_inputs() -> dict[str, Any]:
    """Inputs of every saved video; the frames or the latent come before them."""
    return {
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
    }


def optional_inputs() -> dict[str, Any]:
    return {
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
                "tooltip": "Where the format needs even sides. pad: repeat the last column or row. crop: leave it out.",
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
    }


def saved_video(path: Path, settings: SaveSettings) -> Any:
    """A VIDEO of a saved file; for formats without one, a placeholder whose message is shown where a node needs it."""
    if settings.kind.container:
        return host.video(path)
    return host.missing(
        f"A file saved as {settings.format} is no VIDEO. Choose a format such as mp4 h264, or connect what made the "
        "frames."
    )
