"""GGUF's block formats: a row is blocks of 32 or 256 numbers in few bits, each block with its scales.

Source of the layouts: https://github.com/ggml-org/ggml, src/ggml-common.h and ggml-quants.c (MIT). Tests compare with
the `gguf` package bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...base.packed import PackedWeight, take_rows
from ..cast import cast
from ..errors import ModelFileError
from ..gguf_types import BY_CODE, BlockType
from ..header import Container
from .layer import StoredLayer

# Numbers dequantised at a time on a processor, few enough for its cache, and on a GPU.
_PIECE, _GPU_PIECE = 2**19, 2**25


def _fields(stored: Tensor, bits: int, run: int) -> Tensor:
    """Numbers of few bits, as uint8 [blocks, n].

    Args:
        stored: uint8 [blocks, bytes].
        run: so many bytes give their lowest bits one after the other, then their next ones.
    """
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=stored.device)
    numbers = stored.unflatten(1, (-1, 1, run)) >> shifts.view(-1, 1) & (1 << bits) - 1
    return numbers.flatten(1)


def _half(blocks: Tensor, place: int) -> Tensor:
    """A 16-bit float of each block, as fp32 [blocks, 1]."""
    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def _grouped(numbers: Tensor, scales: Tensor) -> Tensor:
    """Numbers [blocks, n] times the scale of their group [blocks, groups]."""
    return (numbers.float().unflatten(1, (scales.shape[1], -1)) * scales.unsqueeze(2)).flatten(1)


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8).float() * _half(blocks, 0)


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_fields(blocks[:, 2:], 4, 16).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _fields(blocks[:, 4:], 4, 16).float() + _half(blocks, 2)


def _fifth(high: Tensor, low: Tensor) -> Tensor:
    return _fields(low, 4, 16) | _fields(high, 1, 1) << 4


def _q5_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_fifth(blocks[:, 2:6], blocks[:, 6:]).float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _fifth(blocks[:, 4:8], blocks[:, 8:]).float() + _half(blocks, 2)


def _q2_k(blocks: Tensor) -> Tensor:
    scales, step, low = blocks[:, :16], _half(blocks, 80), _half(blocks, 82)
    scaled = _grouped(_fields(blocks[:, 16:80], 2, 32), step * (scales & 15).float())
    return _minus(scaled, low * (scales >> 4).float())


def _q3_k(blocks: Tensor) -> Tensor:
    scales = _fields(blocks[:, 96:104], 4, 8) | _fields(blocks[:, 104:108], 2, 4) << 4
    high = _fields(blocks[:, :32], 1, 32) << 2
    numbers = (_fields(blocks[:, 32:96], 2, 32) | high).float() - 4
    return _grouped(numbers, _half(blocks, 108) * (scales.float() - 32))


def _q4_k(blocks: Tensor) -> Tensor:
    return _with_minima(blocks, _fields(blocks[:, 16:], 4, 32))


def _q5_k(blocks: Tensor) -> Tensor:
    return _with_minima(blocks, _fields(blocks[:, 48:], 4, 32) | _fields(blocks[:, 16:48], 1, 32) << 4)


def _with_minima(blocks: Tensor, numbers: Tensor) -> Tensor:
    """Q4_K's and Q5_K's eight groups, each with a scale and a minimum of 6 bits, in the 12 bytes behind two floats."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([first & 63, (third & 15) | (first >> 2) & 48], 1)
    minima = torch.cat([second & 63, (third >> 4) | (second >> 2) & 48], 1)
    return _minus(_grouped(numbers, _half(blocks, 0) * scales.float()), _half(blocks, 2) * minima.float())


def _minus(scaled: Tensor, minima: Tensor) -> Tensor:
    return (scaled.unflatten(1, (minima.shape[1], -1)) - minima.unsqueeze(2)).flatten(1)


def _q6_k(blocks: Tensor) -> Tensor:
    numbers = _fields(blocks[:, :128], 4, 64) | _fields(blocks[:, 128:192], 2, 32) << 4
    return _grouped(numbers.float() - 32, _half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float())


# The steps of IQ4, which are closer to each other around zero.
_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _iq4(numbers: Tensor) -> Tensor:
    return torch.tensor(_IQ4, dtype=torch.float32, device=numbers.device)[numbers.int()]


def _iq4_nl(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _iq4(_fields(blocks[:, 2:], 4, 16))


def _iq4_xs(blocks: Tensor) -> Tensor:
    scales = _fields(blocks[:, 4:8], 4, 1) | _fields(blocks[:, 2:4], 2, 1) << 4
    return _grouped(_iq4(_fields(blocks[:, 8:], 4, 16)), _half(blocks, 0) * (scales.float() - 32))


# uint8 [blocks, bytes of a block] -> fp32 [blocks, numbers of a block].
_DECODERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q2_K": _q2_k, "Q3_K": _q3_k,
    "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
}  # fmt: skip


@dataclass(frozen=True)
class GGUFBlocks:
    """One block format."""

    kind: BlockType
    layout = ""  # ComfyUI has no layers for it
    stays_packed = True

    @property
    def name(self) -> str:
        return f"GGUF {self.kind.code}"

    def layers(self, file: Container) -> Mapping[str, StoredLayer]:
        """The packed tensors of a file, each with the format of its own type.

        Raises:
            ModelFileError: one of a block format that none of these decoders reads.
        """
        layers = {}
        for name, info in file.header.items():
            kind = BY_CODE.get(info.dtype)
            if kind is None or not kind.is_packed:
                continue
            if kind.code not in _DECODERS:
                raise ModelFileError(
                    f"{file.path}: {name} is stored as GGUF {kind.code}, which this version does not read. Get the "
                    f"{kind.instead} file of this model (read are {', '.join(_DECODERS)}, F16, BF16 and F32)."
                )
            layers[name] = StoredLayer(GGUFBlocks(kind), info.shape, {"weight": name})
        return layers

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        blocks, rows = weight.tensors["weight"], weight.shape[0]
        if blocks.numel() % (rows * self.kind.nbytes):
            raise ModelFileError(
                f"A weight of {list(weight.shape)} in {self.name} has blocks that reach from one row into the next, "
                "and the model's rows are stored in another order. Get the F16 or BF16 file of this model."
            )
        return {"weight": take_rows(blocks.reshape(rows, -1), index)}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        """Computed in fp32, then rounded once."""
        blocks = weight.tensors["weight"].reshape(-1, self.kind.nbytes)
        result = torch.empty(len(blocks), self.kind.numbers, dtype=dtype, device=blocks.device)
        count = (_PIECE if blocks.device.type == "cpu" else _GPU_PIECE) // self.kind.numbers
        decode = _DECODERS[self.kind.code]
        for start in range(0, len(blocks), count):
            result[start : start + count] = cast(decode(blocks[start : start + count]), dtype)
        return result.reshape(weight.shape)


# Its `layers` finds those of every type.
FORMAT = GGUFBlocks(BY_CODE["Q8_0"])
