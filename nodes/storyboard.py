"""A story in shots, as lists that ComfyUI runs the graph over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..host import InputRefused, host
from ..loaders import ModelFileError
from ..media import check_input, list_inputs
from ..media.picture_file import read_picture
from ..media.rows import LARGEST_SEED, Table, TableError
from ..media.storyboard import (
    COLUMNS,
    PROMPT,
    Shot,
    StoryboardError,
    fitted,
    refuse,
    shots_of,
    travelling,
    typed_rows,
)
from .inputs import NONE, chosen, require_variant
from .lora import Applied
from .lora_pairs import KIND
from .remarks import with_remarks
from .rows import SUFFIXES
from .shared import files_state

# ComfyUI holds every shot's latent until the last node has run.
MOST_SHOTS = 1000
_EXAMPLE = """3 s | a red star rising on a black background
3 s | a blue star rising on a black background | fade 4 f"""


class OpenT2VStoryboard:
    """Gives the shots of a story as lists."""

    CATEGORY = "OpenT2V"
    FUNCTION = "read"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("STRING", "INT", "INT", "MODEL", "CLIP", "IMAGE", "INT", "STRING", "STRING", "INT")
    RETURN_NAMES = (
        "prompt",
        "frames",
        "seed",
        "model",
        "clip",
        "picture",
        "transition",
        "label",
        "travel",
        "whole",
    )
    OUTPUT_IS_LIST = (True, True, True, True, True, True, True, True, False, False)
    OUTPUT_TOOLTIPS = (
        "Each shot's prompt, for Encode Video Prompt.",
        "Each shot's length in frames that the model can make, for Empty Video Latent.",
        "Each shot's seed; the seed below where it has none.",
        "The model with each shot's LoRA.",
        "The text encoder with each shot's LoRA.",
        "Each shot's first picture, for Image to Video; nothing where a shot has none.",
        "Frames over which each shot fades in, for Join Video Files' overlap; 0: a cut.",
        "shot_001 and so on, for file names.",
        "All prompts as one that travels over time, for one run through Video Windows.",
        "Frames of the whole, for that run.",
    )
    DESCRIPTION = (
        "A story in shots: each with its length, prompt, seed, LoRA, first picture and transition. The graph behind it "
        "runs once for each shot."
    )
    SEARCH_ALIASES: ClassVar = [
        "story",
        "shots",
        "shot list",
        "scenes",
        "multi shot",
        "long video",
        "timeline",
        "script",
        "分镜",
        "故事板",
        "多镜头",
    ]

    def __init__(self) -> None:
        self._applied: dict[str, Applied] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model: it knows which lengths it can make."}),
                "shots": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": _EXAMPLE,
                        "tooltip": "A shot a line, its parts between upright bars: length (3 s or 49 f), prompt, then "
                        "seed 7, lora name.safetensors 0.8, picture a.png, fade 8 f. Only the prompt must be there.",
                    },
                ),
                "file": (
                    [NONE, *list_inputs(host.file_folders()["input"], SUFFIXES)],
                    {
                        "default": NONE,
                        "tooltip": "A CSV, TSV or JSONL file in the input folder, in place of the lines, with the "
                        "columns length, prompt, seed, lora, strength, picture, transition.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                        "tooltip": "For shots without a seed: the same for all, so that a new shot between them "
                        "changes no other.",
                    },
                ),
            },
            "optional": {
                "clip": ("CLIP", {"tooltip": "The text encoder, for LoRAs that change it too."}),
                "fps": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Frames per second, by which seconds are counted. 0: the model's own.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, shots: str | None = None, file: str | None = None) -> bool:
        """Name bad shots before anything is loaded."""
        # None: the value comes from another node and is not known yet.
        try:
            if file is not None and (file != NONE or shots is not None):
                refuse(_missing(_read(shots or "", file, 1.0)))
        except (TableError, ValueError) as error:
            raise InputRefused("shots" if file == NONE else "file", str(error)) from error
        return True

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, shots: str | None = None, **inputs: Any) -> str:
        """The state of the table, and of the files that the shots name."""
        if file is None or (file == NONE and shots is None):
            return ""
        table = [] if file == NONE else [check_input(host.file_folders(), file)]
        story = _read(shots or "", file, 1.0)
        return " ".join(files_state(path) for path in (*table, *(path for shot in story for path in _files(shot))))

    def read(
        self,
        model: Any,
        shots: str,
        file: str,
        seed: int,
        clip: Any = None,
        fps: float = 0.0,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        """
        Raises:
            StoryboardError: shots that cannot be made, all of them named.
            FamilyError: the model is not known, or a LoRA does not fit it.
        """
        variant = require_variant(model)
        story = _read(shots, file, fps or variant.defaults.fps)
        refuse(_missing(story))
        story = fitted(story, variant.defaults.frames, variant.geometry.nearest)
        pictures = [_picture(shot) for shot in story]
        loaded, remarks = self._with_loras(model, clip, story, unique_id)
        nothing = host.missing("No clip is connected to Storyboard, so it has none to hand on.")
        travel, whole = travelling(story)
        lists = (
            [shot.prompt for shot in story],
            [shot.frames for shot in story],
            [seed if shot.seed is None else shot.seed for shot in story],
            [styled for styled, _ in loaded],
            [nothing if clip is None else styled for _, styled in loaded],
            pictures,
            [shot.fade for shot in story],
            [f"shot_{shot.number:03d}" for shot in story],
        )
        rate = fps or variant.defaults.fps
        line = f"{len(story)} shots, {whole} frames at {rate:g} fps ({whole / rate:.1f} s)"
        return with_remarks((*lists, travel, variant.geometry.nearest(whole)), [line, *remarks])

    def _with_loras(
        self, model: Any, clip: Any, story: Sequence[Shot], node: str | None
    ) -> tuple[list[tuple[Any, Any]], list[str]]:
        """((MODEL, CLIP) of each shot; remarks, once for each LoRA)."""
        loaded, remarks = list[tuple[Any, Any]](), list[str]()
        kept, styled = dict[str, Applied](), dict[tuple[str, float], tuple[Any, Any]]()
        for shot in story:
            if not shot.lora:
                loaded.append((model, clip))
                continue
            key = shot.lora, shot.strength
            if key not in styled:
                applied = kept.get(shot.lora) or self._applied.get(shot.lora) or Applied()
                is_new, kept[shot.lora] = shot.lora not in kept, applied
                files = [(chosen(shot.lora, KIND), shot.strength, shot.strength)]
                *both, lines, _ = applied.run(model, clip, files, "", node)
                styled[key] = both[0], both[1]
                remarks += lines if is_new else []
            loaded.append(styled[key])
        self._applied = kept
        return loaded, remarks


def _read(shots: str, file: str, fps: float) -> list[Shot]:
    """The shots of the lines or the table.

    Raises:
        StoryboardError: a shot that cannot be read.
        TableError, ValueError: a table that cannot be read.
    """
    if file == NONE:
        return shots_of(typed_rows(shots), fps, MOST_SHOTS)
    table = Table(check_input(host.file_folders(), file))
    if table.columns and PROMPT not in table.columns:
        names = ", ".join(table.columns)
        raise StoryboardError(f"{file} has no column prompt; it has {names}. Read are {', '.join(COLUMNS)}.")
    return shots_of(table.rows(), fps, MOST_SHOTS)


def _files(shot: Shot) -> list[Path]:
    """The files that a shot names.

    Raises:
        ValueError: one of them is not there.
    """
    paths = [chosen(shot.lora, KIND)] if shot.lora else []
    return paths + ([check_input(host.file_folders(), shot.picture)] if shot.picture else [])


def _missing(story: Sequence[Shot]) -> list[str]:
    problems = []
    for shot in story:
        try:
            _files(shot)
        except (ValueError, ModelFileError) as error:
            problems.append(f"{shot.label}: {error}")
    return problems


def _picture(shot: Shot) -> Tensor | None:
    return read_picture(check_input(host.file_folders(), shot.picture)) if shot.picture else None
