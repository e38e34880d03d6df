"""Captions from what people have: plain words, SubRip, WebVTT, and other subtitle files by pysubs2."""

from __future__ import annotations

import html
import re
import sys
from dataclasses import dataclass
from itertools import takewhile

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d\d)[,.](\d{1,3})"
_SPAN = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
# Formatting of SubRip and WebVTT files, and places in the picture as Advanced SubStation writes them.
_MARKUP = re.compile(r"</?(?:i|b|u|s|c|v|lang|ruby|rt|font|span)\b[^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE)
# Signs that no font draws: zero-width ones, and those that only turn the direction of writing.
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u00ad]")
# What stands between the cues of WebVTT and is none.
_VTT_BLOCK = re.compile(r"\A(?:NOTE|STYLE|REGION)(?:\s.*)?\Z", re.DOTALL)
_SBV = re.compile(r"^(\d+:\d\d:\d\d\.\d{3}),(\d+:\d\d:\d\d\.\d{3})$", re.MULTILINE)
# A shape that Advanced SubStation draws, up to where words begin again.
_DRAWING = re.compile(r"\{[^}]*\\p[1-9][^}]*\}.*?(?=\{[^}]*\\p0|$)", re.DOTALL)
# Subtitle formats that are not read here -> (how such a file begins, pysubs2's name of its reader or none).
_KINDS = {
    "SSA": (re.compile(r"\[Script Info\].*^Format: *Marked", re.I | re.M | re.S), "ssa"),
    "ASS": (re.compile(r"\[Script Info\]|.*^\[Events\]", re.I | re.M | re.S), "ass"),
    "MicroDVD": (re.compile(r"\{\d+\}\{\d+\}"), "microdvd"),
    "MPL2": (re.compile(r"\[\d+\]\[\d+\]"), "mpl2"),
    "TMPlayer": (re.compile(r"\d\d?:\d\d:\d\d[:=]"), "tmp"),
    "TTML": (re.compile(r"(?:<\?xml[^>]*>\s*)?<tt[\s>]"), "ttml"),
    "SAMI": (re.compile(r"<SAMI>", re.I), "sami"),
    "LRC": (re.compile(r"(?:\[[a-z]+:.*\]\s*)*\[\d+:\d\d(?:\.\d+)?\]", re.I), ""),
}
_SPACES = re.compile("[\t\u00a0\u2007\u202f]")


@dataclass(frozen=True)
class Line:
    """One caption: shown from `start` up to `end`, in seconds; `end` None is the video's end."""

    text: str
    start: float = 0.0
    end: float | None = None


def read_captions(text: str) -> list[Line]:
    """Captions from a plain text (shown all the time) or from the text of a subtitle file.

    SubRip (.srt), WebVTT (.vtt) and YouTube's .sbv are read here, as players read them: formatting and notes are left
    out, a cue without length is none, an empty line between two cues may be missing. Advanced SubStation (.ass, .ssa),
    MicroDVD, TTML, SAMI, MPL2 and TMPlayer are read by pysubs2 where it is installed.

    Raises:
        ValueError: the text cannot be read; it says what a caption looks like.

    >>> read_captions("1\\n00:00:00,500 --> 00:00:02,000\\n<i>Hello</i>")
    [Line(text='Hello', start=0.5, end=2.0)]
    """
    text = re.sub(r"\r\n?", "\n", text).strip("\ufeff\n ")
    for kind, (start, reader) in _KINDS.items():
        if start.match(text):
            return _by_pysubs2(text, kind, reader)
    text = _SBV.sub(r"\1 --> \2", text)
    if "-->" not in text:
        return [Line(words)] if (words := _plain(text)) else []
    if text.startswith("WEBVTT"):
        return _cues("\n\n".join(_VTT_BLOCK.sub("", block) for block in re.split(r"\n\s*\n", text)), ends_at_gap=True)
    return _cues(text)


def _by_pysubs2(text: str, kind: str, reader: str) -> list[Line]:
    if not reader:
        raise ValueError(f"The captions are in {kind} form, which is not read. Save them as SRT.")
    try:
        import pysubs2
        from pysubs2.exceptions import UnknownFPSError
    except ImportError as error:
        raise ValueError(
            f"The captions are in {kind} form; SRT and WebVTT are read here, {kind} where pysubs2 is installed. "
            f'Install it ("{sys.executable}" -m pip install pysubs2) and restart, or save the subtitles as SRT.'
        ) from error
    try:
        events = pysubs2.SSAFile.from_string(text, reader)
    except UnknownFPSError as error:
        raise ValueError(
            "The captions are in MicroDVD form, whose times count frames, and do not say how many a second has. Put "
            "that before them as {1}{1}25, or save them as SRT."
        ) from error
    except Exception as error:  # each of its readers raises errors of its own
        raise ValueError(f"The captions look like {kind}, but cannot be read ({error}). Save them as SRT.") from error
    lines = []
    for event in events:
        event.text = _DRAWING.sub("", event.text)
        words = "" if event.is_comment else _plain(event.plaintext)
        if words and event.end > event.start:
            lines.append(Line(words, event.start / 1000, event.end / 1000))
    if not lines:
        raise ValueError(f"The captions look like {kind}, but no line of words was read from them. Save them as SRT.")
    return lines


def _cues(text: str, ends_at_gap: bool = False) -> list[Line]:
    """SubRip's and WebVTT's cues: a time line, and the words up to the next cue's number or time line.

    Args:
        ends_at_gap: an empty row ends the words, as WebVTT has it.
    """
    rows, lines = text.split("\n"), list[Line]()
    timed = [n for n, row in enumerate(rows) if "-->" in row]
    for n, begin in enumerate(timed):
        match = _SPAN.match(rows[begin])
        if match is None:
            raise ValueError(
                f"The caption {rows[max(0, begin - 1)][:60]!r} has no time line such as "
                "'00:00:01,000 --> 00:00:02,500'. Subtitles are blocks of a number, a time line and the words, with an "
                "empty line between them."
            )
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if end < start:
            raise ValueError(f"The caption time {rows[begin].strip()!r} ends before it starts.")
        words = rows[begin + 1 : timed[n + 1] if n + 1 < len(timed) else len(rows)]
        if n + 1 < len(timed):
            words = _without_name(words)
        if ends_at_gap:
            words = list(takewhile(str.strip, words))
        words = _plain("\n".join(row for row in words if row.strip()))
        if words and end > start:
            lines.append(Line(words, start, end))
    return lines


def _without_name(rows: list[str]) -> list[str]:
    """The rows between two time lines without the second cue's number, or its name behind an empty row."""
    if rows and rows[-1].strip().isdigit():
        return rows[:-1]
    if len(rows) > 1 and rows[-1].strip() and not rows[-2].strip():
        return rows[:-1]
    return rows


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + int(fraction) / 1000


def _plain(text: str) -> str:
    """What is to be drawn of a caption."""
    return _SPACES.sub(" ", _UNSEEN.sub("", html.unescape(_MARKUP.sub("", text)))).strip()
