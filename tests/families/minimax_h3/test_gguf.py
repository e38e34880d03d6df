"""GGUF files of MiniMax H3, written by the `gguf` package: known by their names alone, and sampled as their numbers.

Tests: families/minimax_h3/files.py, loaders/containers/gguf.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.loaders import open_file
from opent2v.tests.families.minimax_h3.test_network import SHAPES, entry
from opent2v.tests.loaders import gguf_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import minimax_h3 as tiny

gguf = pytest.importorskip("gguf")
pytest.importorskip("diffusers", "0.40")
HIDDEN = 256  # columns of the largest blocks


def written(path: Path, kind: str, code: str, label: str) -> dict[str, Tensor]:
    """A file of blocks wherever a matrix of the transformer's blocks has whole ones; the numbers that it stands for.

    Args:
        label: `general.architecture`; "" writes no metadata at all, as some converters do.
    """
    writer: Any = gguf.GGUFWriter(path, label)
    if not label:
        writer.kv_data[0].clear()
    of_code, numbers = gguf.GGMLQuantizationType[code], {}
    for place, (name, tensor) in enumerate(tiny.originals(kind, hidden=HIDDEN).items()):
        is_matrix = name.startswith("blocks.") and tensor.ndim == 2 and "adaln" not in name
        if not is_matrix or tensor.shape[1] % gguf.GGML_QUANT_SIZES[of_code][0]:
            numbers[name] = tensor
            writer.add_tensor(name, tensor.contiguous().numpy())
            continue
        if code.endswith("_K"):  # the package packs none of these; any bytes are numbers
            blocks = gguf_files.random_blocks(code, tensor.shape, size=2 * tensor.shape[1] ** -0.5, seed=place)
            rows = blocks.stored.numpy().reshape(len(tensor), -1)
        else:
            rows = gguf.quants.quantize(tensor.contiguous().numpy(), of_code)
        numbers[name] = torch.from_numpy(gguf.dequantize(rows, of_code)).reshape(tensor.shape)
        writer.add_tensor(name, rows, raw_dtype=of_code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


@pytest.fixture
def models(tmp_path):
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    (tmp_path / "diffusion_models").mkdir()
    return tmp_path / "diffusion_models"


def sampled(name: str) -> tuple[Any, str, list[Tensor]]:
    (model, *_), ui = call("OpenT2VLoadDiffusionModel", file=name, dtype="auto")
    conditioning = [[entry()["cross_attn"], {}]]
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    results, _ = call(
        "OpenT2VSampler", model=model, positive=conditioning, negative=conditioning, latent=latent, seed=3, steps=3
    )
    return model, remarks(ui), list(results[0]["samples"].unbind())


@pytest.mark.parametrize("label", ["wan", ""])
@pytest.mark.parametrize(("kind", "code"), [("pruned", "Q8_0"), ("pruned", "Q4_K"), ("full", "Q4_0"), ("full", "Q6_K")])
def test_a_file_is_known_by_its_names_and_sampled_as_its_numbers(models, kind, code, label):
    numbers = written(models / "minimax_h3_fl2va-packed.gguf", kind, code, label)
    tiny.save(models / "minimax_h3_fl2va-plain.safetensors", numbers)
    assert open_file(models / "minimax_h3_fl2va-packed.gguf").part("transformer").variant.family.id == "minimax_h3"
    (model, said, ours), (_, _, exact) = (
        sampled("minimax_h3_fl2va-packed.gguf"),
        sampled("minimax_h3_fl2va-plain.safetensors"),
    )
    assert said.startswith("MiniMax H3") and f"GGUF {code}" in said
    held = [name for name, weight in model.part.transformer.named_parameters() if isinstance(weight, PackedTensor)]
    assert any("to_k" in name for name in held) and any("ff.net.0" in name for name in held)
    for stream, expected in zip(ours, exact, strict=True):
        assert (stream - expected).abs().max() <= 1e-5 < expected.std()
