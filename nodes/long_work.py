"""Tells how far a long work is: on the page's bar, in words on the node, and in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..base.units import bytes_text
from ..host import host
from ..sampling.caches import CacheRun
from ..sampling.caches.report import reused_steps

EVERY = 1.0  # seconds between two words on a node
WORDS_FROM = 1.0  # seconds of work before the first ones


class LongWork:
    """Reports (done, in all) of one work of a node; raises when the user interrupts.

    Args:
        node: whose bar and words they are.
        words: (done, in all, seconds so far) -> what the node says meanwhile.
        before: remarks that stay above the words.
        name: of the work, in the terminal; "": it is not shown there.
        is_bytes: what is counted are bytes.
    """

    def __init__(
        self,
        node: str | None,
        words: Callable[[int, int, float], str],
        before: Sequence[str] = (),
        name: str = "",
        is_bytes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._node, self._words, self._before = node, words, list(before)
        self._name, self._is_bytes, self._clock = name, is_bytes, clock
        self._bar: Callable[[int], None] | None = None
        self._start = clock()
        self._next = self._start + WORDS_FROM

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = host.progress(max(total, 1), self._node, self._name, self._is_bytes)
        self._bar(done)
        now = self._clock()
        if now >= self._next and done < total:
            self._next = now + EVERY
            host.show([*self._before, self._words(done, total, now - self._start)], self._node)


def reading(node: str | None, before: Sequence[str] = ()) -> LongWork:
    """Of weights that are read from files."""

    def words(done: int, total: int, _: float) -> str:
        return f"Reading: {bytes_text(done)} of {bytes_text(total)}"

    return LongWork(node, words, before, "Reading weights", is_bytes=True)


def sampling_work(node: str | None, cache: CacheRun | None, before: Sequence[str] = ()) -> LongWork:
    """Of a run's steps."""

    def words(done: int, total: int, seconds: float) -> str:
        reused = "" if cache is None else f", {reused_steps(cache)} reused"
        return f"Step {done} of {total}{reused}; {time_left(done, total, seconds)}"

    return LongWork(node, words, before, "Sampling")


def time_left(done: int, total: int, seconds: float) -> str:
    """In words, at the speed so far; "" while nothing is done."""
    if not done:
        return ""
    left = round(seconds * (total - done) / done)
    return f"about {left} s left" if left < 120 else f"about {round(left / 60)} min left"
