"""Packed layers as the host's own quantised ones, where it has them, and as layers of ours where it has none.

In the host's layers its kernels for int8 and fp4, its offloading and its dynamic loading serve our models as they do
its own. Source: `mixed_precision_ops` and `pick_operations` in ComfyUI 0.33.0's comfy/ops.py.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any, NoReturn

import comfy.model_management as mm
import comfy.ops
import torch
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
from torch import Tensor, nn
from torch.nn import functional

from ...base import FamilyError
from ...base.packed import PackedTensor, PackedWeight, looked_up, unpacked
from ..leaves import DEQUANTISED


class PackedInPlace(FamilyError, AttributeError):
    """A packed weight's own tensors are asked for; for code that only looks whether they are there, they are not."""


class HoldsPacked:
    """A layer whose weight stays packed: changes are applied while it computes, and never merged into it.

    Attributes:
        packed_as: the format in the user's words.
    """

    packed_as: str
    weight: Any
    comfy_cast_weights: bool
    prev_comfy_cast_weights: bool
    weight_function: list[Any]
    comfy_patched_weights: bool

    def _refuse_writing(self) -> NoReturn:
        """Refuse what the host's LoRA hooks and merges do with weights of another format."""
        raise PackedInPlace(
            "LoRA hooks of a prompt and merges of models work on the weights themselves, and this MODEL's are stored "
            f"as {self.packed_as}, where a change would be rounded. Put the LoRA on the MODEL with Load Video LoRA, or "
            "load the model's file with dtype bf16 or fp16."
        )


class PackedLinear(comfy.ops.manual_cast.Linear, HoldsPacked):
    """The host's linear layer for a packed weight, which is dequantised while the layer computes."""

    def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
        # Dequantise before the weight functions, because the host's LoRA patches add in place, which a packed weight
        # does not support.
        weight = unpacked(self.weight.to(input.device), input.dtype)
        for function in self.weight_function:
            weight = function(weight)
        bias = None if self.bias is None else self.bias.to(input.device, input.dtype)
        for function in self.bias_function if bias is not None else ():
            bias = function(bias)
        return functional.linear(input, weight, bias)

    def convert_weight(self, weight: Tensor, inplace: bool = False, **_: Any) -> Tensor:
        """The dequantised weight, into which the host merges a change."""
        return unpacked(weight, weight.dtype)

    def set_weight(
        self, weight: Tensor, inplace_update: bool = False, return_weight: bool = False, **_: Any
    ) -> Tensor | None:
        """Leave the packed weight as it is, since a merge would round; `finish_loading` adds it at each call."""
        if inplace_update:  # a LoRA hook
            self._refuse_writing()
        return weight if return_weight else None


class PackedEmbedding(comfy.ops.manual_cast.Embedding, HoldsPacked):
    """The host's embedding for a packed weight, of which only the rows that are looked up are dequantised."""

    def forward_comfy_cast_weights(self, input: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        dtype = self.weight.dtype if out_dtype is None else out_dtype
        if not self.weight_function:
            return looked_up(self.weight.to(input.device), input, dtype)
        weight = unpacked(self.weight.to(input.device), dtype)
        for function in self.weight_function:
            weight = function(weight)
        return functional.embedding(input, weight)

    convert_weight, set_weight = PackedLinear.convert_weight, PackedLinear.set_weight


@cache
def has_mixed_layers() -> bool:
    """Whether the host's quantised linear layer is the one that this module is written for (0.33; not 0.8).

    0.8's knows fp8 and nvfp4 alone, and of these neither AWQ's factors nor a dtype for a LoRA.
    """
    return hasattr(comfy.ops.mixed_precision_ops({}, torch.float32).Linear, "_disabled_formats")


def hold_packed(module: nn.Module, computes: torch.dtype | None = None, is_text_encoder: bool = False) -> nn.Module:
    """Change the class of every layer with a packed weight, to the host's where it knows the format.

    Args:
        module: its other leaves are casting layers already.
        computes: what the model computes in; None: what its weights say.
        is_text_encoder: compute with the numbers of the weights, as the host does in text encoders; in a MODEL layers
            in fp8 and fp4 round their inputs as well where the device has a kernel for it.
    """
    for leaf in module.modules():
        weight = getattr(leaf, "weight", None)
        if not isinstance(weight, PackedTensor):
            continue
        if isinstance(leaf, nn.Linear) and _host_holds(weight.packed):
            _hold(leaf, weight.packed, computes or weight.dtype, is_text_encoder)
        elif isinstance(leaf, nn.Linear):
            _unpack_while_computing(leaf, PackedLinear, weight)
        elif isinstance(leaf, nn.Embedding):
            _unpack_while_computing(leaf, PackedEmbedding, weight)
    return module


def _unpack_while_computing(leaf: Any, layer_class: type, weight: PackedTensor) -> None:
    leaf.__class__, leaf.packed_as = layer_class, weight.packed.format.name


def _host_holds(packed: PackedWeight) -> bool:
    layout = packed.format.layout
    if not layout or layout not in QUANT_ALGOS or len(packed.shape) != 2 or not has_mixed_layers():
        return False
    # Outside of inference mode the host's fp8 layer transposes a weight without its scale for each row.
    return not layout.startswith("float8") or packed.tensors["weight_scale"].numel() == 1


# ComfyUI's name of a format -> what its kernels multiply in.
_KERNELS = {
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "int8_tensorwise": "int8", "nvfp4": "fp4", "mxfp8": "mxfp8",
    "convrot_w4a4": "int4", "asym_w4a8_int8": "int8",
}  # fmt: skip


def packed_arithmetic(layout: str, part: str) -> str:
    has_kernel = layout in QUANT_ALGOS and layout in _KERNELS and has_mixed_layers()
    # VAEs keep torch's own layers, and in text encoders only integers are multiplied as they are.
    can_use_it = part == "transformer" or (part == "text_encoder" and "int" in _KERNELS.get(layout, ""))
    if not has_kernel or not can_use_it or layout in unsupported_formats(mm.get_torch_device()):
        return DEQUANTISED
    return f"ComfyUI multiplies in {_KERNELS[layout]}, its inputs rounded as well"


def unsupported_formats(device: torch.device) -> frozenset[str]:
    """Formats whose layers compute with dequantised weights, because the device has no kernel: `pick_operations`."""
    supports = {
        "nvfp4": mm.supports_nvfp4_compute,
        "mxfp8": getattr(mm, "supports_mxfp8_compute", lambda _: False),
        "float8_e4m3fn": mm.supports_fp8_compute,
        "float8_e5m2": mm.supports_fp8_compute,
    }
    return frozenset(name for name, is_supported in supports.items() if not is_supported(device))


def _hold(leaf: nn.Linear, packed: PackedWeight, computes: torch.dtype, is_text_encoder: bool) -> None:
    """Make a leaf the host's quantised layer around the stored tensors, which are not copied."""
    rows, columns = packed.shape
    held: Any = leaf
    held.__class__ = _linear(computes, is_text_encoder, unsupported_formats(mm.get_torch_device()))
    held.packed_as, held.packed_roles = packed.format.name, tuple(packed.tensors)
    # What the constructor of the host's layer sets.
    held.factory_kwargs = {"device": packed.tensors["weight"].device, "dtype": computes}
    held.in_features, held.out_features, held._orig_shape = columns, rows, (rows, columns)
    held._full_precision_mm, held._full_precision_mm_config = is_text_encoder, False
    settings = json.dumps({**packed.parameters, "format": packed.format.layout}).encode()
    state = {**packed.tensors, "comfy_quant": torch.frombuffer(bytearray(settings), dtype=torch.uint8)}
    if leaf.bias is not None:
        state["bias"] = leaf.bias
    missing: list[str] = []
    surplus: list[str] = []
    # torch cannot detach a quantised tensor that was made outside of inference mode inside of it, where nodes run; so
    # all of them are made and moved inside.
    with torch.inference_mode():
        held._load_from_state_dict(state, "", {"assign_to_params_buffers": True}, True, missing, surplus, [])
    if missing or surplus:
        raise FamilyError(
            f"This ComfyUI reads {packed.format.name} layers otherwise than this pack expects (missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(surplus) or 'none'}). Load the file with dtype bf16 "
            "or fp16, and report this ComfyUI's version."
        )


# Attributes that a copy of a layer gets anew, or not at all: dynamic loading's place of this layer on the device.
_NOT_COPIED = {"_parameters", "_v", "_v_weight", "_v_bias", "_v_signature", "_pin_state", "_prefetch"}


@cache
def _linear(computes: torch.dtype, is_text_encoder: bool, unsupported: frozenset[str]) -> type[nn.Module]:
    """The host's quantised layer, which is no `nn.Linear` by itself; diffusers asks for one."""
    hosts: Any = comfy.ops.mixed_precision_ops(
        {"mixed_ops": True}, computes, full_precision_mm=is_text_encoder, disabled=unsupported
    ).Linear

    class QuantisedLinear(hosts, nn.Linear, HoldsPacked):
        packed_roles: tuple[str, ...]

        def convert_weight(self, weight: Tensor, inplace: bool = False, **_: Any) -> Tensor:
            """The numbers that inputs are multiplied by: dequantised, and with AWQ's factors of the inputs."""
            if not isinstance(weight, QuantizedTensor):
                return weight
            factors = input_factors(self)
            plain = weight.dequantize()
            return plain if factors is None else plain * factors.to(plain)

        def set_weight(
            self, weight: Tensor, inplace_update: bool = False, return_weight: bool = False, **_: Any
        ) -> Any:
            """As `PackedLinear`'s; `return_weight` asks for the weight to save, packed anew."""
            if inplace_update:  # a LoRA hook
                self._refuse_writing()
            if not return_weight:
                return None
            factors = input_factors(self)
            return repacked(self.weight, weight if factors is None else weight / factors.to(weight))

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            with torch.inference_mode():
                return super()._apply(fn, recurse)

        def stored(self) -> dict[str, Tensor]:
            """The file's tensors by role, on the device where the layer is."""
            weight: Any = self.weight  # the host's quantised tensor
            state = dict(self._parameters) | weight.state_dict("weight")
            return {role: state[role] for role in self.packed_roles if role in state}

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                # Merges and hooks of the host look for every name of the state dict in the layer.
                if name == "comfy_quant" or name in self.__dict__.get("packed_roles", ()):
                    self._refuse_writing()
                raise

        def __deepcopy__(self, memo: Any) -> Any:
            # torch copies a tensor's memory, which the host's quantised tensor does not show it.
            clone = type(self).__new__(type(self))
            memo[id(self)] = clone
            clone.__dict__.update(
                {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items() if name not in _NOT_COPIED}
            )
            with torch.inference_mode():
                clone.__dict__["_parameters"] = {
                    name: None if weight is None else nn.Parameter(weight.clone(), requires_grad=False)
                    for name, weight in self._parameters.items()
                }
            return clone

    return QuantisedLinear


def input_factors(layer: Any) -> Tensor | None:
    """AWQ's factors of a layer's inputs [columns], without zeros; the stored weight is divided by them."""
    factors = getattr(layer, "pre_quant_scale", None)
    return None if factors is None else torch.where(factors == 0, torch.ones_like(factors), factors)


def repacked(weight: Any, numbers: Tensor, seed: int = 0) -> Any:
    """Numbers [rows, columns] in the format of a quantised tensor of the host."""
    return weight.requantize_from_float(numbers, scale="recalculate", stochastic_rounding=seed).to(weight.dtype)


def stored_weights(module: nn.Module) -> dict[str, Any]:
    """Name -> weight, or for a packed layer the file's tensors by role, as they are on the host without such layers."""
    weights: dict[str, Any] = dict(module.named_parameters())
    for stem, layer in module.named_modules():
        if isinstance(layer, HoldsPacked) and hasattr(layer, "stored"):
            for name in layer._parameters:  # pyright: ignore[reportAttributeAccessIssue]
                if name not in ("weight", "bias"):
                    weights.pop(f"{stem}.{name}", None)
            weights[f"{stem}.weight"] = layer.stored()  # pyright: ignore[reportAttributeAccessIssue]
    return weights
