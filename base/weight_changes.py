"""Changes of single weights, to which every LoRA file is converted, and their arithmetic for both hosts.

Source of the arithmetic: the trainers' own merges, LyCORIS 4.1 (Apache-2.0) for LoHa, LoKr, GLoRA, OFT, BOFT and its
tucker forms, peft 0.18 (Apache-2.0) for LoRA and DoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .keys import Rule
from .packed import PackedTensor
from .types import Shapes
from .variant import Variant


@dataclass(frozen=True)
class Target:
    """The weights of a MODEL or CLIP.

    Attributes:
        title: of the model, in the user's words.
        shapes: own name -> shape.
        rules: own names -> the family's (diffusers') names; none where they are the same.
        prefix: what the host puts in front of an own name.
        storage: how its large matrices are stored: "bfloat16", "int4".
        is_merged: changes are merged into the weights; else they are computed beside weights in few bits.
        is_text_encoder: text encoders, each behind its slot ("text_encoder", "text_encoder_2").
        tensor: (own name) -> the numbers of a parameter or buffer; None where there is none.
    """

    title: str
    variant: Variant | None
    shapes: Shapes
    rules: tuple[Rule, ...] = ()
    prefix: str = ""
    storage: str = "float32"
    is_merged: bool = True
    is_text_encoder: bool = False
    tensor: Callable[[str], Tensor | None] = field(default=lambda _: None, repr=False)


@dataclass(frozen=True)
class WeightChange:
    """One change of one weight, or of some of its rows.

    Attributes:
        key: the weight, as the host names it.
        kind: "lora" (up, down, mid), "loha" (w1_a, w1_b, w2_a, w2_b, t1, t2), "lokr" (w1 or w1_a and w1_b, w2 or w2_a
            and w2_b, t2), "glora" (a1, a2, b1, b2), "oft" and "boft" (blocks, rescale), "diff" (diff). With "dora",
            one number for each output row (or input column), the changed weight gets these norms.
        scale: what the low-rank product is multiplied by (alpha / rank); for "oft" and "boft" the constraint, 0 for
            none.
        rows: (first, count) of the weight's rows; None: all.
        pick: which rows of the whole change go there, in order; None: all. Only of kinds whose factors have no rows.
    """

    key: str
    kind: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    scale: float = 1.0
    rows: tuple[int, int] | None = None
    pick: Tensor | None = field(default=None, repr=False)


def storage_of(weights: Iterable[Tensor]) -> tuple[str, bool]:
    """(how the large matrices are stored, in the user's words; whether changes are merged into them).

    What is in few bits counts wherever there is any, since small layers are never stored so.
    """
    sizes: dict[tuple[str, bool], int] = {}
    for weight in sorted(weights, key=Tensor.numel):
        is_packed = isinstance(weight, PackedTensor)
        name = weight.packed.format.name if is_packed else str(weight.dtype).removeprefix("torch.")
        sizes[name, not is_packed and weight.dtype.itemsize > 1] = weight.numel()
    in_few_bits = [storage for storage in sizes if not storage[1]]
    return in_few_bits[0] if in_few_bits else max(sizes, key=lambda storage: sizes[storage], default=("float32", True))


def apply_change(weight: Tensor, patch: WeightChange, strength: float) -> Tensor:
    """The changed weight, a new tensor like it.

    Args:
        weight: in the dtype to compute in, the change is computed in float32.
        strength: 0 leaves the weight as it is, 1 is the whole change.
    """
    part = weight if patch.rows is None else weight.narrow(0, *patch.rows)
    change = _change(part.float(), patch)
    new = (part.float() + strength * change.reshape(part.shape)).to(weight.dtype)
    if patch.rows is None:
        return new
    whole = weight.clone()
    whole.narrow(0, *patch.rows).copy_(new)
    return whole


def _change(weight: Tensor, patch: WeightChange) -> Tensor:
    """The difference that strength 1 adds to a float32 weight, in any shape of the same size."""
    tensors = {role: tensor.to(weight.device, torch.float32) for role, tensor in patch.tensors.items()}
    change = _KINDS[patch.kind](weight, tensors, patch.scale)
    if patch.pick is not None:
        change = change.reshape(-1, weight[0].numel())[patch.pick.to(change.device)]
    if "dora" not in tensors:
        return change
    merged = weight + change.reshape(weight.shape)
    return merged * _magnitudes(tensors["dora"], merged) - weight


def norm_of(change: WeightChange) -> tuple[float, int] | None:
    """(Frobenius norm of the difference at strength 1, numbers that it has), without the weight.

    The products of low-rank factors are not multiplied out: their norm is that of the factors' Gram matrices.
    None: of a kind that depends on the weight (GLoRA, OFT, BOFT, DoRA), or of picked rows.
    """
    t = {role: tensor.float() for role, tensor in change.tensors.items()}
    if "dora" in t or change.pick is not None:
        return None
    if change.kind == "lora" and "mid" not in t:
        left, right = t["up"].flatten(1), t["down"].flatten(1)
    elif change.kind == "loha" and "t1" not in t:
        # Row by row, the product of every pair of columns: an elementwise product of matrices is one of these.
        left = torch.einsum("ir,is->irs", t["w1_a"], t["w2_a"]).flatten(1)
        right = torch.einsum("rj,sj->rsj", t["w1_b"], t["w2_b"]).flatten(0, 1)
    elif change.kind in ("lora", "loha", "lokr", "diff"):
        product = _KINDS[change.kind](torch.empty(0), t, change.scale)
        return product.norm().item(), product.numel()
    else:
        return None
    square = ((left.T @ left) * (right @ right.T)).sum().clamp_min(0)
    return abs(change.scale) * square.sqrt().item(), left.shape[0] * right.shape[1]


def _magnitudes(dora: Tensor, merged: Tensor) -> Tensor:
    """Factors that scale the merged weight to DoRA's norms, along its outputs or its inputs.

    The norms are those of the merged weight (peft's tuners/lora/dora.py, LyCORIS' apply_weight_decompose).
    """
    others = [1] * (merged.ndim - 2)
    if dora.numel() == merged.shape[0] and (dora.ndim == 1 or dora.shape[0] == merged.shape[0]):
        norm = merged.flatten(1).norm(dim=1).view(-1, 1, *others)
    else:
        norm = merged.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *others)
    return dora.reshape(norm.shape) / norm.clamp_min(torch.finfo(torch.float32).eps)


def _lora(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    if "mid" in t:
        return scale * torch.einsum("mn...,im,nj->ij...", t["mid"], t["up"].flatten(1), t["down"].flatten(1))
    return scale * (t["up"].flatten(1) @ t["down"].flatten(1))


def _loha(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    if "t1" in t:
        first = torch.einsum("ij...,jr,ip->pr...", t["t1"], t["w1_b"], t["w1_a"])
        second = torch.einsum("ij...,jr,ip->pr...", t["t2"], t["w2_b"], t["w2_a"])
        return scale * first * second
    return scale * (t["w1_a"] @ t["w1_b"]) * (t["w2_a"] @ t["w2_b"])


def _lokr(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    first = t["w1"] if "w1" in t else t["w1_a"] @ t["w1_b"]
    if "w2" in t:
        second = t["w2"]
    elif "t2" in t:
        second = torch.einsum("ij...,jr,ip->pr...", t["t2"], t["w2_b"], t["w2_a"])
    else:
        second = t["w2_a"] @ t["w2_b"].flatten(1)
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    return scale * torch.kron(first, second)


def _glora(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    a1, a2, b1, b2 = (t[role].flatten(1) for role in ("a1", "a2", "b1", "b2"))
    if is_old_glora(tuple(a1.shape)):
        a1, a2, b1, b2 = a2, a1, b2, b1
    # The first product acts on the weight's inputs, which are its second axis.
    product = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    return scale * (product + (b1 @ b2).reshape(weight.shape))


def is_old_glora(a1: tuple[int, ...]) -> bool:
    """Whether the factors are stored the other way round, as in LyCORIS before 2.0: a1 is [rank, in]."""
    return a1[0] < a1[1]


def _oft(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    count, size, _ = t["blocks"].shape
    rows = weight.reshape(count, size, -1)
    turned = torch.einsum("knm,kn...->km...", _rotation(t["blocks"], scale), rows).reshape(weight.shape)
    return _rescaled(turned, t) - weight


def _boft(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    stages, _, size, _ = t["blocks"].shape
    rotation, turned = _rotation(t["blocks"], scale), weight.flatten(1)
    for n in range(stages):
        # Butterfly: the rows that a stage rotates together lie twice as far apart as those of the stage before.
        step = 2**n * (size // 2)
        turned = turned.unflatten(0, (-1, 2, step)).transpose(1, 2).flatten(0, 2).unflatten(0, (-1, size))
        turned = torch.einsum("bij,bj...->bi...", rotation[n], turned)
        turned = turned.flatten(0, 1).unflatten(0, (-1, step, 2)).transpose(1, 2).flatten(0, 2)
    return _rescaled(turned.reshape(weight.shape), t) - weight


def _rotation(blocks: Tensor, constraint: float) -> Tensor:
    """Cayley's orthogonal matrix (I + Q)(I - Q)^-1 of each block's skew part Q."""
    identity, skew = torch.eye(blocks.shape[-1], device=blocks.device), blocks - blocks.transpose(-1, -2)
    if constraint > 0:
        skew = skew * (constraint / (skew.norm() + 1e-8)).clamp(max=1)
    return (identity + skew) @ torch.linalg.inv(identity - skew)


def _rescaled(turned: Tensor, t: Mapping[str, Tensor]) -> Tensor:
    return turned * t["rescale"].reshape(-1, *[1] * (turned.ndim - 1)) if "rescale" in t else turned


def _diff(weight: Tensor, t: Mapping[str, Tensor], scale: float) -> Tensor:
    return scale * t["diff"]


_KINDS: dict[str, Callable[[Tensor, Mapping[str, Tensor], float], Tensor]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "glora": _glora,
    "oft": _oft,
    "boft": _boft,
    "diff": _diff,
}
