"""Text encoders from single files: recognised, strict, equal to the module they were saved from, tokenizer included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.base import Prompt
from opent2v.base.keys import translate
from opent2v.families.text import text_encoders
from opent2v.loaders import ModelFileError, load_text, match_text, open_text_file, open_text_files
from opent2v.tests.loaders import text_files
from opent2v.tests.tiny import wan as tiny

IDS = torch.tensor([[5, 9, 7, 1]])


def variant(classes=("UMT5EncoderModel",), width=16, **pairs):
    """A tiny model's variant that reads encoders of these classes."""
    base = tiny.shared()[0].part.variant
    slots = ["text_encoder", "text_encoder_2"][: len(classes)]
    encoders = {slot: text_encoders()[name] for slot, name in zip(slots, classes, strict=True)}
    prompts = tuple(Prompt(12, slot=slot) for slot in slots)
    family = replace(base.family, text=replace(base.family.text, encoders=encoders))
    return replace(base, family=family, prompts=prompts, context_width=width, pairs=pairs)


def no_tokenizer(*_):
    return None


@pytest.mark.parametrize("is_umt5", [True, False])
@pytest.mark.parametrize("layout", ["hugging face", "native"])
def test_t5_and_umt5(tmp_path, is_umt5, layout):
    if layout == "native" and not is_umt5:
        pytest.skip("only Wan's UMT5 is published under its own names")
    module = text_files.t5(is_umt5)
    tensors = module.state_dict()
    tensors = text_files.native_umt5(tensors) if layout == "native" else text_files.once(tensors)
    file = open_text_file(text_files.save(tmp_path / "te.safetensors", tensors, carries_tokenizer=True))
    name = "UMT5EncoderModel" if is_umt5 else "T5EncoderModel"
    assert (file.kind.class_name, file.layout.width, file.tokenizer) == (name, 16, "spiece_model")
    assert file.layout.title == f"{'UMT5' if is_umt5 else 'T5'} (16 wide)"
    part = load_text([file], variant((name,)), torch.float32, no_tokenizer)
    with torch.no_grad():
        expected = module(IDS).last_hidden_state
        assert torch.equal(part.encoders["text_encoder"](IDS).last_hidden_state, expected)
    ids, whole = part.tokens("a red")
    assert ids["text_encoder"][-1] == 1 and len(ids["text_encoder"]) == whole <= 12
    cut, longer = part.tokens("a red circle " * 30)
    assert len(cut["text_encoder"]) == 12 < longer and cut["text_encoder"][-1] == 1


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model."])
def test_llama(tmp_path, prefix):
    module = text_files.llama()
    tensors = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    tensors["lm_head.weight"] = torch.zeros(99, 32)
    file = open_text_file(text_files.save(tmp_path / "llama.safetensors", tensors))
    assert (file.kind.class_name, file.layout.width, file.layout.config["num_key_value_heads"]) == ("LlamaModel", 32, 2)
    folder = tiny.folder() / "tokenizer"
    part = load_text([file], variant(("LlamaModel",), 32), torch.float32, lambda *_: folder)
    with torch.no_grad():
        expected = module(IDS).last_hidden_state
        assert torch.equal(part.encoders["text_encoder"](IDS).last_hidden_state, expected)


@pytest.mark.parametrize("level", ["text_model.", ""])
def test_two_encoders_find_their_slots_in_any_order(tmp_path, level):
    llama, clip = text_files.llama(), text_files.clip()
    named = {level + n.removeprefix("text_model."): t for n, t in clip.state_dict().items()}
    named |= {"logit_scale": torch.ones(()), "text_projection.weight": torch.zeros(64, 64)}
    files = [
        open_text_file(text_files.save(tmp_path / "clip.safetensors", named)),
        open_text_file(text_files.save(tmp_path / "llama.safetensors", llama.state_dict())),
    ]
    both = variant(("LlamaModel", "CLIPTextModel"), 32)
    assert {slot: f.kind.class_name for slot, f in match_text(files, both).items()} == {
        "text_encoder": "LlamaModel",
        "text_encoder_2": "CLIPTextModel",
    }
    part = load_text(files, both, torch.float32, lambda *_: tiny.folder() / "tokenizer")
    with torch.no_grad():
        ids = torch.tensor([[97, 5, 9, 98]])
        assert torch.equal(part.encoders["text_encoder_2"](ids).pooler_output, clip(ids).pooler_output)


@pytest.mark.parametrize(
    "prefix",
    ["", "clip_l.transformer.", "transformer.", "cond_stage_model.transformer.", "conditioner.embedders.0.transformer.",
     "text_encoders.clip_l.transformer.", "_orig_mod."],
)  # fmt: skip
def test_clip_as_people_have_it(tmp_path, prefix):
    """The whole CLIP with its picture half, as OpenAI published it, also behind other programs' names."""
    clip = text_files.clip()
    named = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in clip.state_dict().items()}
    named |= {name: torch.zeros(4, 4) for name in ("text_projection.weight", "visual_projection.weight")}
    named |= {"vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(8, 4), "logit_scale": torch.ones(())}
    named["vision_model.embeddings.position_ids"] = torch.zeros(1, 5, dtype=torch.int64)
    path = text_files.save(tmp_path / "clip.safetensors", {prefix + name: t for name, t in named.items()})
    (file,) = open_text_files(path)
    assert (file.kind.class_name, file.layout.config["num_hidden_layers"]) == ("CLIPTextModel", 2)
    part = load_text([file], variant(("CLIPTextModel",), 64), torch.float32, lambda *_: tiny.folder() / "tokenizer")
    ids = torch.tensor([[97, 5, 9, 98]])
    with torch.no_grad():
        assert torch.equal(part.encoders["text_encoder"](ids).pooler_output, clip(ids).pooler_output)


def test_openais_own_names_keep_the_last_layer():
    """CLIP-L is used with its last layer, OpenCLIP-H without it."""
    for width, count in ((768, 2), (1024, 1)):
        shapes = {"token_embedding.weight": (99, width), "positional_embedding": (77, width)}
        shapes |= {f"transformer.resblocks.{n}.mlp.c_fc.weight": (4 * width, width) for n in (0, 1)}
        layout = text_encoders()["CLIPTextModel"].recognise(shapes)
        assert layout is not None and layout.config["num_hidden_layers"] == count
        renamed = translate("transformer.resblocks.1.ln_1.bias", layout.rules)
        kept = ("text_model.encoder.layers.1.layer_norm1.bias",) if count == 2 else ()
        assert renamed is not None and renamed.names == kept


@pytest.mark.parametrize(
    ("classes", "width", "said"),
    [
        (("T5EncoderModel",), 16, r"is UMT5 \(16 wide\), which Wan tiny does not read\. Choose t5xxl\.$"),
        (("UMT5EncoderModel", "CLIPTextModel"), 16, "reads 2 text encoders and found UMT5 .* only. Choose t5xxl"),
        (("UMT5EncoderModel",), 4096, "16 wide; Wan tiny reads 4096. Choose t5xxl"),
    ],
)
def test_a_wrong_encoder_is_refused_with_the_right_ones_name(tmp_path, classes, width, said):
    tensors = text_files.once(text_files.t5(True).state_dict())
    file = open_text_file(text_files.save(tmp_path / "te.safetensors", tensors, carries_tokenizer=True))
    with pytest.raises(ModelFileError, match=said):
        match_text([file], variant(classes, width, text_encoders="t5xxl"))


def test_without_a_tokenizer_anywhere(tmp_path):
    tensors = text_files.once(text_files.t5(True).state_dict())
    file = open_text_file(text_files.save(tmp_path / "te.safetensors", tensors))
    with pytest.raises(ModelFileError, match=r"carries no tokenizer and none for UMT5 was found. Get the file with"):
        load_text([file], variant(), torch.float32, no_tokenizer)


def test_a_missing_layer_is_named(tmp_path):
    tensors = text_files.once(text_files.t5(True).state_dict())
    del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    file = open_text_file(text_files.save(tmp_path / "te.safetensors", tensors, carries_tokenizer=True))
    with pytest.raises(ModelFileError, match=r"1 missing, first encoder\.block\.1\.layer\.1\.DenseReluDense\.wo"):
        load_text([file], variant(), torch.float32, no_tokenizer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blocks.0.lora_A.weight", "It looks like a LoRA; it belongs in models/loras."),
        ("decoder.conv_in.weight", "It looks like a VAE; choose it in Load Video VAE."),
        ("something", r"no text encoder this pack knows \(1 tensors, first something\)"),
    ],
)
def test_what_is_no_text_encoder(tmp_path, name, said):
    path = text_files.save(tmp_path / "x.safetensors", {name: torch.zeros(2, 2)})
    with pytest.raises(ModelFileError, match=said):
        open_text_file(path)
