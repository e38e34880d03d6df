"""Clips beside each other, for people who compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..base.generators import LARGEST_SEED
from ..host import host
from ..media import save_location
from ..media.naming import create_temporary, disk_errors, give_final_name
from ..media.overlaid import GAIN, check_shapes, difference, psnrs, split
from ..media.side_by_side import LAYOUTS, Blind, contact_sheet, side_by_side
from .charts import CHART_TOOLTIP, frame_panels, picture_of
from .remarks import with_remarks
from .rgb import rgb

SHEET, SPLIT, DIFFERENCE = "contact sheet", "split", "difference"
_CLIPS = ("images", "images_b", "images_c", "images_d")


class OpenT2VCompareClips:
    """Shows clips at the same time, each with its name, or without for viewers who should not know."""

    CATEGORY = "OpenT2V"
    FUNCTION = "compare"
    HAS_INTERMEDIATE_OUTPUT = True
    INPUT_IS_LIST = True
    RETURN_TYPES = ("IMAGE", "STRING", "IMAGE")
    RETURN_NAMES = ("images", "key", "chart")
    OUTPUT_TOOLTIPS = (
        "All clips as one, for Save Video File; a contact sheet is one picture, for Save Image.",
        "The name of the file with the key of a blind comparison; empty otherwise.",
        "How like the first clip each frame of the others is. " + CHART_TOOLTIP,
    )
    DESCRIPTION = (
        "Two or more clips at the same time, beside each other or split by a moving line, or how they differ, labelled "
        "or blind."
    )
    SEARCH_ALIASES: ClassVar = [
        "a/b test",
        "ab compare",
        "side by side",
        "comparison grid",
        "contact sheet",
        "xy plot",
        "blind test",
        "split screen",
        "wipe",
        "difference",
        "对比",
        "并排",
        "盲测",
        "分屏",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "A clip, or a list of clips, such as Prompt Rows makes of a graph."}),
                "layout": (
                    [*LAYOUTS, SHEET, SPLIT, DIFFERENCE],
                    {
                        "default": "row",
                        "tooltip": "row, column, grid: one clip. contact sheet: one picture, a line for each clip. "
                        "split: the first clip left of a moving line, another right of it. difference: from the first, "
                        f"times {GAIN}.",
                    },
                ),
                "labels": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "What stands above each clip, one a line, or a list. Empty: 1, 2, 3 ...",
                    },
                ),
                "blind": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Shuffle the clips and call them A, B, C; a key file in the output folder says "
                        "which is which.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                        "tooltip": "Of the blind order: another seed, another order.",
                    },
                ),
                "moments": (
                    "INT",
                    {"default": 6, "min": 1, "max": 64, "tooltip": "Pictures of each clip on the contact sheet."},
                ),
            },
            "optional": {
                name: ("IMAGE", {"tooltip": "One more clip, or list of clips."}) for name in _CLIPS[1:]
            },
        }  # fmt: skip

    def compare(
        self,
        images: list[Tensor],
        layout: list[str],
        labels: list[str],
        blind: list[bool],
        seed: list[int],
        moments: list[int],
        images_b: list[Tensor] | None = None,
        images_c: list[Tensor] | None = None,
        images_d: list[Tensor] | None = None,
    ) -> dict[str, Any]:
        groups = dict(zip(_CLIPS, (images, images_b, images_c, images_d), strict=True))
        clips = [rgb(clip, name) for name, group in groups.items() for clip in group or [] if clip is not None]
        names = _names(labels, len(clips))
        fonts = tuple(host.model_roots("fonts"))
        remarks, key_file, shown = [_sizes(clips)], "", list(zip(clips, names, strict=True))
        if blind[0]:
            order = Blind.of(len(clips), seed[0])
            key_file = _saved_key(order.key(names))
            shown = [(clips[number], letter) for number, letter in zip(order.order, order.letters, strict=True)]
            remarks.append(f"Blind: {key_file} in the output folder says which clip is which.")
        pictures, words = [clip for clip, _ in shown], [name for _, name in shown]
        if layout[0] == SHEET:
            result = contact_sheet(pictures, words, moments[0], fonts)
        elif layout[0] in (SPLIT, DIFFERENCE):
            result = _overlaid(pictures, words, layout[0], fonts)
        else:
            result = side_by_side(pictures, words, layout[0], fonts)
        if len({len(clip) for clip in clips}) > 1:
            remarks.append("The clips are not equally long: the shorter ones hold their last frame.")
        return with_remarks((result, key_file, _chart(pictures, words)), remarks)


def _overlaid(clips: list[Tensor], names: list[str], layout: str, fonts: tuple[Path, ...]) -> Tensor:
    """Each other clip and the first laid over one another, beside each other.

    Raises:
        ValueError: a single clip, or clips of other ratios of width to height.
    """
    if len(clips) < 2:
        raise ValueError(f"There is one clip; {layout} needs two. Connect the other one to images_b.")
    check_shapes(clips)
    first, *others = clips
    draw, between = (split, "{} | {}") if layout == SPLIT else (difference, f"{{1}} - {{0}}, x {GAIN}")
    laid = [draw(clip, first) for clip in others]
    return side_by_side(laid, [between.format(names[0], name) for name in names[1:]], "grid", fonts)


def _chart(clips: list[Tensor], names: list[str]) -> Any:
    """IMAGE of the likeness to the first clip, or a placeholder that says why there is none."""
    if len(clips) < 2:
        return host.missing("A single clip has nothing to be compared with: connect another one to images_b.")
    try:
        check_shapes(clips)
    except ValueError as error:
        return host.missing(str(error))
    rows = {name: psnrs(clip, clips[0]) for name, clip in zip(names[1:], clips[1:], strict=True)}
    return picture_of(f"Likeness to {names[0]}", frame_panels(names[0], rows))


def _names(labels: list[str], count: int) -> list[str]:
    """A name for each clip.

    Raises:
        ValueError: another number of names.
    """
    names = [line.strip() for label in labels for line in label.splitlines()]
    if not any(names):
        return [str(number) for number in range(1, count + 1)]
    if len(names) != count:
        raise ValueError(
            f"There are {len(names)} labels for {count} clips. Write one on each line, or leave labels empty."
        )
    return names


def _sizes(clips: list[Tensor]) -> str:
    sizes = dict.fromkeys(f"{clip.shape[2]} x {clip.shape[1]}, {len(clip)} frames" for clip in clips)
    return f"{len(clips)} clips: {'; '.join(sizes)}"


def _saved_key(key: dict[str, str]) -> str:
    """Save which letter is which clip; returns the file's name below the output folder."""
    folder, stem = save_location(host.output_folder(), "blind_key", 1, 1)
    with disk_errors(folder):
        temporary = create_temporary(folder, stem, ".json")
        try:
            temporary.write_text(json.dumps(key, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            return give_final_name(temporary, stem, ".json").name
        finally:
            temporary.unlink(missing_ok=True)
