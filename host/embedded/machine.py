"""The device that the embedded host computes on, and its free memory."""

from __future__ import annotations

import torch

from ..memory import DeviceMemory


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_memory(device: torch.device) -> float:
    """Free bytes on the device; infinite where the device does not report them."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import os

    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return float("inf")


def device_memory(part: str = "transformer") -> DeviceMemory:
    where = device()
    return DeviceMemory(free_memory(where), free_memory(torch.device("cpu")), where.type == "cpu", offloads=False)
