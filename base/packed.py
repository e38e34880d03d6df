"""Weights stored in fewer bits than they compute in: the stored tensors of one layer, and their dequantisation.

The record passes between the rooms: loaders make it from a file's tensors, key rules take its rows, hosts hold it in a
layer as a `PackedTensor` and ask it for numbers while the layer computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

_ATEN = torch.ops.aten


class WeightFormat(Protocol):
    """How a packed weight is stored.

    Attributes:
        name: in the user's words: "int4".
        layout: ComfyUI's name of the format: "float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "nvfp4", "mxfp8",
            "convrot_w4a4", "asym_w4a8_int8"; "" where it has none (awq_w4a16, GGUF).
        stays_packed: layers are held as they are stored and multiplied out while they compute, unless the user asks for
            a dtype; else they are multiplied out while the file is loaded.
    """

    @property
    def name(self) -> str: ...

    @property
    def layout(self) -> str: ...

    @property
    def stays_packed(self) -> bool: ...

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        """The tensors of some rows.

        Args:
            index: [n] int64, which rows, in the order wanted.
        """
        ...

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        """The weight's numbers as `dtype`, on the device that its tensors are on.

        Raises:
            OverflowError: a number that `dtype` would make infinite; the message begins with "holds".
        """
        ...


@dataclass(frozen=True)
class PackedWeight:
    """One layer's weight as a file stores it.

    Attributes:
        shape: of the weight's numbers, whatever the shapes of `tensors`.
        tensors: what the format stores, by role. The roles of a format with a `layout` are the endings of today's names
            in files: "weight", "weight_scale", "weight_scale_2", "input_scale", "pre_quant_scale", "weight_s_rel",
            "weight_s_channel", "weight_codebook".
        parameters: what the format has to know besides: of a format with a `layout` the entries that a file's
            `comfy_quant` has beside "format" (convrot, convrot_groupsize, group_size, linear_dtype,
            full_precision_matrix_mult), those of its "params" among them.
    """

    format: WeightFormat
    shape: tuple[int, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def rows(self, index: Tensor) -> PackedWeight:
        """The weight with these rows [n], in this order."""
        return replace(self, shape=(len(index), *self.shape[1:]), tensors=self.format.rows(self, index))

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        """The numbers, of `shape`; errors as the format's."""
        return self.format.dequantise(self, dtype).reshape(self.shape)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PackedWeight:
        """The same weight with every stored tensor changed: moved, copied."""
        return replace(self, tensors={role: change(tensor) for role, tensor in self.tensors.items()})


def take_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Some rows of a tensor of any dtype; a view where they follow each other.

    >>> take_rows(torch.tensor([10, 20, 30]), torch.tensor([2, 0]))
    tensor([30, 10])
    """
    first, count = int(index[0]) if len(index) else 0, len(index)
    if torch.equal(index, torch.arange(first, first + count)):
        return tensor.narrow(0, first, count)
    if tensor.element_size() > 1:
        return tensor[index]
    return tensor.view(torch.uint8)[index].view(tensor.dtype)  # torch cannot index fp8


class PackedTensor(Tensor):
    """A packed weight as a module's parameter: shape and dtype are those of the dequantised numbers.

    An operation that reads it gets the numbers; one that would write into it is refused, since they are not kept.
    `.to(dtype)` changes only what they are multiplied out to.
    """

    packed: PackedWeight

    @staticmethod
    def __new__(cls, packed: PackedWeight, dtype: torch.dtype) -> PackedTensor:
        device = next(iter(packed.tensors.values())).device
        # torch forbids moving an inference tensor outside of inference mode, and inspecting a normal tensor inside of
        # it.
        with torch.inference_mode(False):
            return Tensor._make_wrapper_subclass(cls, packed.shape, dtype=dtype, device=device, requires_grad=False)

    def __init__(self, packed: PackedWeight, dtype: torch.dtype):
        self.packed = packed

    def __repr__(self, **_: Any) -> str:
        return f"PackedTensor({self.packed.format.name}, {list(self.shape)}, {self.dtype})"

    @property
    def nbytes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]  torch says a plain attribute
        return self.packed.nbytes

    def data_ptr(self) -> int:
        return 0  # no memory holds the dequantised numbers

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def __deepcopy__(self, memo: Any) -> Tensor:
        copied = PackedTensor(self.packed.mapped(Tensor.clone), self.dtype)
        return nn.Parameter(copied, requires_grad=False) if isinstance(self, nn.Parameter) else copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        weight = args[0] if args else None
        change = _KEEPING.get(func)
        if isinstance(weight, PackedTensor) and change is not None:
            packed = weight.packed.mapped(lambda tensor: change(tensor, kwargs))
            return PackedTensor(packed, kwargs.get("dtype") or weight.dtype)
        if func.overloadpacket is _ATEN.to:  # in inference mode `to` arrives here before torch lowers it to `_to_copy`
            return func.decompose(*args, **kwargs)
        if isinstance(weight, PackedTensor) and func is _ATEN._has_compatible_shallow_copy_type.default:
            return False
        if func is _ATEN.copy_.default and isinstance(weight, PackedTensor) and isinstance(args[1], PackedTensor):
            for role, tensor in weight.packed.tensors.items():
                tensor.copy_(args[1].packed.tensors[role])
            return weight
        if func._schema.is_mutable and any(
            isinstance(written, PackedTensor) for written in (weight, kwargs.get("out"))
        ):
            raise TypeError(f"{func} would write into a packed weight. Multiply it out first.")
        with torch.inference_mode(False):
            return func(*_unpacked_all(args), **{name: _unpacked_all(value) for name, value in kwargs.items()})


# Operations that leave a weight packed -> what each does to the stored tensors.
_KEEPING: dict[Any, Callable[[Tensor, Mapping[str, Any]], Tensor]] = {
    _ATEN.detach.default: lambda tensor, _: tensor,
    _ATEN.alias.default: lambda tensor, _: tensor,
    _ATEN.clone.default: lambda tensor, _: tensor.clone(),
    _ATEN._to_copy.default: lambda tensor, options: tensor.to(options.get("device")),
    _ATEN.empty_like.default: lambda tensor, options: torch.empty_like(tensor, device=options.get("device")),
}


def unpacked(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers of a weight, packed or not, as `dtype`."""
    return weight.packed.dequantise(dtype) if isinstance(weight, PackedTensor) else weight.to(dtype)


# Numbers of a weight that are dequantised and multiplied at a time on a CPU, in whole tiles of rows.
_PIECE, _TILE = 2**21, 128


def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`functional.linear` in the input's dtype, with a weight that may be packed.

    On a CPU, rows of a large packed weight are dequantised, multiplied and forgotten piece by piece: they stay in its
    cache, and the numbers never exist as a whole. 5120 x 5120 take 0.7 (nvfp4) to 0.9 (int8) of the time for 512
    tokens, 0.3 to 0.8 for one (2026-11-30, one core).
    """
    rows, columns = weight.shape
    if not isinstance(weight, PackedTensor) or input.device.type != "cpu" or rows * columns <= _PIECE:
        return functional.linear(input, unpacked(weight, input.dtype), bias)
    count = max(_TILE, _PIECE // columns // _TILE * _TILE)
    output = input.new_empty(*input.shape[:-1], rows)
    for index in torch.arange(rows).split(count):
        first, last = int(index[0]), int(index[-1]) + 1
        piece = weight.packed.rows(index).dequantise(input.dtype)
        output[..., first:last] = functional.linear(input, piece, None if bias is None else bias[first:last])
    return output


def looked_up(weight: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """An embedding's rows [*ids.shape, columns] as `dtype`; of a packed weight only these rows are dequantised."""
    if not isinstance(weight, PackedTensor):
        return functional.embedding(ids, weight).to(dtype)
    index, place = ids.flatten().unique(return_inverse=True)
    return weight.packed.rows(index).dequantise(dtype)[place].unflatten(0, ids.shape)


def _unpacked_all(value: Any) -> Any:
    if isinstance(value, PackedTensor):
        return value.packed.dequantise(value.dtype)
    return type(value)(map(_unpacked_all, value)) if isinstance(value, list | tuple) else value
