"""Whether a clip fits into memory, asked before it is decoded."""

from __future__ import annotations

import os

from .timeline import VideoError

_FLOAT32, _CHANNELS, _GB = 4, 3, 1e9


def check_room(name: str, frames: int, width: int, height: int) -> None:
    """
    Raises:
        VideoError: so many float32 RGB frames are more than the memory that is free.
    """
    frame = width * height * _CHANNELS * _FLOAT32
    free = free_memory()
    if free is not None and frames * frame > free:
        raise VideoError(
            f"{frames:,} frames of {width} x {height} of {name} take {frames * frame / _GB:,.1f} GB of memory; "
            f"{free / _GB:,.1f} GB are free. Set count to {max(1, int(free * 0.8 / frame)):,} at most, or every, fps, "
            "width and height for fewer or smaller frames."
        )


def check_sound(name: str, samples: int, channels: int, rate: int) -> None:
    """
    Raises:
        VideoError: so many float32 samples of each channel are more than the memory that is free.
    """
    free = free_memory()
    if free is not None and samples * channels * _FLOAT32 > free:
        raise VideoError(
            f"{samples / rate:,.0f} seconds of sound of {name} take {samples * channels * _FLOAT32 / _GB:,.1f} GB of "
            f"memory; {free / _GB:,.1f} GB are free. The times in the file may be damaged: set count to read a part of "
            "it, or convert it with another program."
        )


def free_memory() -> int | None:
    """Bytes that can be taken without writing memory out to disk; None where the system does not tell."""
    try:
        import psutil  # ComfyUI brings it

        return int(psutil.virtual_memory().available)
    except ImportError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
