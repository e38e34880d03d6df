"""Convert dtypes in pieces that are small enough for their temporaries to stay in the processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base.storage import FP8

# Elements converted at a time: on a CPU, and what keeps a GPU busy.
_PIECE, _GPU_PIECE = 2**19, 2**24


def cast(tensor: Tensor, target: torch.dtype, scale: Tensor | None = None) -> Tensor:
    """Convert a tensor to `target`; it is returned as it is where nothing changes.

    Args:
        tensor: [rows, ...], or one number.
        scale: multiplied with the tensor in fp32 before the conversion: one number, or [rows].
    Raises:
        OverflowError: a number that fp16 or fp8 would make infinite; the message begins with "holds".
    """
    if target == tensor.dtype and scale is None:
        return tensor
    result = torch.empty(tensor.shape, dtype=target, device=tensor.device)
    source, place = torch.atleast_1d(tensor), torch.atleast_1d(result)
    is_cpu = tensor.device.type == "cpu"
    rows = max(1, (_PIECE if is_cpu else _GPU_PIECE) // max(1, source[:1].numel()))
    factors = None if scale is None else scale.float().expand(len(source)).view(-1, *[1] * (source.ndim - 1))
    for start in range(0, len(source), rows):
        piece = source[start : start + rows]
        if piece.dtype in FP8:
            piece = widened(piece)
        elif target in FP8 and piece.dtype == torch.float16:
            piece = piece.float()  # torch takes seven times as long without this step
        if factors is not None:
            piece = piece * factors[start : start + rows]
        check_range(piece, target)
        place[start : start + rows] = piece
    return result


def widened(tensor: Tensor) -> Tensor:
    """Convert fp8 to fp32, exactly, in the way that is fastest on the tensor's device."""
    return widen(tensor) if tensor.device.type == "cpu" else tensor.float()


def widen(tensor: Tensor) -> Tensor:
    """Convert fp8 to fp32, exactly.

    Both fp8 formats are a truncated fp16. e4m3fn has one exponent bit less, so its numbers come out 2^8 times too small
    and are scaled back. torch's own conversion gives the same result and takes four to eight times as long.
    """
    bits = tensor.view(torch.int8).to(torch.int16)
    if tensor.dtype == torch.float8_e5m2:
        return (bits << 8).view(torch.float16).float()
    # Widening to 16 bits has copied the sign bit, so that it is in bit 15 and in bit 14.
    wide = bits.bitwise_left_shift_(7).bitwise_and_(~0x4000).view(torch.float16).float().mul_(2**8)
    # e4m3fn stores NaN with the bits that would mean 480.
    return wide if largest(wide) <= torch.finfo(tensor.dtype).max else tensor.float()


def largest(tensor: Tensor) -> float:
    """The largest absolute value, without a copy of the tensor; not for fp8, whose numbers torch does not compare."""
    if not tensor.numel():
        return 0.0
    low, high = torch.aminmax(tensor)
    return max(-float(low), float(high))


def check_range(piece: Tensor, target: torch.dtype) -> None:
    """
    Raises:
        OverflowError: as `cast`.
    """
    if target in FP8 or target == torch.float16:
        limit, top = torch.finfo(target).max, largest(piece)
        if top > limit:
            raise OverflowError(f"holds {top:g}, more than {target} can ({limit:g}): it would become infinite")
