"""GGUF's block formats give the `gguf` package's numbers bit for bit, whole and by rows."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.keys import chunk, rename, swap_halves
from opent2v.base.packed import PackedTensor, PackedWeight, unpacked
from opent2v.loaders import ModelFileError
from opent2v.loaders.gguf_types import BY_CODE
from opent2v.loaders.quantised import gguf_blocks
from opent2v.loaders.quantised.gguf_blocks import GGUFBlocks
from opent2v.loaders.weights import fill
from opent2v.tests.loaders import gguf_files
from opent2v.tests.loaders.gguf_files import Blocks, random_blocks


def weight_of(blocks: Blocks) -> PackedWeight:
    return PackedWeight(GGUFBlocks(BY_CODE[blocks.code]), blocks.shape, {"weight": blocks.stored})


def decoded(blocks: Blocks) -> torch.Tensor:
    """By the package's numpy."""
    gguf = pytest.importorskip("gguf")
    rows = blocks.stored.numpy().reshape(blocks.shape[0], -1)
    return torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType[blocks.code])).reshape(blocks.shape)


@pytest.mark.parametrize("code", gguf_files.PACKED)
def test_every_format_is_the_packages_bit_for_bit(code):
    blocks = random_blocks(code, (6, 512))
    exact = decoded(blocks)
    assert exact.std() > 0.01
    assert torch.equal(weight_of(blocks).dequantise(torch.float32), exact)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(weight_of(blocks).dequantise(dtype), exact.to(dtype))


@pytest.mark.parametrize("code", gguf_files.PACKED)
def test_every_byte_means_the_same(code):
    """Random bytes of scales and numbers, floats of every size: what random blocks of a tame size may not show."""
    kind = BY_CODE[code]
    stored = torch.randint(0, 256, (300, kind.nbytes), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    places, _ = gguf_files.FLOATS[code]
    for place in places:
        stored[:, place + 1] &= 0xBB  # no infinity and no NaN, which do not equal themselves
    blocks = Blocks(code, (300, kind.numbers), stored.flatten())
    assert torch.equal(weight_of(blocks).dequantise(torch.float32), decoded(blocks))


@pytest.mark.parametrize("code", gguf_files.PACKED)
def test_rows_in_any_order(code):
    blocks = random_blocks(code, (6, 256))
    weight = weight_of(blocks)
    exact = weight.dequantise(torch.float32)
    for index in ([0, 1, 2], [5, 0, 3], [2], []):
        rows = weight.rows(torch.tensor(index, dtype=torch.int64))
        assert torch.equal(rows.dequantise(torch.float32), exact[index]) and rows.shape == (len(index), 256)


def test_rows_that_are_no_whole_blocks_cannot_be_taken_apart():
    blocks = random_blocks("Q4_K", (2, 256))
    folded = PackedWeight(GGUFBlocks(BY_CODE["Q4_K"]), (8, 64), {"weight": blocks.stored})
    assert folded.dequantise(torch.float32).shape == (8, 64)
    with pytest.raises(
        ModelFileError, match=r"\[8, 64\] in GGUF Q4_K has blocks that reach from one row .* F16 or BF16"
    ):
        folded.rows(torch.arange(4))


def test_pieces_give_what_the_whole_gives(monkeypatch):
    weight = weight_of(random_blocks("Q6_K", (7, 512)))
    whole = weight.dequantise(torch.float32)
    monkeypatch.setattr(gguf_blocks, "_PIECE", 3 * 256)
    assert torch.equal(weight.dequantise(torch.float32), whole)


def test_a_number_that_a_dtype_cannot_hold():
    stored = random_blocks("Q8_0", (2, 32)).stored.clone()
    stored[:2] = torch.tensor([60000.0]).half().view(torch.uint8)
    weight = weight_of(Blocks("Q8_0", (2, 32), stored))
    assert weight.dequantise(torch.bfloat16).isfinite().all()
    with pytest.raises(OverflowError, match=r"holds .* more than torch\.float16 can"):
        weight.dequantise(torch.float16)


@pytest.mark.parametrize("keeps_packed", [False, True])
@pytest.mark.parametrize("code", ["Q8_0", "Q4_K"])
def test_fused_layers_are_split_and_reordered_by_key_rules(tmp_path, code, keeps_packed):
    stored = {"qkv.weight": random_blocks(code, (24, 256)), "last.weight": random_blocks(code, (4, 256), seed=1)}
    tensors = stored | {"qkv.bias": torch.randn(24), "last.bias": torch.randn(4)}
    path = gguf_files.write(tmp_path / "model.gguf", tensors)
    built = torch.nn.ModuleDict({f"to_{n}": torch.nn.Linear(256, 8) for n in "qkv"})
    built.update({"final": torch.nn.Linear(256, 4)})
    rules = [
        rename("^qkv", *(f"to_{n}" for n in "qkv"), split=chunk(3)),
        rename("^last", "final", split=swap_halves),
    ]
    fill(built, (path,), rules=rules, dtype=torch.float32, keeps_packed=keeps_packed)
    exact = {name: weight_of(blocks).dequantise(torch.float32) for name, blocks in stored.items()}
    for n, rows, bias in zip("qkv", exact["qkv.weight"].chunk(3), tensors["qkv.bias"].chunk(3), strict=True):
        weight = built.get_parameter(f"to_{n}.weight")
        assert isinstance(weight, PackedTensor) == keeps_packed
        assert torch.equal(unpacked(weight, torch.float32), rows) and torch.equal(built[f"to_{n}"].bias, bias)
    first, second = exact["last.weight"].chunk(2)
    assert torch.equal(unpacked(built["final"].weight, torch.float32), torch.cat([second, first]))
