"""All published files of MiniMax H3, by their headers at full size: what they are, what goes with what, how large.

Tests: families/minimax_h3/files.py, families/minimax_h3/versions.py, nodes/doctor.py
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from opent2v.base import Recognised
from opent2v.families import families
from opent2v.loaders import open_file, open_text_files, tensor_bytes
from opent2v.loaders.text_file import match_text
from opent2v.loaders.weights import build, extension
from opent2v.nodes.doctor import report
from opent2v.tests.families.minimax_h3 import published

pytest.importorskip("diffusers", "0.40")
# What the repository's pages say of their sizes, in units of 10^9 bytes.
SIZES = {
    "minimax_h3_fl2va_bf16": 66.3, "minimax_h3_fl2va_int8_convrot": 34.0, "minimax_h3_fl2va_pruned_bf16": 40.2,
    "minimax_h3_fl2va_pruned_int8_convrot": 21.0, "minimax_h3_fl2va_pruned_fp8_scaled": 21.0,
    "qwen3vl_32b_minimax_h3_bf16": 51.5, "minimax_h3_video_vae_fp16": 5.21, "minimax_h3_video_vae_int8_convrot": 3.17,
    "minimax_h3_audio_vae_fp32": 0.605,
}  # fmt: skip
TRANSFORMERS = [
    (task, is_pruned, storage)
    for task in ("fl2va", "ref2va")
    for is_pruned in (False, True)
    for storage in ("bf16", "int8_convrot", "fp8_scaled")
]


@cache
def all_files() -> dict[str, published.HeaderOnly]:
    files = [published.transformer(*which) for which in TRANSFORMERS]
    files += [published.encoder(storage) for storage in ("bf16", "int8_convrot", "nvfp4_awq")]
    files += [published.video_vae(storage) for storage in ("fp16", "int8_convrot")]
    return {file.path.stem: file for file in [*files, published.sound_vae()]}


@pytest.fixture
def files(monkeypatch):
    """Files by their names; every loader reads these headers in their place."""
    headers = all_files()
    for room in ("loaders.single", "loaders.text_file", "loaders.lora.file", "nodes.doctor"):
        monkeypatch.setattr(f"opent2v.{room}.open_container", lambda path: headers[Path(path).stem])
    return headers


def test_every_file_is_recognised_and_sized(files):
    for name, size in SIZES.items():
        assert tensor_bytes(files[name].header) / 1e9 == pytest.approx(size, rel=0.01), name
    assert len(files) == 18 and len(files["minimax_h3_fl2va_pruned_int8_convrot"].header) == 932
    for task, is_pruned, storage in TRANSFORMERS:
        name = f"minimax_h3_{task}{'_pruned' if is_pruned else ''}_{storage}"
        file = open_file(files[name].path)
        (part,) = file.parts.values()
        assert (part.part, part.layout, part.variant.family.id) == ("transformer", "original", "minimax_h3")
        words = [*(["references"] if task == "ref2va" else []), *(["pruned"] if is_pruned else [])]
        assert part.variant.title == " ".join(["MiniMax H3", *words])
        assert part.variant.facts["table_rows"] == (1025 if is_pruned else 0)
        assert part.config["num_layers"] == 50 and part.config["num_refiner_layers"] == 2
        layers = 0 if storage == "bf16" else 200 if is_pruned else 250
        assert len(file.quantisation.layers) == layers and file.quantisation.stays_packed == bool(layers)
        shapes = {stored: info.shape for stored, info in file.header.items()}
        taken = [f.id for f in families().values() if isinstance(_recognised(f, shapes, name), Recognised)]
        assert taken == ["minimax_h3"]


def _recognised(family, shapes, name):
    try:
        return family.recognise(shapes, f"{name}.safetensors")
    except Exception as error:  # a refusal is no recognition
        return error


def test_parts_go_together_by_the_names_that_the_models_give(files):
    model = open_file(files["minimax_h3_fl2va_pruned_int8_convrot"].path).part("transformer").variant
    for storage in ("bf16", "int8_convrot", "nvfp4_awq"):
        encoders = open_text_files(files[f"qwen3vl_32b_minimax_h3_{storage}"].path)
        assert set(match_text(encoders, model)) == {"text_encoder", "vision"}
        packed = encoders[0].quantisation.layers
        assert len(packed) == (0 if storage == "bf16" else 350)
    for name, part in (
        ("minimax_h3_video_vae_fp16", "vae"), ("minimax_h3_video_vae_int8_convrot", "vae"),
        ("minimax_h3_audio_vae_fp32", "audio_vae"),
    ):  # fmt: skip
        file = open_file(files[name].path)
        assert list(file.parts) == [part] and file.part(part).variant.geometry == model.geometry
    for line in model.pairs.values():
        named = re.findall(r"\b(?:qwen|minimax)\w+(?=\.safetensors)", line)
        assert named and set(named) <= set(files), line


def test_the_doctor_says_of_each_what_it_is_and_what_memory_it_takes(files):
    for name, file in files.items():
        lines = report(file.path)
        assert f"{len(file.header)} tensors" in lines[0], name
        if "l2va" in name or "ref2va" in name:
            said = "\n".join(lines)
            assert "MiniMax H3" in lines[1] and "gives no rights in the EU, the UK, South Korea and the USA" in said
            assert "of weights as stored" in lines[-1] and "1344 x 768 with 124 frames" in lines[-1]
            assert any(line.startswith("Goes with, in models/vae: minimax_h3_video_vae_fp16") for line in lines)
        else:
            assert any("Qwen3-VL" in line or "MiniMax H3" in line for line in lines[1:]), lines


@pytest.mark.parametrize("is_pruned", [False, True])
def test_the_librarys_class_has_these_very_tensors(files, is_pruned):
    name = f"minimax_h3_ref2va{'_pruned' if is_pruned else ''}_bf16"
    part = open_file(files[name].path).part("transformer")
    module = build(part.class_name, part.config, extension(part.variant))
    stated = part.variant.family.recognition.tensors(part.variant, part.config)
    assert {key: tuple(weight.shape) for key, weight in module.named_parameters()} == dict(stated)
    count = sum(weight.numel() for weight in module.parameters())
    assert count / 1e9 == pytest.approx(20.1 if is_pruned else 33.1, abs=0.1)
    assert all(weight.device == torch.device("meta") for weight in module.parameters())
