"""The header of a GGUF file as a stream of numbers, texts and lists.

Source: https://github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from .errors import ModelFileError

_CHUNK = 2**20
# In bytes; the largest vocabularies take some 20 MB.
_LARGEST_HEADER = 2**28
# The numbers of metadata, by the file's number for their type; 8 is a text and 9 an array.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
AGAIN = "Download the file again."


class GGUFHeader:
    """The bytes before the tensors, read as they are asked for.

    Every method raises a ModelFileError where the file ends too early or holds something else.
    """

    def __init__(self, file: BufferedReader, path: Path, start: int = 0):
        self.file, self.path, self.start = file, path, start
        self.size = path.stat().st_size
        self.read, self.offset = bytearray(), 0

    @property
    def position(self) -> int:
        return self.start + self.offset

    def take(self, count: int) -> bytes:
        self._fetch(count)
        self.offset += count
        return bytes(self.read[self.offset - count : self.offset])

    def _fetch(self, count: int) -> None:
        """Have this many bytes behind the present place in memory."""
        while len(self.read) < self.offset + count:
            if self.offset + count > _LARGEST_HEADER and self.position + count <= self.size:
                raise self.damaged(f"it would be more than {_LARGEST_HEADER:,} bytes long")
            if self.position + count > self.size or not (chunk := self.file.read(max(_CHUNK, count))):
                raise ModelFileError(
                    f"{self.path}: the file is cut short or damaged: its header goes on at byte "
                    f"{self.position + count:,} of {self.size:,}. The download or copy did not finish: get the file "
                    "again."
                )
            self.read += chunk

    def number(self, code: str) -> Any:
        layout = struct.Struct(f"<{code}")
        return layout.unpack(self.take(layout.size))[0]

    def text(self) -> str:
        raw = self.take(self.number("Q"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.damaged(f"a text before byte {self.position:,} is not UTF-8") from error

    def skip(self, kind: int, count: int) -> None:
        """Pass over a list's values."""
        if kind in NUMBERS:
            self.take(count * struct.calcsize(f"<{NUMBERS[kind]}"))
        elif kind == TEXT:
            for _ in self._texts(count):
                pass
        else:
            raise self.damaged(f"a list holds values of the unknown type {kind}")

    def values(self, kind: int, count: int) -> list[Any]:
        if kind == TEXT:
            # Words of a vocabulary may be pieces of a letter.
            return [self.read[start:end].decode(errors="replace") for start, end in self._texts(count)]
        layout = struct.Struct(f"<{count}{NUMBERS[kind]}")
        return list(layout.unpack(self.take(layout.size)))

    def _texts(self, count: int) -> Iterator[tuple[int, int]]:
        """The places of texts in `read`; vocabularies have hundreds of thousands, so the loop does little."""
        length_at = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if self.offset + 8 > len(self.read):
                self._fetch(8)
            start = self.offset + 8
            self.offset = start + length_at(self.read, self.offset)[0]
            if self.offset > len(self.read):
                self._fetch(0)
            yield start, self.offset

    def damaged(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: the GGUF header is damaged: {what}. {AGAIN}")
