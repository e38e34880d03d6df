"""From words to conditioning."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..base import FamilyError, Shown, Variant
from ..host import host
from ..sampling.ranges import by_steps, check_shares
from ..sampling.travel import travel
from .prompt_cache import PromptReader
from .remarks import with_remarks

# What a prompt travels over.
TIME, STEPS = "time", "steps"
TRAVELS = (TIME, STEPS)


class OpenT2VEncodePrompt:
    """Encodes a positive and a negative prompt at once."""

    CATEGORY = "OpenT2V"
    FUNCTION = "encode"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = ("What the video shows.", "What it avoids.")
    DESCRIPTION = "Encode what the video shows and what it avoids, the way the model was trained to read it."
    SEARCH_ALIASES: ClassVar = [
        "clip text encode",
        "prompt",
        "negative prompt",
        "text to video",
        "txt2vid",
        "t2v",
        "text encode",
        "文生视频",
        "提示词",
    ]

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
                        "tooltip": "What the video shows. The quickstart model knows coloured shapes that move. In "
                        "Video Windows it may travel: 0 s: a red star / 2.5 s: a blue star (s, f for frames, or %).",
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
            },
            "optional": {
                "fps": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1000.0,
                        "step": 1.0,
                        "tooltip": "Frames per second, for models that are told them (Open-Sora 2.0, VideoCrafter2). "
                        "0: the model's own.",
                    },
                ),
                "motion_score": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 100.0,
                        "step": 0.5,
                        "tooltip": "How much is to move, for models that are told it in words (Open-Sora 2.0): 1 "
                        "hardly anything, 4 usual, 7 a lot. 0: the model's own.",
                    },
                ),
                "pictures": (
                    "IMAGE",
                    {
                        "tooltip": "Pictures that the text encoder sees before the words, for MiniMax H3: those of "
                        "Image to Video, the start picture first.",
                    },
                ),
                "prompt_cache": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": False,
                        "tooltip": "Keep encoded prompts on disk. A prompt that is there needs no text encoder: "
                        "OpenT2V's loaders leave it out until a new prompt comes.",
                    },
                ),
                "travel_over": (
                    list(TRAVELS),
                    {
                        "advanced": True,
                        "default": TIME,
                        "tooltip": "What a prompt travels over. time: the video, in Video Windows. steps: the "
                        "sampling, for every sampler, in per cent; what comes first decides on the composition.",
                    },
                ),
            },
        }

    def encode(
        self,
        clip: Any,
        positive: str,
        negative: str,
        fps: float = 0.0,
        motion_score: float = 0.0,
        pictures: Tensor | None = None,
        prompt_cache: bool = False,
        travel_over: str = TIME,
    ) -> dict[str, Any]:
        if travel_over not in TRAVELS:
            raise ValueError(f"travel_over is {travel_over!r}; choose time or steps.")
        variant = host.variant(clip)
        if pictures is not None and not host.shows(clip):
            raise FamilyError(
                "pictures is connected and this CLIP reads words only. Disconnect it; Image to Video takes pictures "
                "for the model itself."
            )
        shown = [] if pictures is None else [Shown("image", picture) for picture in pictures.split(1)]
        remarks = [] if positive.strip() else ["The prompt is empty: the video will show anything."]
        rate = float(fps or (variant.defaults.fps if variant is not None else 0))
        stops = travel(positive, rate) or [(None, positive)]
        completed = [(place, *_with_motion(variant, text, fps, motion_score)) for place, text in stops]
        entries = completed[0][2]
        remarks += dict.fromkeys(remark for *_, remark in completed if remark)
        if len(completed) > 1 and travel_over == STEPS:
            remarks.append(f"The prompt travels over {len(completed)} moments of the sampling, one in each step.")
        elif len(completed) > 1:
            remarks.append(f"The prompt travels over {len(completed)} moments, in Video Windows of Video Sampler.")
        if not negative.strip() and variant is not None and variant.defaults.negative:
            negative = variant.defaults.negative
            remarks.append(f"Negative prompt: {negative}")
        conditionings, reader = [], PromptReader(clip, prompt_cache)
        for what, prompts in (
            ("prompt", [(place, text) for place, text, *_ in completed]),
            ("negative prompt", travel(negative, rate) or [(None, negative)]),
        ):
            conditioning, stops = list[Any](), list[Any]()
            if travel_over == STEPS:
                check_shares([(place, text) for place, text in prompts if place is not None])
            for place, text in prompts:
                read = reader.read(text, shown)
                if read.count > read.limit:
                    remarks.append(
                        f"The {what} has {read.count} tokens; this model reads the first {read.limit}. The rest is "
                        "left out."
                    )
                at = {} if place is None or travel_over == STEPS or len(prompts) < 2 else host.travelling(place)
                encoded = [[context, {**values, **entries, **at}] for context, values in read.conditioning]
                conditioning += encoded
                stops += [] if place is None else [(place.value, encoded)]
            steps = travel_over == STEPS and len(stops) > 1
            conditionings.append(by_steps(stops) if steps else conditioning)
        return with_remarks(tuple(conditionings), [*remarks, *reader.remarks()])


def _with_motion(
    variant: Variant | None, prompt: str, fps: float, motion_score: float
) -> tuple[str, dict[str, Any], str]:
    """(prompt, entries for the CONDITIONING's dictionary, remark), with the frame rate and motion score in them.

    Raises:
        FamilyError: one of them is set and the model reads none.
    """
    text = variant.family.text if variant is not None else None
    if variant is not None and text is not None and text.complete is not None:
        completed = text.complete(prompt, fps or variant.defaults.fps, motion_score)
        return completed, {}, f"Appended to the prompt: {completed[len(prompt.strip()) :].lstrip('. ')}"
    if fps and not motion_score and variant is not None and variant.family.network.reads_rate:
        return prompt, {"frame_rate": fps}, f"The model is told {fps:g} frames per second."
    if fps or motion_score:
        raise FamilyError(_not_told(variant))
    return prompt, {}, ""


def _not_told(variant: Variant | None) -> str:
    if variant is not None and variant.family.network.reads_rate:
        return f"{variant.title} is told fps, but no motion score. Set motion_score to 0."
    if variant is not None:
        return f"{variant.title} is not told fps or a motion score in its prompt. Set both to 0."
    return (
        "fps and motion_score are set, and this CLIP was not loaded by an OpenT2V node, so it is not known how its "
        'model is told them. Set both to 0; for Open-Sora 2.0 end the prompt with " 24 FPS. 4 motion score." yourself.'
    )
