"""The pictures between which the shots of a story are filled in."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..media.cover import fit
from ..media.storyboard import LEAD
from .joining import listed
from .remarks import with_remarks
from .rgb import rgb


class OpenT2VKeyframes:
    """Gives each shot its first picture, and its last one where it leads into the next shot."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    HAS_INTERMEDIATE_OUTPUT = True
    INPUT_IS_LIST = True
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("start", "end")
    OUTPUT_IS_LIST = (True, True)
    OUTPUT_TOOLTIPS = (
        "Each shot's first picture: to images of Continue Video, or start_image of Image to Video.",
        "The next shot's picture where a shot leads into it, else nothing: to end of Continue Video, or end_image of "
        "Image to Video.",
    )
    DESCRIPTION = (
        "Keyframes first: sample each shot as a video of one frame, look at the pictures, then fill in between them. "
        "This node gives each shot the picture that it begins with and the one that it leads into."
    )
    SEARCH_ALIASES: ClassVar = [
        "keyframes first",
        "key frames",
        "first last frame",
        "in between",
        "hierarchical",
        "storyboard pictures",
        "关键帧",
        "首尾帧",
        "中间帧",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "A picture for each shot: its video of one frame, decoded."}),
                "transition": (
                    "INT",
                    {
                        "default": LEAD,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Storyboard's transition. 1: the shot before leads into this shot's picture, which "
                        "both share. Any other number: it ends as it likes.",
                    },
                ),
            },
            "optional": {
                "picture": (
                    "IMAGE",
                    {"tooltip": "Storyboard's picture: it takes the sampled one's place where a shot names one."},
                ),
            },
        }

    def choose(self, images: list[Tensor], transition: list[int], picture: Any = None) -> dict[str, Any]:
        """As ComfyUI calls a node that takes lists, each input is a list.

        Raises:
            ValueError: other numbers of pictures and of transitions or named pictures.
        """
        count = len(images)
        transitions, named = _for_each("transition", transition, count), _for_each("picture", listed(picture), count)
        starts = [
            rgb(sampled, "images")[:1]
            if chosen is None
            else fit(rgb(chosen, "picture")[:1], sampled.shape[2], sampled.shape[1])
            for sampled, chosen in zip(images, named, strict=True)
        ]
        leads = [fade == LEAD for fade in transitions[1:]]
        ends = [start if leads_on else None for start, leads_on in zip(starts[1:], leads, strict=True)]
        remarks = [f"{count} keyframes; {sum(leads)} of {max(count - 1, 0)} joints lead from one into the next."]
        places = [str(number) for number, chosen in enumerate(named, 1) if chosen is not None]
        if places:
            remarks.append(f"The pictures of shots {', '.join(places)} are those that the storyboard names.")
        return with_remarks((starts, [*ends, None]), remarks)


def _for_each(name: str, values: list[Any], count: int) -> list[Any]:
    """A value for each shot; a single one counts for all."""
    if len(values) not in (1, count):
        raise ValueError(
            f"{name} has {len(values)} entries for {count} pictures. Connect Storyboard's output, whose shots the "
            "pictures were sampled from."
        )
    return values if len(values) == count else values * count
