"""From a video file to pictures and sound."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..media import list_inputs, read_video
from ..media.pyav import MissingPyAV, check_pyav
from ..media.reader import FITS, SUFFIXES
from ..media.sequence import check_sequence, is_sequence, list_sequences, state_of
from .remarks import with_remarks


class OpenT2VLoadVideo:
    """Reads frames and sound of a video in the input folder."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT", "INT", "INT", "INT")
    RETURN_NAMES = ("images", "audio", "fps", "frames", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The frames.",
        "The sound of the same stretch; nothing where the file is silent.",
        "Frames per second of the frames.",
        "Number of frames.",
        "Width in pixels.",
        "Height in pixels.",
    )
    DESCRIPTION = "Load a stretch of a video as frames and sound: exact frames, upright, at a constant rate."
    SEARCH_ALIASES: ClassVar = [
        "load video",
        "video to images",
        "import video",
        "get video components",
        "video frames",
        "video to frames",
        "加载视频",
        "导入视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": (
                    [
                        *list_inputs(host.file_folders()["input"], SUFFIXES),
                        *list_sequences(host.file_folders()["input"]),
                    ],
                    {
                        "video_upload": True,
                        "tooltip": "A video in the input folder, a folder of numbered pictures in it, or a video that "
                        "ComfyUI has saved; upload one with the button.",
                    },
                ),
                "start": (
                    "INT",
                    {"default": 0, "min": 0, "max": 10_000_000, "tooltip": "Frames to leave out in front."},
                ),
                "count": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1_000_000,
                        "tooltip": "Frames to load at most; memory grows with them. 0: all.",
                    },
                ),
                "every": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 1,
                        "min": 1,
                        "max": 1000,
                        "tooltip": "2 takes every second frame, and so on; fps falls with it, so the speed stays.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Frames per second to read at; frames are repeated or left out. 0: the file's own.",
                    },
                ),
                "width": (
                    "INT",
                    {"default": 0, "min": 0, "max": 16384, "tooltip": "Width in pixels. 0: the file's own."},
                ),
                "height": (
                    "INT",
                    {"default": 0, "min": 0, "max": 16384, "tooltip": "Height in pixels. 0: the file's own."},
                ),
                "fit": (
                    list(FITS),
                    {
                        "advanced": True,
                        "default": "crop",
                        "tooltip": "Where width and height are given. crop: fill them, cut what juts out. "
                        "fit: the whole picture inside them.",
                    },
                ),
            },
            "optional": {
                "deinterlace": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": True,
                        "tooltip": "Make whole pictures of interlaced ones, as television and old cameras record them.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None) -> bool | str:
        """Refuse a file outside the folders of the page's list, or none."""
        try:
            check_pyav()
            if file is not None:  # None: the value comes from another node and is not known yet
                check_sequence(host.file_folders(), file)
        except (MissingPyAV, ValueError) as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, **inputs: Any) -> str:
        if file is None:
            return ""
        path = check_sequence(host.file_folders(), file)
        if is_sequence(path):
            return state_of(path)
        state = path.stat()
        return f"{state.st_mtime_ns} {state.st_size}"

    def load(
        self,
        file: str,
        start: int,
        count: int,
        every: int,
        fps: float,
        width: int,
        height: int,
        fit: str,
        deinterlace: bool = True,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        path = check_sequence(host.file_folders(), file)
        bar: Any = None

        def report(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or host.progress(total, unique_id, "Reading video")
            bar(done)

        video = read_video(
            path,
            start=start,
            count=count,
            every=every,
            fps=fps,
            width=width,
            height=height,
            fit=fit,
            deinterlace=deinterlace,
            report=report,
        )
        frames, rows, columns = video.frames.shape[:3]
        result = (video.frames, video.audio, float(video.fps), frames, columns, rows)
        return with_remarks(result, video.remarks)
