"""Guidance beyond one cfg for all steps: a setting for the sampler."""

from __future__ import annotations

from typing import Any, ClassVar

from ..sampling import STG_SCHEDULES, Guidance, cfg_schedules

GUIDANCE = "OPENT2V_GUIDANCE"


class OpenT2VGuidance:
    """Settings of guidance. As they come, they change nothing."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    RETURN_TYPES = (GUIDANCE,)
    RETURN_NAMES = ("guidance",)
    OUTPUT_TOOLTIPS = ("For Video Sampler.",)
    DESCRIPTION = (
        "How a run is guided beyond one cfg for all steps: cfg by step, against burnt colours, by pictures, "
        "spatio-temporal (LTX-Video). As it comes, it changes nothing."
    )
    SEARCH_ALIASES: ClassVar = [
        "stg",
        "spatio temporal guidance",
        "skip layer guidance",
        "cfg schedule",
        "dynamic cfg",
        "cfg rescale",
        "cfg star",
        "cfg zero star",
        "ltx guider",
        "引导",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        defaults = Guidance()

        def number(name: str, high: float, step: float, tooltip: str, **more: Any) -> tuple[str, dict[str, Any]]:
            default = getattr(defaults, name)
            return ("FLOAT", {"default": default, "min": 0.0, "max": high, "step": step, "tooltip": tooltip, **more})

        return {
            "required": {
                "cfg_schedule": (
                    list(cfg_schedules()),
                    {
                        "default": defaults.cfg_schedule,
                        "tooltip": "How cfg goes over the steps. auto: as the model's makers have it. dynamic "
                        "(CogVideoX): rises smoothly from 1 to cfg + 1. dynamic (reference): as the makers' own code, "
                        "up and down. "
                        "oscillating (Open-Sora 2.0): 1 in every second step after the tenth.",
                    },
                ),
                "cfg_rescale": number(
                    "cfg_rescale",
                    1.0,
                    0.05,
                    "Takes back the contrast that a high cfg adds, against burnt colours. 0: off; 0.7: a common value.",
                ),
                "cfg_star": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": defaults.cfg_star,
                        "tooltip": "Scales the negative prompt's part to fit the positive's (CFG-Zero*'s optimised "
                        "scale). LTX-Video's makers use it for the 13B.",
                    },
                ),
                "stg_schedule": (
                    list(STG_SCHEDULES),
                    {
                        "advanced": True,
                        "default": defaults.stg_schedule,
                        "tooltip": "constant: as set here, in all steps. published: the makers' values by noise level, "
                        "cfg too, for LTX-Video 13B dev; the other settings of cfg and stg are not used then.",
                    },
                ),
                "stg": number(
                    "stg",
                    100.0,
                    0.05,
                    "Spatio-temporal guidance, for LTX-Video and LTX-2: away from what the model makes with the "
                    "attention of some blocks left out. Steadier motion, 50 % slower. 0: off; 1: the makers'.",
                ),
                "stg_rescale": number(
                    "stg_rescale",
                    1.0,
                    0.05,
                    "Takes back the contrast that stg adds. 0: off; 0.7: the makers' for the 2B.",
                    advanced=True,
                ),
                "stg_blocks": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": defaults.stg_blocks,
                        "tooltip": "Blocks whose attention is left out, with commas between. Empty: the model's own "
                        "(LTX-Video: 19 of the 2B, 27 of the 13B; LTX-2: 29, 2.3 and 2.5: 28).",
                    },
                ),
                "picture_cfg": number(
                    "picture_cfg",
                    100.0,
                    0.1,
                    "How closely the picture is followed, for models that are guided by it apart from the prompt "
                    "(Open-Sora 2.0). 1: off. 0: the model's own.",
                    advanced=True,
                ),
                "low_noise_cfg": number(
                    "low_noise_cfg",
                    100.0,
                    0.1,
                    "cfg of the low-noise model's steps. 0: the model's own.",
                    advanced=True,
                ),
            },
            "optional": {
                "sound_cfg": number(
                    "sound_cfg",
                    100.0,
                    0.1,
                    "cfg of the sound, for models that make picture and sound together (LTX-2). 0: the makers' (7 for "
                    "2.3 and 2.5 at their own cfg), else as the sampler's cfg.",
                ),
                "modality": number(
                    "modality",
                    100.0,
                    0.1,
                    "Away from what LTX-2 makes where picture and sound do not hear each other: lips and noises fit "
                    "better, a step takes one more call. 0 and 1: off; 3: the makers'.",
                ),
                "nag": number(
                    "nag",
                    100.0,
                    0.5,
                    "Normalised attention guidance: a negative prompt that works at cfg 1, for models and LoRAs of few "
                    "steps; a step takes no second call. 0 and 1: off; 5 to 11: common.",
                ),
                "nag_tau": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": defaults.nag_tau,
                        "min": 1.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "The most that nag may strengthen what attention gives. More: stronger.",
                    },
                ),
                "nag_alpha": number(
                    "nag_alpha",
                    1.0,
                    0.05,
                    "Share of nag in what attention gives. More: stronger; 0: off.",
                    advanced=True,
                ),
                "start": number(
                    "start",
                    1.0,
                    0.01,
                    "Noise level below which cfg and all other guidance begin: 1 is pure noise.",
                    advanced=True,
                ),
                "end": number(
                    "end",
                    1.0,
                    0.01,
                    "Noise level at which they end; the steps below take one call, twice as fast. 0: never.",
                    advanced=True,
                ),
            },
        }

    def choose(self, **settings: Any) -> tuple[Guidance]:
        return (Guidance(**settings),)
