"""Two clips joined in memory, picture and sound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from ..host import host
from ..media.audio import joined
from ..media.finishing import anchored, join
from ..media.settings import exact_fps
from .inputs import number, share
from .rgb import rgb
from .sound import at_one_rate


class OpenT2VJoinClips:
    """Joins two clips."""

    CATEGORY = "OpenT2V/finishing"
    FUNCTION = "join"
    RETURN_TYPES = ("IMAGE", "AUDIO")
    RETURN_NAMES = ("images", "audio")
    OUTPUT_TOOLTIPS = ("Both clips as one.", "Both sounds as one, in step with the pictures.")
    DESCRIPTION = "Put one clip behind another, with a cross-fade of picture and sound and matched colours."
    SEARCH_ALIASES: ClassVar = [
        "concatenate",
        "cross fade",
        "crossfade",
        "transition",
        "append",
        "merge videos",
        "concatenate videos",
        "join videos",
        "合并视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "first": ("IMAGE", {"tooltip": "The clip that comes first."}),
                "second": ("IMAGE", {"tooltip": "The clip that follows, of the same size."}),
                "overlap": (
                    "INT",
                    {
                        "default": 8,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Frames over which one fades into the other; the result is that much shorter. "
                        "0: a cut.",
                    },
                ),
                "match_colours": share(0.0, "How far the second clip gets the colours of the first one's last frame."),
            },
            "optional": {
                "first_audio": ("AUDIO", {"tooltip": "The first clip's sound, which begins with it."}),
                "second_audio": ("AUDIO", {"tooltip": "The second clip's sound, which begins with it."}),
                "fps": number(16.0, 0.1, 1000.0, 0.01, "Frames per second, by which the sounds are cut and faded."),
                "anchor": (
                    "IMAGE",
                    {
                        "tooltip": "Frames of the first shot: the second clip as a whole gets their colours, so that "
                        "none drift over many clips."
                    },
                ),
            },
        }

    def join(
        self,
        first: Any,
        second: Any,
        overlap: int,
        match_colours: float,
        first_audio: Any = None,
        second_audio: Any = None,
        fps: float = 16.0,
        anchor: Any = None,
    ) -> tuple[Any, Any]:
        first, second = rgb(first, "first"), rgb(second, "second")
        if anchor is not None:
            second = anchored(second, rgb(anchor, "anchor").to(second), 1.0)
        images = join(first, second, overlap, match_colours)
        rate = exact_fps(fps)
        sounds = at_one_rate(first_audio, second_audio)
        sound = joined(*sounds, (len(first) / rate, len(second) / rate), Fraction(overlap) / rate)
        if sound is None:
            sound = host.missing("Join Clips gives a sound only where one is connected to first_audio or second_audio.")
        return images, sound
