"""The file doctor tells what a file is, in words, and never fails on one it cannot use."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes.doctor import report
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import mochi as tiny_mochi


def put(tmp_path, folder, name, tensors, **options):
    path = tmp_path / "models" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return text_files.save(path, tensors, **options)


def test_a_transformer(tmp_path):
    path = put(tmp_path, "diffusion_models", "any.safetensors", tiny_mochi.transformer().state_dict())
    lines = report(path)
    assert lines[0].startswith("any.safetensors: ") and "F32" in lines[0] and lines[0].endswith("0.1 MiB")
    assert lines[1:4] == [
        "Mochi 1 transformer, diffusers layout",
        "Belongs in models/diffusion_models, where it is",
        "Goes with, in models/text_encoders: t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn_scaled.safetensors",
    ]
    assert lines[4] == "Goes with, in models/vae: mochi_vae.safetensors"
    assert lines[5].startswith("Memory: 0.1 MiB of weights as stored, and about ")
    assert lines[5].endswith("more while sampling 848 x 480 with 19 frames in bf16")


def test_a_file_in_the_wrong_folder(tmp_path):
    path = put(tmp_path, "vae", "any.safetensors", tiny_mochi.transformer().state_dict())
    assert "Belongs in models/diffusion_models; it lies in vae" in report(path)


@pytest.mark.parametrize("carries", [True, False])
def test_a_text_encoder(tmp_path, carries):
    tensors = text_files.once(text_files.t5(True).state_dict())
    path = put(tmp_path, "text_encoders", "te.safetensors", tensors, carries_tokenizer=carries)
    kind = "with its tokenizer" if carries else "without a tokenizer"
    assert report(path)[1:] == [
        f"Text encoder UMT5 (16 wide), {kind}",
        "Belongs in models/text_encoders, where it is",
    ]


def test_what_cannot_be_used_is_explained(tmp_path):
    path = put(tmp_path, "loras", "l.safetensors", {"x.lora_A.weight": torch.zeros(2, 2)})
    lines = report(path)
    assert "no family recognises this file" in lines[1]
    assert lines[-1] == "It looks like a LoRA; it belongs in models/loras."
    (tmp_path / "page.safetensors").write_text("<html>")
    assert report(tmp_path / "page.safetensors")[0].endswith("download the file again.")
    half = {"blocks.2.blocks.3.stack.5.weight": torch.zeros(1)}
    path = put(tmp_path, "vae", "half.safetensors", half)
    assert report(path)[1].startswith("This is the decoder of Mochi's VAE alone.")


def test_the_node_shows_the_report(tmp_path):
    put(tmp_path, "diffusion_models", "any.safetensors", tiny_mochi.transformer().state_dict())
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (text, _), ui = call("OpenT2VInspectFile", file="any.safetensors")
    assert text.splitlines() == report(tmp_path / "models" / "diffusion_models" / "any.safetensors")
    assert remarks(ui) == text
