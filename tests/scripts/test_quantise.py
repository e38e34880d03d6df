"""Models packed by the script load as what they were made from, within the format's error; nothing half-written stays.

Tests: scripts/quantise.py, scripts/quantise_files.py
"""

from __future__ import annotations

import argparse

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor, unpacked
from opent2v.loaders import load_model, open_container, open_file
from opent2v.loaders.quantised import split_header
from opent2v.tests.loaders import gguf_files, text_files
from opent2v.tests.tiny import gguf_models

# Format -> (the name that the loaders give it, the largest relative error of random weights).
GGUF = {
    "gguf:Q8_0": ("GGUF Q8_0", 0.007), "gguf:Q5_1": ("GGUF Q5_1", 0.05), "gguf:Q5_0": ("GGUF Q5_0", 0.06),
    "gguf:Q4_1": ("GGUF Q4_1", 0.1), "gguf:Q4_0": ("GGUF Q4_0", 0.12),
    "gguf:Q6_K": ("GGUF Q6_K", 0.022), "gguf:Q5_K": ("GGUF Q5_K", 0.042), "gguf:Q4_K": ("GGUF Q4_K", 0.085),
}  # fmt: skip
KITCHEN = {
    "fp8_scaled": ("scaled fp8", 0.04), "int8": ("int8", 0.012), "int8_convrot": ("int8 convrot", 0.012),
    "mxfp8": ("mxfp8", 0.04), "nvfp4": ("nvfp4", 0.13), "convrot_w4a4": ("w4a4 convrot", 0.2), "w4a8": ("w4a8", 0.13),
}  # fmt: skip


@pytest.fixture
def script():
    import quantise

    return quantise


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "wan.safetensors"
    state = {name: tensor.bfloat16() for name, tensor in gguf_models.state("wan").items()}
    save_file(state, path, metadata={"made by": "hand"})
    return path


def needs(name: str) -> None:
    pytest.importorskip("gguf" if name.startswith("gguf") else "comfy_kitchen")


@pytest.mark.parametrize("name", [*GGUF, *KITCHEN])
def test_a_packed_model_loads_as_what_it_was(tmp_path, script, source, name):
    needs(name)
    kind, error = (GGUF | KITCHEN)[name]
    target = script.default_target(source, name)
    layers, left = script.quantise(source, target, name)
    assert (len(layers), left) == (10, 0) and all(error / 20 < off < error for _, _, off in layers), layers
    file = open_file(target)
    assert file.quantisation.kind == kind and set(file.quantisation.layers) == {layer for layer, *_ in layers}
    packed = load_model(file, torch.float32, keeps_packed=True).transformer
    plain = load_model(open_file(source), torch.float32).transformer
    weights = dict(plain.named_parameters())
    held = {n for n, weight in packed.named_parameters() if isinstance(weight, PackedTensor)}
    for n, weight in packed.named_parameters():
        off = (unpacked(weight, torch.float32) - weights[n]).norm() / weights[n].norm()
        assert off < error if n in held or name == "fp8_scaled" else off == 0, n
    assert len(held) == 10 or not file.quantisation.stays_packed
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("family", gguf_models.FAMILIES)
def test_every_familys_blocks_are_packed_and_its_kernels_folded(tmp_path, script, family):
    pytest.importorskip("gguf")
    source = tmp_path / "model.safetensors"
    save_file(gguf_models.state(family), source)
    layers, left = script.quantise(source, tmp_path / "model.gguf", "gguf:Q8_0")
    inner = [
        n for n, t in gguf_models.state(family).items() if t.ndim == 2 and "blocks." in n and "modulation" not in n
    ]
    assert {layer for layer, *_ in layers} == {n for n in inner if n.endswith(".weight")} and left == 0
    file = open_container(tmp_path / "model.gguf")
    assert file.metadata["general.architecture"] == {"wan": "wan", "ltx_video": "ltxv"}.get(family, "hyvid")
    assert {name: info.shape for name, info in file.header.items()} == {
        name: tuple(tensor.shape) for name, tensor in gguf_models.state(family).items()
    }
    with file.tensors() as read:
        for name, tensor in gguf_models.state(family).items():
            if name not in inner:
                assert torch.equal(read(name).reshape(tensor.shape), tensor), name
    assert load_model(open_file(tmp_path / "model.gguf"), torch.float32, keeps_packed=True).variant.family.id == family


def test_the_package_reads_the_file(tmp_path, script, source):
    gguf = pytest.importorskip("gguf")
    script.quantise(source, tmp_path / "model.gguf", "gguf:Q4_0")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blocks.0.ffn.0.weight"] == "Q4_0" and kinds["patch_embedding.weight"] == "BF16"


def test_a_text_encoder_keeps_its_tokenizer(tmp_path, script):
    pytest.importorskip("gguf")
    from opent2v.loaders import load_text, open_text_file
    from opent2v.tests.loaders.test_text_file import no_tokenizer, variant

    module = text_files.t5(True, 32)
    source = text_files.save(tmp_path / "t5.safetensors", text_files.once(module.state_dict()), carries_tokenizer=True)
    layers, left = script.quantise(source, tmp_path / "t5.gguf", "gguf:Q8_0")
    assert (len(layers), left) == (2 * 6, 2) and all("relative" not in layer for layer, *_ in layers)
    part = load_text([open_text_file(tmp_path / "t5.gguf")], variant(width=32), torch.float32, no_tokenizer)
    assert part.tokens("a red")[0]["text_encoder"][-1] == 1


@pytest.mark.parametrize("name", ["gguf:Q8_0", "int8_convrot"])
def test_the_command(script, source, capsys, monkeypatch, name):
    needs(name)
    monkeypatch.setattr("sys.argv", ["quantise.py", str(source), "--format", name.upper()])
    monkeypatch.setattr(script.environment, "ensure", lambda extra: None)
    monkeypatch.setattr(script.pack, "hide_scripts", lambda: None)
    assert script.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "size", "error"] and len(lines) == 1 + 10 + 2
    assert lines[1].startswith("blocks.0.cross_attn.k.weight") and "256 x 256   0." in lines[1]
    assert lines[-2].startswith("mean 0.") and f"10 layers as {name}, " in lines[-1]


def test_matrices_that_the_format_cannot_have_are_counted(tmp_path, script, capsys, monkeypatch):
    pytest.importorskip("comfy_kitchen")
    source = tmp_path / "model.safetensors"
    save_file(
        {f"blocks.0.{name}.weight": torch.randn(64, width) for name, width in zip("qk", (256, 192), strict=True)},
        source,
    )
    monkeypatch.setattr("sys.argv", ["quantise.py", str(source), "--format", "int8_convrot"])
    monkeypatch.setattr(script.environment, "ensure", lambda extra: None)
    monkeypatch.setattr(script.pack, "hide_scripts", lambda: None)
    assert script.main() == 0
    said = capsys.readouterr().out
    assert "\n1 of the blocks' matrices stay as they are: their rows are no multiple of 256\n" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gguf:Q4_K_M", r"Q4_K_M is not packed here\. Write gguf:Q8_0, gguf:Q6_K or gguf:Q4_K, .* llama-quantize"),
        ("gguf:Q3_K", "Q3_K is not packed here"),
        ("gguf:IQ4_XS", "IQ4_XS is not packed here"),
        ("int3", "'int3' is none of fp8_scaled, int8, int8_convrot"),
    ],
)
def test_formats_that_nothing_here_packs(script, text, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        script.format_name(text)


def refusal(script, source, target, name="gguf:Q8_0") -> str:
    with pytest.raises(SystemExit) as error:
        script.quantise(source, target, name)
    assert not target.exists() or target.read_bytes() == b"mine"
    return str(error.value)


def test_nothing_is_overwritten(tmp_path, script, source):
    (tmp_path / "out.gguf").write_bytes(b"mine")
    assert "exists already" in refusal(script, source, tmp_path / "out.gguf")


def test_an_ending_of_another_format(tmp_path, script, source):
    assert "the name of a file in gguf:Q8_0 ends in .gguf" in refusal(script, source, tmp_path / "out.safetensors")
    assert "ends in .safetensors" in refusal(script, source, tmp_path / "out.gguf", "int8")


def test_a_file_that_is_packed_already(tmp_path, script):
    stored, _ = gguf_models.packed("wan", "Q5_0", lambda blocks: torch.zeros(1))
    source = gguf_files.write(tmp_path / "packed.gguf", stored)
    assert "is stored as GGUF Q5_0 already" in refusal(script, source, tmp_path / "out.gguf")


def test_a_file_without_blocks(tmp_path, script):
    save_file({"decoder.conv_in.weight": torch.zeros(64, 64, 3, 3)}, tmp_path / "vae.safetensors")
    assert "has no matrix in a block" in refusal(script, tmp_path / "vae.safetensors", tmp_path / "out.gguf")


@pytest.mark.parametrize("name", ["gguf:Q8_0", "int8"])
def test_a_run_that_breaks_leaves_nothing(tmp_path, script, source, monkeypatch, name):
    needs(name)

    def broken(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(script, "compared", broken)
    with pytest.raises(OSError, match="no space left"):
        script.quantise(source, script.default_target(source, name), name)
    assert [path.name for path in tmp_path.iterdir()] == ["wan.safetensors"]


def test_numbers_that_gguf_does_not_have(tmp_path, script):
    pytest.importorskip("gguf")
    source = tmp_path / "odd.safetensors"
    save_file(gguf_models.state("wan") | {"flags": torch.ones(3, dtype=torch.bool)}, source)
    assert "holds flags as BOOL, which GGUF has no type for" in refusal(script, source, tmp_path / "out.gguf")


def test_memory_holds_a_layer_and_not_the_model(tmp_path, script, source, monkeypatch):
    """Each tensor is written before the next is read."""
    pytest.importorskip("comfy_kitchen")
    import quantise_files

    sizes, target = [], tmp_path / "out.safetensors"
    pack = quantise_files.packed

    def seen(weight, packing):
        sizes.append((tmp_path / ".out.safetensors.part").stat().st_size)
        return pack(weight, packing)

    monkeypatch.setattr(quantise_files, "packed", seen)
    script.quantise(source, target, "int8")
    assert sizes == sorted(sizes) and sizes[-1] > target.stat().st_size / 4
    assert (
        split_header(open_container(target))[1].kind == "int8" and open_container(target).metadata["made by"] == "hand"
    )
