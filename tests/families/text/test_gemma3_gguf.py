"""Gemma 3 from a GGUF file in llama.cpp's names, whose norms are stored with 1 added.

Tests: families/text/gemma3.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.loaders import load_text, open_text_files
from opent2v.tests.families.text.test_gemma4 import llama_cpp
from opent2v.tests.loaders import gguf_files, text_files
from opent2v.tests.loaders.gguf_files import random_blocks
from opent2v.tests.tiny import ltx2 as tiny

VARIANT = tiny.variant_of("2.3")[1]


@pytest.mark.parametrize("code", ["F32", "Q8_0", "Q4_0"])
def test_gguf_in_llama_cpps_names(tmp_path, code):
    gguf = pytest.importorskip("gguf")
    stored, exact = {}, {}
    for name, tensor in tiny.gemma().items():
        if name == "spiece_model":
            exact[name] = tensor
            continue
        stored[llama_cpp(name)] = tensor + 1 if "norm" in name else tensor
        exact[name] = tensor
        if code != "F32" and tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            blocks = random_blocks(code, tuple(tensor.shape), size=0.2, seed=len(stored))
            rows = blocks.stored.numpy().reshape(len(tensor), -1)
            stored[llama_cpp(name)] = blocks
            exact[name] = torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType[code]))
    assert not [name for name in stored if "layers" in name]
    gguf_files.write(tmp_path / "gemma.gguf", stored, {"general.architecture": "gemma3"})
    save_file(exact, tmp_path / "plain.safetensors")
    save_file(tiny.projection("2.3"), tmp_path / "projection.safetensors")
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "spiece.model").write_bytes(text_files.spiece())

    def encoded(name):
        files = [f for path in (name, "projection.safetensors") for f in open_text_files(tmp_path / path)]
        clip = embedded.clip(load_text(files, VARIANT, torch.float32, lambda *_: folder))
        ((context, _),) = embedded.embed(clip, "a red circle moves to the right")
        return context, clip.part.encoders["text_encoder"]

    (small, encoder), (whole, _) = encoded("gemma.gguf"), encoded("plain.safetensors")
    held = [weight for weight in encoder.parameters() if isinstance(weight, PackedTensor)]
    assert (len(held) > 10) is (code != "F32")
    assert whole.std() > 0.01 and (small - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_the_gemma_of_a_file_is_named(tmp_path):
    def described(**changes):
        tensors = {llama_cpp(name): tensor for name, tensor in tiny.gemma().items() if name != "spiece_model"}
        gguf_files.write(tmp_path / "gemma.gguf", tensors | changes)
        (file,) = open_text_files(tmp_path / "gemma.gguf")
        return file.layout.title

    assert described().startswith("Gemma 3 (")
    assert described(**{"output.weight": torch.zeros(64, 32)}).startswith("Gemma 3 (")
