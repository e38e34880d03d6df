"""How well a long video holds together, in numbers."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..base.remarks import as_table
from ..media.continuity import Joint, described, drift, joints, loop_loss, over_time, step_psnr
from .charts import CHART_TOOLTIP, continuity_panels, picture_of
from .inputs import number
from .remarks import with_remarks
from .rgb import rgb


class OpenT2VMeasureVideo:
    """Measures joints, drift and loop of a long video."""

    CATEGORY = "OpenT2V"
    FUNCTION = "measure"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE")
    RETURN_NAMES = ("report", "chart")
    OUTPUT_TOOLTIPS = ("A line for each joint, one of drift and one of the loop.", CHART_TOOLTIP)
    DESCRIPTION = (
        "Measure a long video: what happens at its joints against the frames around them, drift of colour, contrast "
        "and sharpness a second, and whether its end leads into its start."
    )
    SEARCH_ALIASES: ClassVar = ["seam", "drift", "measure joints", "video quality", "loop check", "接缝", "漂移"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames of the whole video."}),
                "joints": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "First frame behind each joint, with commas between, counted from 0: 17, 29. Join "
                        "Video Files shows them. Empty: drift and loop alone.",
                    },
                ),
                "fps": number(16.0, 0.1, 1000.0, 0.01, "Frames per second."),
            },
            "optional": {"audio": ("AUDIO", {"tooltip": "The sound, for clicks at the joints."})},
        }

    def measure(self, images: Tensor, joints: str, fps: float, audio: dict[str, Any] | None = None) -> dict[str, Any]:
        images = rgb(images, "images")
        measured, lines = _measured(images, _numbers(joints), fps, audio)
        shown = [_table(measured, lines[: len(measured)])] if measured else []
        steps = [step_psnr(images, n) for n in range(1, len(images))]
        chart = picture_of("Joints and drift", continuity_panels(steps, over_time(images), measured, fps))
        return with_remarks(("\n".join(lines), chart), [*shown, *lines[len(measured) :]])


def _measured(
    images: Tensor, starts: list[int], fps: float, audio: dict[str, Any] | None
) -> tuple[list[Joint], list[str]]:
    """The joints, and a line for each of them, for drift and for the loop."""
    sound = None if audio is None else (audio["waveform"][0], int(audio["sample_rate"]))
    measured = joints(images, starts, fps, sound)
    return measured, described(measured, drift(images, fps), loop_loss(images))


def _table(measured: list[Joint], lines: list[str]) -> str:
    """The joints as a table; where nothing is drawn, their lines."""
    head = ["joint at frame", "across, dB", "inside, dB", "SSIM", "inside", "flow jump, px", "inside, px", "wave"]
    rows = [
        [
            str(joint.frame), f"{joint.psnr:.1f}", f"{joint.psnr_inside:.1f}", f"{joint.ssim:.3f}",
            f"{joint.ssim_inside:.3f}", f"{joint.flow_jump:.2f}", f"{joint.flow_inside:.2f}",
            "-" if joint.wave_jump is None else f"{joint.wave_jump:.2f}",
        ]
        for joint in measured
    ]  # fmt: skip
    return as_table([head, *rows], text="\n".join(lines))


def _numbers(text: str) -> list[int]:
    """
    Raises:
        ValueError: something else than whole numbers with commas between.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((part for part in parts if not part.isdecimal()), None)
    if wrong is not None:
        raise ValueError(f"joints holds {wrong!r}; expected whole numbers with commas between, such as 17, 29.")
    return sorted({int(part) for part in parts})
