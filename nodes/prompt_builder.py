"""A prompt from its parts."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from ..base.generators import LARGEST_SEED
from ..families import families
from ..host import InputRefused, host
from .inputs import NONE
from .phrases import GROUPS, LANGUAGES, PhraseError, advice, composed, drawn, word_count, words
from .presets import PARTS, preset_names, read_preset, save_preset
from .remarks import with_remarks

ANY = "any model"
FORMS = ("as the model likes", "sentences", "tags")
_QUICKSTART = "quickstart"


class OpenT2VPromptBuilder:
    """Puts a prompt together from subject, action, environment, style, camera and light."""

    CATEGORY = "OpenT2V"
    FUNCTION = "build"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("prompt",)
    OUTPUT_TOOLTIPS = ("The prompt, for Encode Video Prompt.",)
    DESCRIPTION = "A prompt from its parts: style, camera and light to choose, wildcards, and what the model likes."
    SEARCH_ALIASES: ClassVar = [
        "prompt helper",
        "prompt generator",
        "wildcards",
        "dynamic prompts",
        "random prompt",
        "camera movement",
        "styles",
        "提示词生成",
        "运镜",
        "通配符",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def text(tooltip: str) -> tuple[str, dict[str, Any]]:
            return ("STRING", {"multiline": True, "default": "", "tooltip": tooltip})

        def combo(group: str, tooltip: str) -> tuple[list[str], dict[str, Any]]:
            return ([NONE, *_listed(group)], {"default": NONE, "tooltip": tooltip})

        return {
            "required": {
                "subject": text(
                    "Who or what. Wildcards work in all three texts: choices in braces, __file__ for lines of a file."
                ),
                "action": text("What happens, in plain verbs."),
                "environment": text("Where, when, the weather, what is behind it."),
                "style": combo("style", "How it looks. Own ones: prompts/words.json in the input folder."),
                "camera": combo("camera", "How the camera stands or moves, and how near."),
                "light": combo("light", "Where the light comes from."),
            },
            "optional": {
                "model": (
                    [ANY, "OpenT2V quickstart", *(family.title for family in families().values())],
                    {"advanced": True, "default": ANY, "tooltip": "Says on the node what this model's makers advise."},
                ),
                "language": (
                    list(LANGUAGES),
                    {"advanced": True, "default": "English", "tooltip": "Of the words for style, camera and light."},
                ),
                "form": (
                    list(FORMS),
                    {"advanced": True, "default": FORMS[0], "tooltip": "Sentences, or tags with commas."},
                ),
                "seed": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                        "tooltip": "Of the wildcards: the same seed draws the same words.",
                    },
                ),
                "preset": (
                    [NONE, *preset_names()],
                    {
                        "advanced": True,
                        "default": NONE,
                        "tooltip": "Fills the parts that are empty or none: your saved ones, and examples of the "
                        "models' makers.",
                    },
                ),
                "save_as": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "A name saves the parts as a preset, prompts/presets in the input folder.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        style: str | None = None,
        camera: str | None = None,
        light: str | None = None,
        preset: str | None = None,
    ) -> bool:
        # None: the value comes from another node and is not known yet.
        for group, name in (("style", style), ("camera", camera), ("light", light)):
            try:
                if name not in (None, NONE) and name not in words(group):
                    raise InputRefused(
                        group, f"There is no {group} {name!r}; expected one of {', '.join(words(group))}."
                    )
            except PhraseError as error:
                raise InputRefused(group, str(error)) from error
        try:
            if preset not in (None, NONE):
                read_preset(preset)
        except PhraseError as error:
            raise InputRefused("preset", str(error)) from error
        return True

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        """Wildcards and words are read from files."""
        try:
            values: dict[str, Any] = {name: "" if value is None else value for name, value in inputs.items()}
            values["save_as"] = ""  # a run saves the preset, a look does not
            return cls().build(**values)["result"][0]
        except Exception as error:
            return str(error)

    def build(
        self,
        subject: str,
        action: str,
        environment: str,
        style: str,
        camera: str,
        light: str,
        model: str = ANY,
        language: str = "English",
        form: str = FORMS[0],
        seed: int = 0,
        preset: str = NONE,
        save_as: str = "",
    ) -> dict[str, Any]:
        hints, code, dice = _advice(model), LANGUAGES[language], random.Random(seed)
        chosen = dict(zip(PARTS, (subject, action, environment, style, camera, light), strict=True))
        chosen = {name: "" if text == NONE else text for name, text in chosen.items()}
        if preset not in (NONE, ""):
            kept = read_preset(preset)
            chosen = {name: text if text.strip() else kept.get(name, "") for name, text in chosen.items()}
        parts = {name: drawn(chosen[name], dice) for name in PARTS if name not in GROUPS}
        for group in GROUPS:
            parts[group] = _words_of(group, chosen[group])[code] if chosen[group] else ""
        shape = form if form != FORMS[0] else hints.get("form", "sentences")
        prompt = composed(parts, code, shape)
        if not prompt:
            raise ValueError("Every part is empty. Write at least a subject.")
        remarks = [prompt, *_remarks(prompt, hints, shape, any(parts[group] for group in GROUPS))]
        if save_as.strip():
            remarks.append(save_preset(save_as.strip(), {name: text for name, text in chosen.items() if text.strip()}))
        return with_remarks((prompt,), remarks)


def _words_of(group: str, name: str) -> dict[str, str]:
    """
    Raises:
        PhraseError: a preset names words that are not there any more.
    """
    try:
        return words(group)[name]
    except KeyError:
        raise PhraseError(f"There is no {group} {name!r}; expected one of {', '.join(words(group))}.") from None


def _listed(group: str) -> list[str]:
    """Names of a group. A user's file that cannot be used is told when a name is chosen, not when nodes are listed."""
    try:
        return list(words(group))
    except PhraseError:
        return []


def _advice(title: str) -> dict[str, Any]:
    key = next((key for key, family in families().items() if family.title == title), "")
    return advice().get(_QUICKSTART if title == "OpenT2V quickstart" else key, {})


def _remarks(prompt: str, hints: dict[str, Any], form: str, has_filming: bool) -> list[str]:
    if not hints:
        return []
    reader = "zh" if host.language().startswith("zh") else "en"
    remarks, count = [hints[reader]], word_count(prompt)
    if not hints["least"] <= count <= hints["most"]:
        remarks.append(f"{count} words; {hints['least']} to {hints['most']} suit this model.")
    if form == "plain" and has_filming:
        remarks.append("Style, camera and light are left out: this model does not know them.")
    for example in hints.get("examples", ()):
        prompt, why = example["prompt"].rstrip("."), example["why"][reader]
        remarks.append(f"Works: {prompt}. {why}" if example["works"] else f"Does not work: {prompt}. {why}")
    return [*remarks, f"Source: {hints['source']}."]
