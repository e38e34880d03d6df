"""The memory that ComfyUI can give to a run."""

from __future__ import annotations

import comfy.model_management as mm
import torch

from ..memory import DeviceMemory


def device_memory(part: str = "transformer") -> DeviceMemory:
    """Models that are loaded count as free, since the host unloads them for a run that needs their place."""
    devices = {"text_encoder": mm.text_encoder_device, "vae": mm.vae_device}
    device = devices.get(part, mm.get_torch_device)()
    is_main = device.type in ("cpu", "mps")
    main = mm.get_free_memory(torch.device("cpu"))
    loaded = sum(model.model_loaded_memory() for model in mm.current_loaded_models if model.device == device)
    free = main if is_main else mm.get_free_memory(device) + loaded - mm.extra_reserved_memory()
    states = mm.VRAMState.NO_VRAM, mm.VRAMState.LOW_VRAM, mm.VRAMState.NORMAL_VRAM
    return DeviceMemory(free, main, is_main, offloads=not is_main and mm.vram_state in states)
