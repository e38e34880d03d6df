"""Packs matrices as GGUF's Q4_K, Q5_K and Q6_K, which the `gguf` package reads and does not write.

256 numbers are one block: groups of 32 (Q4_K, Q5_K) or 16 (Q6_K), each with a scale of few bits and in Q4_K and Q5_K a
minimum, times one or two floats of the block. Codes, scales and minima are fitted in turn to the least squared error;
llama.cpp weighs errors by an importance matrix as well, which needs runs of the model.

Source of the layouts: https://github.com/ggml-org/ggml, src/ggml-common.h (MIT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CODES = ("Q6_K", "Q5_K", "Q4_K")
BLOCK = 256
# Blocks packed at a time, and how often codes and scales are fitted to each other.
_PIECE, _FITS = 4096, 4


def quantise(weight: Tensor, code: str) -> Tensor:
    """A matrix [rows, columns] as the file's bytes, uint8 [rows, bytes of a row].

    Args:
        code: one of `CODES`.
    """
    import torch

    blocks = weight.float().reshape(-1, BLOCK)
    packed = [_q6(piece) if code == "Q6_K" else _q45(piece, int(code[1])) for piece in blocks.split(_PIECE)]
    return torch.cat(packed).reshape(len(weight), -1)


def _q45(blocks: Tensor, bits: int) -> Tensor:
    """Q4_K or Q5_K: a number is d * scale * code - dmin * minimum."""
    import torch

    groups = blocks.unflatten(1, (8, 32))
    scale, minimum = _lines(groups, 2**bits - 1)
    step, scales = _few_bits(scale, 63)
    low, minima = _few_bits(minimum, 63)
    exact = (groups + (low * minima).unsqueeze(2)) / (step * scales).clamp(min=1e-30).unsqueeze(2)
    codes = exact.round().clamp(0, 2**bits - 1).to(torch.uint8).flatten(1)
    scales, minima = scales.to(torch.uint8), minima.to(torch.uint8)
    first, last = slice(0, 4), slice(4, 8)
    parts = [
        _half(step),
        _half(low),
        scales[:, first] | scales[:, last] >> 4 << 6,
        minima[:, first] | minima[:, last] >> 4 << 6,
        scales[:, last] & 15 | (minima[:, last] & 15) << 4,
    ]
    if bits == 5:
        parts.append(_interleaved(codes >> 4, 1, 32))
    return torch.cat([*parts, _interleaved(codes & 15, 4, 32)], 1)


def _q6(blocks: Tensor) -> Tensor:
    """Q6_K: a number is d * scale * (code - 32)."""
    import torch

    groups = blocks.unflatten(1, (16, 16))
    scale = groups.abs().amax(2) / 31
    for _ in range(_FITS):
        codes = (groups / scale.clamp(min=1e-30).unsqueeze(2)).round().clamp(-32, 31)
        scale = (groups * codes).sum(2) / codes.square().sum(2).clamp(min=1e-30)
    step, scales = _few_bits(scale.clamp(min=0), 127)
    exact = groups / (step * scales).clamp(min=1e-30).unsqueeze(2)
    codes = (exact.round().clamp(-32, 31) + 32).to(torch.uint8).flatten(1)
    low, high = _interleaved(codes & 15, 4, 64), _interleaved(codes >> 4, 2, 32)
    return torch.cat([low, high, scales.to(torch.int8).view(torch.uint8), _half(step)], 1)


def _lines(groups: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Scale and minimum (0 or more) of each group, for codes of 0 to `steps`, by least squares."""
    import torch

    minimum = -groups.amin(2).clamp(max=0)
    scale = (groups.amax(2) + minimum) / steps
    best = torch.full_like(scale, torch.inf)
    fitted, low = scale, minimum
    for _ in range(_FITS + 1):
        codes = ((groups + minimum.unsqueeze(2)) / scale.clamp(min=1e-30).unsqueeze(2)).round().clamp(0, steps)
        error = (codes * scale.unsqueeze(2) - minimum.unsqueeze(2) - groups).square().sum(2)
        is_better = error < best
        best = torch.where(is_better, error, best)
        fitted, low = torch.where(is_better, scale, fitted), torch.where(is_better, minimum, low)
        middle, mean = codes.mean(2, keepdim=True), groups.mean(2, keepdim=True)
        spread = (codes - middle).square().sum(2)
        slope = ((codes - middle) * (groups - mean)).sum(2) / spread.clamp(min=1e-30)
        minimum = slope * middle.squeeze(2) - mean.squeeze(2)
        through_zero = (codes * groups).sum(2) / codes.square().sum(2).clamp(min=1e-30)
        scale = torch.where(minimum < 0, through_zero, slope).clamp(min=0)
        minimum = minimum.clamp(min=0)
    return fitted, low


def _few_bits(scale: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Scales [blocks, groups] as a float of 16 bits [blocks, 1] times whole numbers of 0 to `most`."""
    step = (scale.amax(1, keepdim=True) / most).half().float()
    return step, (scale / step.clamp(min=1e-30)).round().clamp(0, most)


def _half(numbers: Tensor) -> Tensor:
    import torch

    return numbers.half().contiguous().view(torch.uint8)


def _interleaved(codes: Tensor, bits: int, run: int) -> Tensor:
    """Numbers of few bits [blocks, n] as bytes: `run` bytes hold the lowest bits of as many, then their next ones."""
    import torch

    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    return (codes.unflatten(1, (-1, len(shifts), run)) << shifts.view(-1, 1)).sum(2, dtype=torch.uint8).flatten(1)
