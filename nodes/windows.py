"""Windows over time: a setting for the sampler, or for a MODEL that any sampler runs."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..sampling.windows import BLENDINGS, SCHEDULES, Windows
from .inputs import WINDOWS

_MAX_FRAMES = 16384


class OpenT2VWindows:
    """Settings of windows over time."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    RETURN_TYPES = (WINDOWS, "MODEL")
    RETURN_NAMES = ("windows", "model")
    OUTPUT_TOOLTIPS = (
        "For Video Sampler.",
        "The model with these windows, for KSampler and every other sampler.",
    )
    DESCRIPTION = (
        "Make a video longer than the model was trained for: each step computes overlapping windows over time and "
        "blends them. Memory is that of one window."
    )
    SEARCH_ALIASES: ClassVar = [
        "context windows",
        "context options",
        "sliding window",
        "freenoise",
        "free noise",
        "long video",
        "longer video",
        "temporal tiling",
        "长视频",
        "上下文窗口",
        "滑动窗口",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        defaults = Windows()
        return {
            "required": {
                "length": (
                    "INT",
                    {
                        "default": defaults.length,
                        "min": 0,
                        "max": _MAX_FRAMES,
                        "tooltip": "Frames of one window. Longer: steadier, more memory. 0: the length that the model "
                        "was trained for.",
                    },
                ),
                "overlap": (
                    "INT",
                    {
                        "default": defaults.overlap,
                        "min": -1,
                        "max": _MAX_FRAMES,
                        "tooltip": "Frames that neighbouring windows share. More: windows agree better, slower. -1: a "
                        "third of the window. 0: none.",
                    },
                ),
                "schedule": (
                    list(SCHEDULES),
                    {
                        "default": defaults.schedule,
                        "tooltip": "static: the same windows in all steps. uniform: they move from step to step, which "
                        "hides joints. looped: they move, and the end leads into the start.",
                    },
                ),
                "blending": (
                    list(BLENDINGS),
                    {
                        "advanced": True,
                        "default": defaults.blending,
                        "tooltip": "How results are weighted inside a window. pyramid: most in its middle. "
                        "overlap-linear: a ramp over the overlap. flat: all alike. relative: by the distance to the "
                        "middle.",
                    },
                ),
                "freenoise": (
                    "BOOLEAN",
                    {
                        "default": defaults.freenoise,
                        "tooltip": "Later windows start from the first one's noise in another order, so that they show "
                        "the same things. Off: new noise, more change.",
                    },
                ),
                "keep_picture": (
                    "BOOLEAN",
                    {
                        "default": defaults.keep_picture,
                        "tooltip": "For image-to-video models: every window sees the start picture, not the first one "
                        "alone.",
                    },
                ),
                "lead_in": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": defaults.lead_in,
                        "tooltip": "Each window also sees the latent frame before it, which is left out of the result: "
                        "models expect their first latent frame to hold a single video frame.",
                    },
                ),
            },
            "optional": {
                "model": ("MODEL", {"tooltip": "Only for the output model: the one that another sampler is to run."}),
            },
        }

    def choose(self, model: Any = None, **settings: Any) -> tuple[Windows, Any]:
        windows = Windows(**settings)
        windows.check()
        if model is None:
            return windows, host.missing(
                "Video Windows gives a MODEL only where one is connected to it. Connect the model to Video Windows, or "
                "its windows to Video Sampler."
            )
        return windows, host.apply_windows(model, windows)
