"""Ways to store a change of one weight, with the changed weight worked out by hand in float64.

Each function draws a change, and gives (tensors by their name behind the layer's, the new weight at strength 1).
`scale` is what the low-rank product is multiplied by; `stated` is how the file tells it (see `files.Format`).
Source of the formulas: KohakuBlueleaf/LyCORIS lycoris/functional and lycoris/modules (f49d30d), huggingface/peft
tuners/lora/dora.py (0.19), kohya-ss/musubi-tuner networks/{lora,loha,lokr}.py (30c658c).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Stored = dict[str, Tensor]
# (weight, rank, scale, generator) -> (tensors, new weight)
Algorithm = Callable[[Tensor, int, float, torch.Generator], tuple[Stored, Tensor]]


def _draw(generator: torch.Generator, *shape: int, size: float = 0.3) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64) * size


def _narrow(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
    """A factor of so many rows; a product with it is as large for wide layers as for narrow ones."""
    return _draw(generator, rows, *shape) / torch.Size(shape).numel() ** 0.5


def lora(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """W + scale * up @ down; for a convolution down has its kernel and up a kernel of 1."""
    rows, columns, *kernel = weight.shape
    up, down = _draw(generator, rows, rank), _narrow(generator, rank, columns, *kernel)
    new = weight.double() + scale * torch.einsum("or,r...->o...", up, down)
    up = up.reshape(rows, rank, *[1] * len(kernel))
    return {"down": down, "up": up}, new


def tucker(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """LoCon with the kernel in a core of its own: up [O, r, 1..], mid [r, r, k..], down [r, I, 1..]."""
    rows, columns, *kernel = weight.shape
    up, down = _draw(generator, rows, rank), _narrow(generator, rank, columns)
    mid = _draw(generator, rank, rank, *kernel)
    new = weight.double() + scale * torch.einsum("om,mn...,ni->oi...", up, mid, down)
    ones = [1] * len(kernel)
    return {"down": down.reshape(rank, columns, *ones), "up": up.reshape(rows, rank, *ones), "mid": mid}, new


def dora(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """A magnitude for each row, and a direction: that of the changed weight."""
    stored, changed = lora(weight, rank, scale, generator)
    flat = changed.flatten(1)
    magnitude = flat.norm(dim=1, keepdim=True) * (1 + _draw(generator, len(flat), 1, size=0.1))
    new = (flat / flat.norm(dim=1, keepdim=True) * magnitude).reshape(weight.shape)
    return stored | {"magnitude": magnitude.reshape(-1, *[1] * (weight.ndim - 1))}, new


def loha(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    rows, columns = weight.shape[0], weight[0].numel()
    a, c = _draw(generator, rows, rank), _draw(generator, rows, rank)
    b, d = _narrow(generator, rank, columns), _draw(generator, rank, columns, size=1.0)
    new = weight.double() + scale * ((a @ b) * (c @ d)).reshape(weight.shape)
    return {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}, new


def _kronecker(weight: Tensor, first: Tensor, second: Tensor, scale: float) -> Tensor:
    """W + scale * first (x) second: row (a, b) of the product is row a of one with row b of the other."""
    rows, columns = weight.shape[:2]
    product = torch.einsum("ac,bd...->abcd...", first, second).reshape(rows, columns, *weight.shape[2:])
    return weight.double() + scale * product


def lokr(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """The small factor whole, the large one as a product."""
    rows, columns, *kernel = weight.shape
    first = _draw(generator, 2, 2)
    a, b = _draw(generator, rows // 2, rank), _narrow(generator, rank, columns // 2 * _count(kernel))
    second = (a @ b).reshape(rows // 2, columns // 2, *kernel)
    return {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b}, _kronecker(weight, first, second, scale)


def lokr_products(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """Both factors as products ("decompose both")."""
    rows, columns = weight.shape
    c, d = _draw(generator, 2, rank), _draw(generator, rank, 2)
    a, b = _draw(generator, rows // 2, rank), _narrow(generator, rank, columns // 2)
    stored = {"lokr_w1_a": c, "lokr_w1_b": d, "lokr_w2_a": a, "lokr_w2_b": b}
    return stored, _kronecker(weight, c @ d, a @ b, scale)


def lokr_whole(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """Both factors whole: there is no rank, and no scale whatever alpha says."""
    rows, columns, *kernel = weight.shape
    first, second = _draw(generator, 2, 2), _narrow(generator, rows // 2, columns // 2, *kernel)
    return {"lokr_w1": first, "lokr_w2": second}, _kronecker(weight, first, second, 1.0)


def glora(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """W + scale * (W a1 a2 + b1 b2)."""
    rows, columns = weight.shape
    a1, a2 = _draw(generator, columns, rank), _narrow(generator, rank, columns)
    b1, b2 = _draw(generator, rows, rank), _narrow(generator, rank, columns)
    new = weight.double() + scale * (weight.double() @ a1 @ a2 + b1 @ b2)
    return {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}, new


def _rotations(blocks: Tensor) -> Tensor:
    """Cayley's rotation of each block: (I + Q)(I - Q)^-1, Q = B - B^T."""
    skew, one = blocks - blocks.transpose(-1, -2), torch.eye(blocks.shape[-1], dtype=blocks.dtype)
    return (one + skew) @ (one - skew).inverse()


def oft(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """Rows in groups of `size`, each group turned."""
    rows = weight.shape[0]
    size = 2 if rows % 8 else 4  # halves and thirds of fused rows hold whole groups
    blocks = _draw(generator, rows // size, size, size, size=0.05)
    turned = torch.einsum("knm,kn...->km...", _rotations(blocks), weight.double().unflatten(0, (-1, size)))
    return {"oft_blocks": blocks}, turned.flatten(0, 1)


def oft_rescaled(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """OFT with a factor for each row."""
    stored, turned = oft(weight, rank, scale, generator)
    factor = 1 + _draw(generator, len(weight), *[1] * (weight.ndim - 1), size=0.1)
    return stored | {"rescale": factor}, turned * factor


def boft(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """Butterfly OFT: before stage i the rows are dealt out 2**i * size/2 apart."""
    rows = weight.shape[0]
    count = 4 if rows % 8 == 0 else 2
    size = rows // count
    stages = bin(count - 1).count("1") + 1
    blocks = _draw(generator, stages, count, size, size) * 0.1 / size**0.5
    new = weight.double()
    for stage, turn in enumerate(_rotations(blocks)):
        apart = 2**stage * size // 2
        dealt = new.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2).unflatten(0, (-1, size))
        dealt = torch.einsum("kij,kj...->ki...", turn, dealt).flatten(0, 1)
        new = dealt.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
    return {"oft_blocks": blocks}, new


def difference(weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> tuple[Stored, Tensor]:
    """The whole difference; it has no scale."""
    change = _narrow(generator, *weight.shape)
    return {"diff": change}, weight.double() + change


def _count(sizes: list[int]) -> int:
    return torch.Size(sizes).numel()
