"""What a long run asks of the machine it runs on."""

from __future__ import annotations

import ctypes


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
