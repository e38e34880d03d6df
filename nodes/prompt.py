"""From words to conditioning."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import host
from .remarks import with_remarks


class OpenT2VEncodePrompt:
    """Encodes a positive and a negative prompt at once."""

    CATEGORY = "OpenT2V"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = ("What the video shows.", "What it avoids.")
    DESCRIPTION = "Encode what the video shows and what it avoids, the way the model was trained to read it."
    SEARCH_ALIASES: ClassVar = ["clip text encode", "prompt", "negative prompt"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("CLIP", {"tooltip": "The text encoder that belongs to the video model."}),
                "positive": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "a red triangle moving to the right on a black background",
                        "tooltip": "What the video shows. The quickstart model knows coloured shapes that move.",
                    },
                ),
                "negative": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "What to avoid. Empty: the negative prompt the model's makers recommend, shown "
                        "on the node.",
                    },
                ),
            }
        }

    def encode(self, clip: Any, positive: str, negative: str) -> dict[str, Any]:
        remarks = []
        variant = host.variant(clip)
        if not positive.strip():
            remarks.append("The prompt is empty: the video will show anything.")
        if not negative.strip() and variant is not None and variant.defaults.negative:
            negative = variant.defaults.negative
            remarks.append(f"Negative prompt: {negative}")
        for name, text in (("prompt", positive), ("negative prompt", negative)):
            counted = host.tokens(clip, text)
            if counted is not None and counted[1] > counted[0]:
                remarks.append(
                    f"The {name} has {counted[1]} tokens; this model reads the first {counted[0]}. "
                    "The rest is left out."
                )
        return with_remarks((host.embed(clip, positive), host.embed(clip, negative)), remarks)
