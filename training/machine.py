"""What a long run asks of the machine it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

T = TypeVar("T")
_draw: Callable[[int], Any]


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Save a run's state, whole or not at all: a run that is ended meanwhile keeps the one before."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def reuse_memory() -> None:
    """Keep freed memory for the next tensor: glibc gives large pieces back, and asking again costs a fifth of a step.

    Does nothing where the C library is another one.
    """
    try:
        option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    option(trim_threshold, 2**31 - 1)
    option(mmap_threshold, 2**30)


def mixed_precision(device: str, enabled: bool) -> contextlib.ExitStack:
    """A context in which networks compute in bfloat16, for training steps.

    On a CPU attention is then computed by plain products: for the few tokens of these clips its fused kernel takes two
    and a half times as long (one core with avx512_bf16, torch 2.13, 2026-12-01).
    """
    stack = contextlib.ExitStack()
    if enabled:
        stack.enter_context(torch.autocast(device, dtype=torch.bfloat16))
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.callback(torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp, False)
            # Without it these products are made in float32; the setting's name is CUDA's, but it counts on CPUs, too.
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    return stack


def ahead(draw: Callable[[int], T], numbers: range, workers: int) -> Iterator[T]:
    """`draw(number)` of each number in turn; with workers, so many other processes draw what is needed next.

    A GPU is done with a step long before one processor has drawn the next one's clips. Processes are forked, so that
    `draw` may be any function; it must not touch a GPU.
    """
    if not workers:
        yield from map(draw, numbers)
        return
    forked = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, forked, initializer=_begin, initargs=(draw,)) as pool:
        try:
            waiting: deque[Future] = deque()
            for number in numbers:
                waiting.append(pool.submit(_draw_one, number))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(draw: Callable[[int], Any]) -> None:
    global _draw
    _draw = draw
    torch.set_num_threads(1)


def _draw_one(number: int) -> Any:
    return _draw(number)
