"""Shapes of the factors of a change: the size and rank of what they make, and whether they go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from ...base.weight_changes import is_old_glora

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
# Roles that are no factors of the product.
_ASIDE = ("alpha", "dora", "rescale", "diff")


def size_of(kind: str, s: Shapes) -> tuple[int, int]:
    """(outputs, inputs times kernel) of the weight that sound factors change; 0 inputs where they do not show them.

    Args:
        kind: as `WeightChange.kind`.
        s: shapes by role.
    """
    if kind == "lora":
        return s["up"][0], s["down"][1] * prod(s["mid"][2:]) if "mid" in s else prod(s["down"][1:])
    if kind == "loha":
        if "t1" in s:
            return s["w1_a"][1], s["w1_b"][1] * prod(s["t1"][2:])
        return s["w1_a"][0], prod(s["w1_b"][1:])
    if kind == "lokr":
        first, second = _halves(s)
        return first[0] * second[0], first[1] * prod(second[1:])
    if kind == "glora":
        _, _, outer, inner = _glora_factors(s)
        return outer[0], prod(inner[1:])
    if kind in ("oft", "boft"):
        return prod(s["blocks"][-3:-1]), 0
    return (s["diff"][0] if s["diff"] else 1), prod(s["diff"][1:])


def rank_of(kind: str, s: Shapes) -> int:
    """The rank of the product of sound factors; 0 where the change is stored whole."""
    if kind == "lora":
        return s["down"][0]
    if kind in ("loha", "lokr"):
        return next((s[role][0] for role in ("w1_b", "w2_b") if role in s), 0)
    if kind == "glora":
        return min(s["a1"][0], s["a1"][1])
    return s["blocks"][-1] if kind in ("oft", "boft") else 0


def are_sound(kind: str, s: Shapes) -> bool:
    """Whether the shapes go together, whatever the weight they are for; any shapes may be asked about."""
    if any(0 in shape for shape in s.values()) or prod(s.get("alpha", ())) != 1:
        return False
    if any(len(shape) < 2 for role, shape in s.items() if role not in _ASIDE):
        return False
    return _SOUND[kind](s)


def fits_magnitudes(dora: Shape, rows: int, columns: int = 0) -> bool:
    """Whether DoRA's norms are one for each output row, or one for each input column (without the kernel)."""
    count = prod(dora)
    return count == columns or (count == rows and (len(dora) == 1 or dora[0] == rows))


def _lora(s: Shapes) -> bool:
    up, down = s["up"], s["down"]
    if "mid" not in s:
        return prod(up[1:]) == down[0]
    return prod(up[1:]) == s["mid"][0] and s["mid"][1] == down[0] and prod(down[2:]) == 1


def _loha(s: Shapes) -> bool:
    if any(len(s[role]) != 2 for role in ("w1_a", "w1_b", "w2_a", "w2_b")) or ("t1" in s) != ("t2" in s):
        return False
    if "t1" not in s:
        products = [(s[f"w{n}_a"][0], s[f"w{n}_b"][1]) for n in (1, 2)]
        return products[0] == products[1] and all(s[f"w{n}_a"][1] == s[f"w{n}_b"][0] for n in (1, 2))
    products = [(s[f"w{n}_a"][1], s[f"w{n}_b"][1], s[f"t{n}"][2:]) for n in (1, 2)]
    cores = all(s[f"t{n}"][:2] == (s[f"w{n}_a"][0], s[f"w{n}_b"][0]) for n in (1, 2))
    return products[0] == products[1] and cores


def _halves(s: Shapes) -> tuple[Shape, Shape]:
    """Shapes of the two factors of a Kronecker product, each stored whole or as a product."""
    first = s["w1"] if "w1" in s else (s["w1_a"][0], s["w1_b"][1])
    if "w2" in s:
        return first, s["w2"]
    if "t2" in s:
        return first, (s["w2_a"][1], s["w2_b"][1], *s["t2"][2:])
    return first, (s["w2_a"][0], prod(s["w2_b"][1:]))


def _lokr(s: Shapes) -> bool:
    if len(s.get("w1", (1, 1))) != 2:
        return False
    if "w1" not in s and (len(s["w1_a"]), len(s["w1_b"]), s["w1_a"][1]) != (2, 2, s["w1_b"][0]):
        return False
    if "w2" in s:
        return True
    if "t2" in s:
        return len(s["w2_a"]) == len(s["w2_b"]) == 2 and s["t2"][:2] == (s["w2_a"][0], s["w2_b"][0])
    return len(s["w2_a"]) == 2 and s["w2_a"][1] == s["w2_b"][0]


def _glora_factors(s: Shapes) -> tuple[Shape, Shape, Shape, Shape]:
    """Shapes of a1 [in, rank], a2 [rank, in], b1 [out, rank], b2 [rank, in], whichever way round they are stored."""
    order = ("a2", "a1", "b2", "b1") if is_old_glora(s["a1"]) else ("a1", "a2", "b1", "b2")
    first, second, outer, inner = (s[role] for role in order)
    return first, second, outer, inner


def _glora(s: Shapes) -> bool:
    first, second, outer, inner = _glora_factors(s)
    turns = prod(first[1:]) == second[0] and first[0] == prod(second[1:])
    return turns and prod(outer[1:]) == inner[0] and inner[1] == first[0]


def _oft(s: Shapes) -> bool:
    blocks = s["blocks"]
    rows = prod(blocks[:2])
    return len(blocks) == 3 and blocks[1] == blocks[2] and prod(s.get("rescale", (rows,))) == rows


def _boft(s: Shapes) -> bool:
    stages, count, size, _ = s["blocks"]
    rows = count * size
    # A stage swaps halves of blocks that lie twice as far apart as those of the stage before.
    swaps = size % 2 == 0 and rows % (2 ** min(stages, 64) * (size // 2)) == 0
    return size == s["blocks"][3] and swaps and prod(s.get("rescale", (rows,))) == rows


_SOUND: dict[str, Callable[[Shapes], bool]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "glora": _glora,
    "oft": _oft,
    "boft": _boft,
    "diff": lambda s: True,
}
