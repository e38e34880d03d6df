"""The encoding of a text file that a spreadsheet or an editor saved, told by its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 20
# Byte order marks, the longer ones first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Chinese text is nearly all within GB2312, the oldest part of GBK; letters with accents that are read as GBK are not.
_CHINESE_SHARE = 0.9


class EncodingError(ValueError):
    """The encoding cannot be told; the message says where and what to do."""


def encoding_of(path: Path) -> str:
    """Python's name of the encoding: by a byte order mark, else UTF-8 or UTF-16 where it fits, else GBK.

    The whole file is read, a block at a time. GBK is taken only where the text is Chinese: it takes nearly any bytes.

    Raises:
        EncodingError: none of them fits.
    """
    with open(path, "rb") as file:
        start = file.read(4096)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if b"\0" in start:
        return _utf16(path, start)
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for block in _blocks(path):
            decoder.decode(block)
            offset += len(block)
        decoder.decode(b"", final=True)
        return "utf-8"
    except UnicodeDecodeError as error:
        place = max(offset + error.start - len(decoder.getstate()[0]), 0)
    if _is_chinese(path):
        return "gb18030"
    raise EncodingError(
        f"{path.name} is neither UTF-8 nor GBK nor UTF-16 (line {_line_at(path, place)}). Save it as 'CSV UTF-8' in "
        "the spreadsheet, or say its encoding (for example cp1252 for an older Excel in Europe)."
    )


def _utf16(path: Path, start: bytes) -> str:
    """UTF-16 without a mark: half the bytes of western letters are zeros, which no other text holds."""
    name = "utf-16-le" if start[1::2].count(0) > start[0::2].count(0) else "utf-16-be"
    try:
        decoder = codecs.getincrementaldecoder(name)()
        letters = decoder.decode(start[: len(start) // 2 * 2])
        if all(letter.isprintable() or letter.isspace() for letter in letters):
            return name
    except UnicodeDecodeError:
        pass
    raise EncodingError(f"{path.name} holds zero bytes; expected a text file, saved as 'CSV UTF-8'.")


def _is_chinese(path: Path) -> bool:
    decoder, letters, common = codecs.getincrementaldecoder("gb18030")(), 0, 0
    try:
        for block in [*_blocks(path), b""]:
            foreign = "".join(letter for letter in decoder.decode(block, final=not block) if letter > "\x7f")
            letters += len(foreign)
            common += len(foreign.encode("gb2312", "ignore")) // 2
    except UnicodeDecodeError:
        return False
    return common >= _CHINESE_SHARE * letters


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _line_at(path: Path, place: int) -> int:
    with open(path, "rb") as file:
        return file.read(place).count(b"\n") + 1
