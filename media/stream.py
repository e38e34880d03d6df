"""Frames written to a file while the next ones are still being made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue

import torch
from torch import Tensor

from .writer import VideoWriter

# Pieces in the encoder's queue. More would take memory without being faster.
WAITING = 1


def save_stream(pieces: Iterator[Tensor], open_writer: Callable[[int, int], VideoWriter]) -> VideoWriter:
    """Write pieces of frames; FFmpeg works in a thread of its own while the caller's thread makes the next piece.

    Args:
        pieces: [n, H, W, C] in 0..1, all of one size. Made in the caller's thread.
        open_writer: (width, height in pixels) -> a writer nobody has used.
    Returns:
        The writer, its file finished. On an error or interrupt, on either side, both sides stop and no file stays.
    Raises:
        ValueError: there are no frames.
    """
    first = next(pieces, None)
    if first is None:
        raise ValueError("The video has no frames; a video needs at least one.")
    with open_writer(first.shape[2], first.shape[1]) as writer:
        encoder = _Encoder(writer)
        try:
            encoder.take(first)
            del first
            for piece in pieces:
                encoder.take(piece)
            encoder.finish()
        finally:
            encoder.stop()
    return writer


class _Encoder:
    """The thread that feeds a writer."""

    def __init__(self, writer: VideoWriter):
        self._writer = writer
        self._queue: Queue[Tensor | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="opent2v-encoder", daemon=True)
        self._thread.start()

    def take(self, piece: Tensor | None) -> None:
        """Hand over a piece; waits while the encoder is behind. Raises what the encoder failed with."""
        while self._error is None:
            try:
                return self._queue.put(piece, timeout=0.05)
            except Full:
                continue
        raise self._error

    def finish(self) -> None:
        """Wait until everything is written. Raises what the encoder failed with."""
        self.take(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Make the thread end soon, whatever is left to do, and wait for it."""
        self._stopped.set()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while (piece := self._queue.get()) is not None and not self._stopped.is_set():
                    self._writer.write(piece)
        except BaseException as error:
            self._error = error
