"""Gemma 4 in files: with LTX-2.5's projection beside it, in few bits, in llama.cpp's names.

Tests: families/text/gemma4.py, loaders/tokenizers.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_text, open_text_files
from opent2v.tests.loaders import gguf_files
from opent2v.tests.loaders.gguf_files import random_blocks
from opent2v.tests.tiny import ltx2 as tiny
from opent2v.tests.tiny import packed

PROMPT = "a red circle moves to the right"
VARIANT = tiny.variant_of("2.5")[1]
# The names of transformers -> llama.cpp's; whole segments, layers are counted in both.
LLAMA_CPP = {
    "model.layers.": "blk.", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "layer_scalar": "layer_output_scale.weight",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm",
}  # fmt: skip


def no_folder(*_):
    return None


def read(*paths, find=no_folder, prompt=PROMPT):
    """(CONDITIONING of a prompt, the encoder) from files."""
    files = [file for path in paths for file in open_text_files(path)]
    clip = embedded.clip(load_text(files, VARIANT, torch.float32, find))
    ((context, entries),) = embedded.embed(clip, prompt)
    assert entries["unprocessed_ltxav_embeds"] is True
    return context, clip.part.encoders["text_encoder_gemma4"]


def weights_only():
    return {name: tensor for name, tensor in tiny.gemma4().items() if name.startswith("model.")}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("gemma4") / "gemma4-12b-with-proj.safetensors"
    save_file(tiny.gemma4(), path)
    return path


def test_one_file_holds_the_encoder_and_the_projection(published):
    gemma, projection = open_text_files(published)
    assert gemma.layout.title == "Gemma 4 (64 wide)" and gemma.carries_tokenizer and gemma.tokenizer == "tokenizer_json"
    assert projection.layout.title == "LTX-2's text projection" and not projection.carries_tokenizer
    inside = {name for name in tiny.gemma4() if name.startswith("text_embedding_projection")}
    assert set(projection.weights) == inside and set(gemma.weights) == set(weights_only())


def test_the_tokenizer_in_the_file_reads_the_prompt(published):
    from tokenizers import Tokenizer

    files = open_text_files(published)
    part = load_text(files, VARIANT, torch.float32, no_folder)
    ids = part.tokens(PROMPT)[0]["text_encoder_gemma4"]
    reference = Tokenizer.from_str(tiny.tokenizer_json().decode())
    assert ids == [2, *reference.encode(PROMPT, add_special_tokens=False).ids] and len(ids) > 5
    assert part.tokens("")[0]["text_encoder_gemma4"] == [2]
    long, whole = part.tokens(" ".join([PROMPT] * 200))
    assert len(long["text_encoder_gemma4"]) == 1024 < whole


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe"])
def test_a_damaged_tokenizer_is_refused(tmp_path, text):
    raw = torch.tensor(list(text), dtype=torch.uint8)
    save_file(tiny.gemma4() | {"tokenizer_json": raw}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"its tokenizer \(tokenizer_json\) cannot be read"):
        read(tmp_path / "x.safetensors")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    few = tiny.gemma4() | {"model.embed_tokens.weight": tiny.gemma4()["model.embed_tokens.weight"][:20].clone()}
    save_file(few, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"its tokenizer \(tokenizer_json\) has .* words"):
        read(tmp_path / "x.safetensors")


def test_without_the_projection_it_says_what_is_missing(tmp_path):
    bare = {name: tensor for name, tensor in tiny.gemma4().items() if "projection." not in name or "multi" in name}
    save_file(bare, tmp_path / "gemma.safetensors")
    with pytest.raises(ModelFileError, match=r"reads 2 text encoders and found Gemma 4 \(64 wide\) only\. Choose"):
        read(tmp_path / "gemma.safetensors")
    save_file(tiny.projection("2.5"), tmp_path / "projection.safetensors")
    apart, _ = read(tmp_path / "gemma.safetensors", tmp_path / "projection.safetensors")
    save_file(tiny.gemma4(), tmp_path / "whole.safetensors")
    assert torch.equal(apart, read(tmp_path / "whole.safetensors")[0])


def test_int8_convrot_reads_what_its_numbers_do(tmp_path):
    weights = weights_only()
    beside = {name: tensor for name, tensor in tiny.gemma4().items() if name not in weights}
    kinds = {name: "int8_convrot" for name, tensor in weights.items() if packed.fits(tensor, "int8_convrot")}
    exact = packed.write(tmp_path / "packed.safetensors", weights, lambda name: kinds.get(name, ""), beside=beside)
    packed.write(tmp_path / "plain.safetensors", exact, "", beside=beside)
    (small, encoder), (whole, _) = (read(tmp_path / f"{name}.safetensors") for name in ("packed", "plain"))
    held = [name for name, weight in encoder.named_parameters() if isinstance(weight, PackedTensor)]
    # The embedding's class scales what it reads, so it is no plain embedding and is multiplied out.
    assert len(held) == len(kinds) - 1 > 35 and (small - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_bf16_is_close_to_fp32(tmp_path, published):
    half = {n: t.bfloat16() if t.is_floating_point() else t for n, t in tiny.gemma4().items()}
    save_file(half, tmp_path / "bf16.safetensors")
    (rounded, _), (whole, _) = read(tmp_path / "bf16.safetensors"), read(published)
    assert (rounded - whole).std() < 0.05 * whole.std()


def llama_cpp(name):
    for ours, theirs in LLAMA_CPP.items():
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize("code", ["Q8_0", "Q4_0"])
def test_gguf_in_llama_cpps_names(tmp_path, code):
    gguf = pytest.importorskip("gguf")
    stored, exact = {}, {}
    for name, tensor in weights_only().items():
        stored[llama_cpp(name)] = exact[name] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            blocks = random_blocks(code, tuple(tensor.shape), size=0.2, seed=len(stored))
            rows = blocks.stored.numpy().reshape(len(tensor), -1)
            stored[llama_cpp(name)] = blocks
            exact[name] = torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType[code]))
    assert not [name for name in stored if "layers" in name]
    stored["rope_freqs.weight"] = torch.ones(16)
    gguf_files.write(tmp_path / "gemma.gguf", stored, {"general.architecture": "gemma4"})
    save_file(tiny.projection("2.5"), tmp_path / "projection.safetensors")
    save_file(exact, tmp_path / "plain.safetensors")
    files = tmp_path / "projection.safetensors"
    with pytest.raises(ModelFileError, match="carries no tokenizer and none for Gemma4UnifiedText was found"):
        read(tmp_path / "gemma.gguf", files)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(tiny.tokenizer_json())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')

    def find(_, fits):
        return folder if fits(folder) else None

    (small, encoder), (whole, _) = (
        read(tmp_path / name, files, find=find) for name in ("gemma.gguf", "plain.safetensors")
    )
    held = [weight for weight in encoder.parameters() if isinstance(weight, PackedTensor)]
    assert len(held) > 35 and (small - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("leaf", ["v_proj.weight", "layer_scalar"])
def test_other_gemmas_are_none_of_this_kind(leaf):
    """Those with towers have values of their own in every layer; Gemma 3 has no number for each layer."""
    from opent2v.families.text.gemma4 import recognise

    shapes = {name: tuple(tensor.shape) for name, tensor in tiny.gemma4().items()}
    assert recognise(shapes) is not None
    if leaf == "layer_scalar":
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith(leaf)}
    else:
        shapes["model.layers.5.self_attn.v_proj.weight"] = (32, 64)
    assert recognise(shapes) is None
