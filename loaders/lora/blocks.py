"""Which blocks of a model a LoRA may change, as a user writes it."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...base import FamilyError


def block_filter(text: str) -> Callable[[str], bool]:
    """A function (layer's name) -> whether the LoRA may change the layer.

    Args:
        text: numbers and ranges of blocks ("0-9, 15"), and words of which one must be a part of the name ("attn1",
            "ffn"), separated by commas.
    Raises:
        FamilyError: a range whose end lies before its start, or a part that is neither a range nor a word.
    """
    numbers: set[int] = set()
    words: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        span = re.fullmatch(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", part)
        if span:
            first, last = int(span[1]), int(span[2] or span[1])
            if last < first:
                raise FamilyError(f"The block filter has the range {part!r}. Expected the smaller number first: 0-9.")
            numbers |= set(range(first, last + 1))
        elif re.fullmatch(r"[A-Za-z][\w.]*", part):
            words.append(part)
        else:
            raise FamilyError(
                f"The block filter has {part!r}. Expected numbers of blocks, ranges and words of layers' names, "
                "separated by commas: 0-9, 15, attn1."
            )

    def is_selected(stem: str) -> bool:
        block = re.search(r"(?<=[._])\d+(?=[._]|$)", stem)
        in_block = not numbers or (block is not None and int(block[0]) in numbers)
        return in_block and (not words or any(word in stem for word in words))

    return is_selected
