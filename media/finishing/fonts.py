"""A font that has the letters a text needs, from the machine's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Where Linux, macOS and Windows keep fonts.
FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path.home() / ".local/share/fonts",
    Path.home() / ".fonts",
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path.home() / "Library/Fonts",
    Path("C:/Windows/Fonts"),
    Path.home() / "AppData/Local/Microsoft/Windows/Fonts",
)
# Fonts with Chinese, Japanese and Korean, the ones made for screens first: starts of file names.
_WIDE = (
    "NotoSansCJK", "NotoSansSC", "SourceHanSans", "PingFang", "Hiragino Sans", "STHeiti", "msyh", "simhei",
    "wqy-microhei", "wqy-zenhei", "DroidSansFallback", "YuGoth", "malgun", "Arial Unicode", "unifont",
)  # fmt: skip
_PLAIN = ("NotoSans-", "DejaVuSans", "LiberationSans", "Arial", "segoeui", "Helvetica")
_SUFFIXES = (".ttf", ".otf", ".ttc")


class FontError(ValueError):
    """No font has the letters of a text."""


def font_for(text: str, size: int, folders: Iterable[Path] = ()) -> Any:
    """A Pillow font of `size` pixels that has every letter of the text.

    Args:
        folders: folders that are searched first, for fonts the user put there.
    Raises:
        FontError: no font has them all; the message names the letters.
    """
    letters = {letter for letter in text if not letter.isspace() and letter.isprintable()}
    fewest = letters
    for font in _candidates(tuple(folders), size):
        missing = {letter for letter in letters if not _has(font, letter)}
        if not missing:
            return font
        fewest = min(fewest, missing, key=len)
    shown = "".join(sorted(fewest))[:20]
    raise FontError(
        f"No font on this machine has the letters {shown!r} of the caption. Put a .ttf or .otf file that has them, "
        "such as Noto Sans CJK, into models/fonts, or write the caption in other letters."
    )


def _candidates(folders: tuple[Path, ...], size: int) -> Iterator[Any]:
    from PIL import ImageFont

    for path in _font_files(folders, ("",)):
        yield from _opened(path, size)
    yield ImageFont.load_default(size)
    for path in _font_files(FOLDERS, _PLAIN + _WIDE):
        yield from _opened(path, size)


def _opened(path: Path, size: int) -> Iterator[Any]:
    from PIL import ImageFont

    try:
        yield ImageFont.truetype(str(path), size)
    except OSError:  # a damaged file, or a kind FreeType cannot read
        return


@cache
def _font_files(folders: tuple[Path, ...], starts: tuple[str, ...]) -> tuple[Path, ...]:
    """Font files in the order of their names' starts; bold and slanted ones come last."""
    paths = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.suffix in _SUFFIXES]

    def rank(path: Path) -> tuple[int, bool, str]:
        named = next(i for i, start in enumerate(starts) if path.name.lower().startswith(start.lower()))
        return named, any(word in path.stem for word in ("Bold", "Italic", "Oblique", "Light", "Thin")), path.name

    names = tuple(start.lower() for start in starts)
    return tuple(sorted((path for path in paths if path.name.lower().startswith(names)), key=rank))


def _has(font: Any, letter: str) -> bool:
    """Whether the font draws the letter itself and not the box that stands for missing ones."""
    mask, missing = font.getmask(letter), font.getmask("\U0010ffff")
    return mask.size != missing.size or bytes(mask) != bytes(missing)
