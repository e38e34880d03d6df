"""ComfyUI's dynamic VRAM loading (its default on NVIDIA) acted out on the CPU.

All code of the host is its own: `ModelPatcherDynamic`, the casting layers, `comfy.lora`, model management. Stand-ins
are only what needs a GPU: comfy-aimdo's memory (pages that weights are copied to when a layer computes, and that are
taken away again), pinned memory, and the notion that a weight in main memory is not where a layer computes.
"""

from __future__ import annotations

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch

# Where a weight says it lies while it is not on the device that computes, which here is the CPU as well.
ELSEWHERE = torch.device("cuda", 7)


def is_there() -> bool:
    """Whether this host has dynamic loading at all."""
    return hasattr(comfy.model_patcher, "ModelPatcherDynamic")


class Pages:
    """comfy-aimdo's ModelVBAR: places on the device, one for each layer.

    Attributes:
        full_from: a place of this number or a higher one never fits, as on a device that is full; a layer's weights
            then go through a buffer each time. None: all fit.
        pinned: how often each place has been taken for use and not been given back.
    """

    full_from: int | None = None

    def __init__(self, *_: object) -> None:
        self.places: list[torch.Tensor] = []
        self.pinned: list[int] = []
        self.generation = 1

    def prioritize(self, *_: object) -> None: ...

    def alloc(self, size: int) -> tuple[Pages, int, int]:
        self.places.append(_forgotten(size))
        self.pinned.append(0)
        return self, len(self.places) - 1, size

    def loaded_size(self) -> int:
        return sum(map(len, self.places))

    def free_memory(self, _: float) -> int:
        assert not any(self.pinned), f"{sum(map(bool, self.pinned))} layers hold their memory after they have computed"
        self.generation += 1
        self.places = [_forgotten(len(place)) for place in self.places]
        return self.loaded_size()


def _forgotten(size: int) -> torch.Tensor:
    return torch.full((size,), 255, dtype=torch.uint8)  # NaN, whatever it is read as


def _fault(alloc: tuple[Pages, int, int]) -> tuple[int, int] | None:
    pages, number, _ = alloc
    if pages.full_from is not None and number >= pages.full_from:
        return None
    pages.pinned[number] += 1
    return number, pages.generation


def _unpin(alloc: tuple[Pages, int, int] | None) -> None:
    if alloc is not None and alloc[0].pinned[alloc[1]]:
        alloc[0].pinned[alloc[1]] -= 1


class _Buffer:
    def __init__(self, *_: object, **__: object) -> None:
        self.size = 0

    def truncate(self, *_: object, **__: object) -> None: ...


class _Away(torch.nn.Parameter):
    """A weight in main memory."""

    device = property(lambda self: ELSEWHERE)

    def to(self, *args: object, **kwargs: object) -> torch.Tensor:
        return self.data.to(*args, **kwargs)


def start() -> None:
    """Have every loader from now on make dynamic MODELs, CLIPs and VAEs, as on NVIDIA. Call it once."""
    import comfy.memory_management
    import comfy.pinned_memory
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar
    import comfy_aimdo.torch
    from comfy.quant_ops import QuantizedTensor

    comfy_aimdo.model_vbar.ModelVBAR = Pages
    comfy_aimdo.model_vbar.vbar_fault = _fault
    comfy_aimdo.model_vbar.vbar_unpin = _unpin
    comfy_aimdo.model_vbar.vbar_signature_compare = lambda a, b: a is not None and a == b
    comfy_aimdo.model_vbar.vbars_analyze = lambda *_: 0
    comfy_aimdo.torch.aimdo_to_tensor = lambda alloc, _: alloc[0].places[alloc[1]]
    comfy_aimdo.host_buffer.HostBuffer = _Buffer
    comfy.pinned_memory.get_pin = comfy.pinned_memory.pin_memory = lambda *_, **__: None
    mm.get_offload_stream = lambda _: None
    mm.is_device_cpu = lambda _: False

    dynamic = comfy.model_patcher.ModelPatcherDynamic
    load = dynamic.load
    quantised_device = QuantizedTensor.device
    QuantizedTensor.device = property(
        lambda self: ELSEWHERE if self.__dict__.get("is_away") else quantised_device.__get__(self)
    )

    def pages_of(self: object, create: bool = False) -> Pages | None:
        found = self.model.dynamic_vbars
        if create and self.load_device not in found:
            found[self.load_device] = Pages()
        return found.get(self.load_device)

    def load_and_leave(self: object, *args: object, **kwargs: object) -> None:
        load(self, *args, **kwargs)
        for layer in self.model.modules():
            for name in ("weight", "bias") if hasattr(layer, "_v") else ():
                weight = layer._parameters.get(name)
                if isinstance(weight, QuantizedTensor):
                    weight.is_away = True
                elif weight is not None and not isinstance(weight, _Away):
                    away = torch.Tensor._make_subclass(_Away, weight.data, False)
                    if hasattr(weight, "_model_dtype"):
                        away._model_dtype = weight._model_dtype
                    layer._parameters[name] = away

    def unload(self: object, *_: object, **__: object) -> int:
        pages = self._vbar_get()
        return (0 if pages is None else pages.free_memory(1e32)) + self.restore_loaded_backups()

    dynamic.__new__ = staticmethod(lambda cls, *_, **__: object.__new__(cls))
    dynamic._vbar_get = pages_of
    dynamic.load = load_and_leave
    dynamic.partially_unload = unload
    comfy.model_patcher.CoreModelPatcher = dynamic

    lazily = comfy.model_patcher.LazyCastingParam
    lazily.__new__ = staticmethod(lambda cls, _, __, weight: torch.nn.Parameter.__new__(cls, weight.data))

    read = comfy.utils.load_torch_file

    def read_without_mapping(*args: object, **kwargs: object) -> object:
        comfy.memory_management.aimdo_enabled = False
        try:
            return read(*args, **kwargs)
        finally:
            comfy.memory_management.aimdo_enabled = True

    comfy.utils.load_torch_file = read_without_mapping
    comfy.memory_management.aimdo_enabled = True
