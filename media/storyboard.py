"""A story in shots: lines such as "3 s | a red star rising | seed 5 | fade 8 f", or rows of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from .rows import LARGEST_SEED, Row

# The cells of a shot; a table names its columns so.
LENGTH, PROMPT, SEED, LORA, STRENGTH, PICTURE, TRANSITION = COLUMNS = (
    "length",
    "prompt",
    "seed",
    "lora",
    "strength",
    "picture",
    "transition",
)
_CUT, _FADE, _LEAD = ("cut", "硬切"), ("fade", "淡入"), ("lead", "衔接")
# The transition into a picture at which the shot before ends: both shots show it, in a frame that they share.
LEAD = 1
# First word of a part of a line -> its cell.
_WORDS = {
    "seed": SEED,
    "种子": SEED,
    "lora": LORA,
    "strength": STRENGTH,
    "强度": STRENGTH,
    "picture": PICTURE,
    "图片": PICTURE,
    **dict.fromkeys((*_CUT, *_FADE, *_LEAD), TRANSITION),
}
EXAMPLE = "3 s | a red star rising"
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(s|f|秒|帧)", re.IGNORECASE)


class StoryboardError(ValueError):
    """Shots that cannot be made; every bad one is named by its number."""


@dataclass(frozen=True)
class Shot:
    """One shot.

    Attributes:
        number: counted from 1.
        place: where it was written, for messages: "line 3".
        frames: its length; 0: the model's own.
        seed: None: that of the whole.
        lora: name of a file, "" for none.
        picture: name of a file that the shot begins with, "" for none.
        fade: frames over which the shot before fades into this one; 0: a cut; `LEAD`: it ends at this one's picture.
    """

    number: int
    place: str
    prompt: str
    frames: int = 0
    seed: int | None = None
    lora: str = ""
    strength: float = 1.0
    picture: str = ""
    fade: int = 0

    @property
    def label(self) -> str:
        return f"shot {self.number} ({self.place})"


def typed_rows(text: str) -> Iterator[Row]:
    """The rows of a text with a shot on each line; empty lines and those that begin with # do not count."""
    number = 0
    for line, written in enumerate(text.splitlines(), 1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        number += 1
        try:
            yield Row(number, line, _cells(written))
        except ValueError as error:
            yield Row(number, line, problem=str(error))


def _cells(line: str) -> dict[str, str]:
    """The cells of a line: a length, the prompt, then parts that begin with their word."""
    parts = [part.strip() for part in re.split(r"[|｜]", line)]
    cells: dict[str, str] = {}
    if len(parts) > 1 and (not parts[0] or _LENGTH.fullmatch(parts[0])):
        cells[LENGTH] = parts.pop(0)
    cells[PROMPT] = parts.pop(0)
    for part in parts:
        word, _, value = part.partition(" ")
        cell = _WORDS.get(word.lower())
        if cell is None:
            raise ValueError(
                f"{part!r} is no part of a shot; expected seed, lora, strength, picture, fade, lead or cut"
            )
        if cell in cells:
            raise ValueError(f"{word} stands there twice")
        cells[cell] = part if cell == TRANSITION else value.strip()
    return {name: value for name, value in cells.items() if value}


def shots_of(rows: Iterable[Row], fps: float, most: int) -> list[Shot]:
    """The shots of rows.

    Args:
        fps: frames per second, by which seconds are counted; 0: not known.
        most: shots.
    Raises:
        StoryboardError: there is none, too many, or some that cannot be read, all of which are named.
    """
    shots, problems = list[Shot](), list[str]()
    for row in rows:
        where = f"line {row.line}"
        try:
            if row.problem:
                raise ValueError(row.problem)
            shots.append(_shot(row, where, fps))
        except ValueError as error:
            problems.append(f"shot {row.number} ({where}): {error}")
        if len(shots) > most:
            raise StoryboardError(f"There are more than {most} shots. Split the story into several runs.")
    refuse(problems)
    if not shots:
        raise StoryboardError(f"There is no shot. Write one on each line, such as this: {EXAMPLE}")
    return shots


def refuse(problems: Sequence[str]) -> None:
    """
    Raises:
        StoryboardError: there are problems; it says the first ten.
    """
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise StoryboardError("These shots cannot be made:\n" + "\n".join(problems[:10]) + more)


def _shot(row: Row, where: str, fps: float) -> Shot:
    cells = row.cells
    prompt = " ".join(cells.get(PROMPT, "").split())
    if not prompt:
        raise ValueError("it has no prompt")
    if STRENGTH in cells and LORA not in cells:
        raise ValueError(f"strength is {cells[STRENGTH]}, and it has no lora")
    lora, strength = _lora(cells.get(LORA, ""), cells.get(STRENGTH, ""))
    return Shot(
        row.number,
        where,
        prompt,
        _frames(LENGTH, cells[LENGTH], fps) if LENGTH in cells else 0,
        _seed(cells[SEED]) if SEED in cells else None,
        lora,
        strength,
        cells.get(PICTURE, ""),
        _fade(cells.get(TRANSITION, _CUT[0]), fps),
    )


def _frames(name: str, text: str, fps: float) -> int:
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{name} is {text!r}; expected seconds or frames, such as 3 s or 49 f")
    if match[2].lower() in ("f", "帧"):
        count = Fraction(match[1])
    elif fps:
        count = Fraction(match[1]) * Fraction(fps)
    else:
        raise ValueError(f"{name} is {text}, and the frames per second are not known; connect model, or set fps")
    if count <= 0:
        raise ValueError(f"{name} is {text}; expected more than nothing")
    return max(1, round(count))


def _fade(text: str, fps: float) -> int:
    word, _, length = text.strip().partition(" ")
    if not length and word.lower() in (*_CUT, *_LEAD):
        return LEAD if word.lower() in _LEAD else 0
    if word.lower() not in _FADE or not length:
        raise ValueError(f"transition is {text!r}; expected cut, lead, or fade with a length, such as fade 8 f")
    return _frames("fade", length, fps)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise ValueError(f"seed is {text!r}; expected a whole number from 0 to {LARGEST_SEED}")
    return int(text)


def _lora(name: str, strength: str) -> tuple[str, float]:
    """A file's name with the strength behind it, or with that of a cell of its own."""
    if not strength:
        behind = re.fullmatch(r"(.*\S)\s+(-?\d+(?:\.\d+)?)", name)
        name, strength = (behind[1], behind[2]) if behind else (name, "1")
    try:
        number = float(strength)
    except ValueError:
        number = float("nan")
    if not -20 <= number <= 20:
        raise ValueError(f"strength is {strength!r}; expected a number from -20 to 20")
    return name, number


def fitted(shots: Sequence[Shot], usual: int, nearest: Callable[[int], int]) -> list[Shot]:
    """The shots in lengths that the model can make.

    Args:
        usual: the model's own length in frames.
        nearest: length -> the nearest one that the model can make.
    Raises:
        StoryboardError: a shot is shorter than the fades at its ends.
    """
    sized = [replace(shot, frames=nearest(shot.frames or usual)) for shot in shots]
    problems = []
    for shot, following in zip(sized, [*sized[1:], None], strict=True):
        fades = (shot.fade if shot.number > 1 else 0) + (following.fade if following else 0)
        if fades > shot.frames:
            problems.append(
                f"{shot.label}: it has {shot.frames} frames, and the fades at its ends take {fades}; make it longer, "
                "or the fades shorter"
            )
    refuse(problems)
    return sized


def travelling(shots: Sequence[Shot]) -> tuple[str, int]:
    """(the prompts as a text that travels over time, by frames; frames of the whole), with fades as overlaps.

    Each prompt holds for its shot and goes over into the next where the shots fade.
    """
    stops, start = list[tuple[int, str]](), 0
    for n, shot in enumerate(shots):
        following = shots[n + 1].fade if n + 1 < len(shots) else 0
        begin = start + (shot.fade if n else 0)
        end = start + shot.frames - following - 1
        stops += [(frame, shot.prompt) for frame in sorted({begin, max(begin, end)})]
        start += shot.frames - following
    rising = [stop for n, stop in enumerate(stops) if not n or stop[0] > stops[n - 1][0]]
    return "\n".join(f"{frame} f: {prompt}" for frame, prompt in rising), start
