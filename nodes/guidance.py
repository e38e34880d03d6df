"""Guidance beyond cfg: a setting for the sampler."""

from __future__ import annotations

from typing import Any, ClassVar

from ..sampling import GUIDANCE_SCHEDULES, Guidance

GUIDANCE = "OPENT2V_GUIDANCE"


class OpenT2VGuidance:
    """Settings of spatio-temporal guidance."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    RETURN_TYPES = (GUIDANCE,)
    RETURN_NAMES = ("guidance",)
    OUTPUT_TOOLTIPS = ("For Video Sampler.",)
    DESCRIPTION = (
        "The guidance that LTX-Video's makers use besides cfg: away from what the model makes with the attention of "
        "some blocks left out. Steadier shapes and motion; one more call of the model in each step."
    )
    SEARCH_ALIASES: ClassVar = [
        "stg",
        "spatio temporal guidance",
        "skip layer guidance",
        "cfg star",
        "ltx guider",
        "引导",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def number(default: float, high: float, tooltip: str, **more: Any) -> tuple[str, dict[str, Any]]:
            return ("FLOAT", {"default": default, "min": 0.0, "max": high, "step": 0.05, "tooltip": tooltip, **more})

        own = Guidance()
        return {
            "required": {
                "schedule": (
                    list(GUIDANCE_SCHEDULES),
                    {
                        "default": own.schedule,
                        "tooltip": "constant: as set here, in all steps. published: the makers' values by noise level, "
                        "cfg too, for LTX-Video 13B dev; the rest of this node is not used then.",
                    },
                ),
                "scale": number(own.scale, 100.0, "Higher: steadier; too high: stiff, burnt. 1: the makers'. 0: off."),
                "rescale": number(
                    own.rescale,
                    1.0,
                    "Takes back the contrast that guidance adds. 0: off; 0.7: the makers' for the 2B.",
                    advanced=True,
                ),
                "cfg_star": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": own.cfg_star,
                        "tooltip": "Scales the negative prompt's part to fit the positive's (CFG-Zero*'s optimised "
                        "scale). The makers use it for the 13B.",
                    },
                ),
            },
            "optional": {
                "blocks": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": own.blocks,
                        "tooltip": "Blocks whose attention is left out, with commas between. Empty: the model's own "
                        "(19 of the 2B, 27 of the 13B).",
                    },
                ),
            },
        }

    def choose(self, **settings: Any) -> tuple[Guidance]:
        return (Guidance(**settings),)


def told(guidance: Guidance, remark: str) -> str:
    """The sampler's remark with this guidance in it."""
    if guidance.schedule == "published":
        return f"{remark.partition(', ')[0]}, the makers' published guidance"
    star = ", cfg star" if guidance.cfg_star else ""
    return f"{remark}{star}, spatio-temporal guidance {guidance.scale:g}, rescaled {guidance.rescale:g}"
