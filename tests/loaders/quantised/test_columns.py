"""Layers that key rules put side by side stay packed where no number changes, and are multiplied out elsewhere."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.keys import rename
from opent2v.base.packed import PackedTensor, unpacked
from opent2v.loaders.weights import fill
from opent2v.tests.tiny import packed
from opent2v.tests.tiny.packed_numbers import places

ROWS, COLUMNS, CUT = 64, 512, 256
KINDS = packed.kinds()
# Numbers that share a swizzled scale.
SWIZZLED = {"nvfp4": 16, "nvfp4_awq": 16, "mxfp8": 32}


def drawn(columns):
    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(columns))


def cut(parts, kind):
    """The stored tensors of the first and of the last columns of a packed matrix [64, 512]."""
    halves = [dict(parts), dict(parts)]
    for role, tensor in parts.items():
        axis = {"weight": 1, "weight_s_rel": 1, "pre_quant_scale": 0}.get(role)
        if kind == "awq_w4a16" and role != "weight":
            axis = 0
        stored = tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
        if role == "weight_scale" and kind in SWIZZLED:
            plain = stored.view(-1)[places(ROWS, COLUMNS // SWIZZLED[kind])]
            pieces = [packed.swizzled(piece) for piece in plain.chunk(2, 1)]
        else:
            pieces = [stored, stored] if axis is None else stored.chunk(2, axis)
        for half, piece in zip(halves, pieces, strict=True):
            half[role] = piece.contiguous().view(tensor.dtype)
    return halves


def same(one, other):
    return torch.equal(*(tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor for tensor in (one, other)))


def joined(path, halves, kinds):
    stored = {}
    for name, parts, kind in zip("ab", halves, kinds, strict=True):
        stored |= {f"{name}.{role}": part.clone().contiguous() for role, part in parts.items()}
        layout, settings = packed.KINDS[kind][0], packed.settings_of(kind, CUT)
        stored[f"{name}.comfy_quant"] = packed.mark({"format": layout, **settings})
    save_file(stored, path)
    module = torch.nn.ModuleDict({"both": torch.nn.Linear(COLUMNS, ROWS, bias=False)})
    rules = [rename("^a", "both", place=0), rename("^b", "both", place=1)]
    return fill(module, (path,), rules=rules, dtype=torch.float32, keeps_packed=True)["both"].weight


@pytest.mark.parametrize("kind", KINDS)
def test_halves_of_a_layer_are_the_layer_again(tmp_path, kind):
    parts = packed.pack(drawn(COLUMNS), kind)
    weight = joined(tmp_path / "a.safetensors", cut(parts, kind), (kind, kind))
    assert isinstance(weight, PackedTensor)
    assert all(same(weight.packed.tensors[role], tensor) for role, tensor in parts.items())


@pytest.mark.parametrize("kinds", [*((kind, kind) for kind in KINDS), ("int8", "nvfp4")])
def test_layers_of_their_own_scales_keep_their_numbers(tmp_path, kinds):
    first, last = drawn(COLUMNS).chunk(2, 1)
    halves = [packed.pack(matrix, kind) for matrix, kind in zip((first, 3 * last), kinds, strict=True)]
    weight = joined(tmp_path / "a.safetensors", halves, kinds)
    exact = torch.cat([packed.numbers(half, kind) for half, kind in zip(halves, kinds, strict=True)], 1)
    assert isinstance(weight, PackedTensor) == (kinds[0] in ("mxfp8", "awq_w4a16"))
    assert (unpacked(weight, torch.float32) - exact).abs().max() <= 1e-6 * exact.abs().max()
