"""Several clips in one run, each the clip that its seed makes alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.generators import LARGEST_SEED
from .errors import SamplingError


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds in a text with commas or spaces; none of an empty one.

    Raises:
        SamplingError: something in it is no seed.

    >>> read_seeds("7, 8, 1000")
    (7, 8, 1000)
    """
    words = text.replace(",", " ").split()
    if not all(word.isascii() and word.isdecimal() and int(word) <= LARGEST_SEED for word in words):
        raise SamplingError(
            f"seeds is {text!r}; expected whole numbers from 0 to {LARGEST_SEED} with commas, such as 1, 2, 3."
        )
    return tuple(int(word) for word in words)


def refuse_cache_of_clips(seeds: Sequence[int], has_cache: bool) -> None:
    """
    Raises:
        SamplingError: a step cache would look at all clips of a run together.
    """
    if len(seeds) > 1 and has_cache:
        raise SamplingError(
            f"seeds names {len(seeds)} clips, each to be as it is alone, and a step cache looks at all of them "
            "together. Take the step cache out, or sample the clips one after another with seed."
        )
