"""Every kind of text encoder: its classes exist, it alone knows its files, and a new one edits no file of the rooms.

Tests: families/text/__init__.py, base/text.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.base import Prompt, TextEncoderKind, TextLayout
from opent2v.base.keys import rename
from opent2v.base.text import ANY_TOKENIZER, count_layers
from opent2v.families import families
from opent2v.families.text import text_encoders
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, library_class, load_text, open_text_file
from opent2v.tests.loaders import text_files
from opent2v.tests.tiny import ltx2 as tiny_ltx2
from opent2v.tests.tiny import wan as tiny

KINDS = text_encoders()
QUERY = "layers.{}.self_attn.q_proj.weight"


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_kind_names_classes_that_exist_and_is_found_by_its_own(kind):
    import transformers

    assert KINDS[kind.class_name] is kind and library_class(kind.class_name) and kind.published
    if kind.reads_prompts:
        assert any(hasattr(transformers, name) for name in kind.tokenizers) and kind.tokenizers > ANY_TOKENIZER
    else:
        assert not kind.tokenizers


def test_every_encoder_of_a_family_is_a_kind_that_files_are_recognised_by():
    used = {kind.class_name: kind for f in families().values() if f.text for kind in f.text.encoders.values()}
    assert used == {name: KINDS[name] for name in used} and used.keys() == KINDS.keys()


@pytest.mark.parametrize(
    ("class_name", "make"),
    [
        ("T5EncoderModel", lambda: text_files.t5(False).state_dict()),
        ("UMT5EncoderModel", lambda: text_files.t5(True).state_dict()),
        ("UMT5EncoderModel", lambda: text_files.native_umt5(text_files.t5(True).state_dict())),
        ("CLIPTextModel", lambda: text_files.clip().state_dict()),
        ("LlamaModel", lambda: text_files.llama().state_dict()),
        ("Gemma3TextModel", tiny_ltx2.gemma),
        ("Gemma4UnifiedTextModel", lambda: {n: t for n, t in tiny_ltx2.gemma4().items() if "embedding_proj" not in n}),
    ],
    ids=["T5", "UMT5", "UMT5 in Wan's names", "CLIP", "Llama", "Gemma 3", "Gemma 4"],
)
def test_one_kind_alone_knows_a_file(class_name, make):
    shapes = {name: tuple(tensor.shape) for name, tensor in make().items()}
    assert [name for name, kind in KINDS.items() if kind.recognise(shapes)] == [class_name]


def test_the_refusal_names_every_encoder_there_is(tmp_path):
    path = text_files.save(tmp_path / "x.safetensors", {"something": torch.zeros(2, 2)})
    titles = [title for kind in KINDS.values() for title in kind.published]
    with pytest.raises(ModelFileError) as error:
        open_text_file(path)
    assert f"Expected {', '.join(titles[:-1])} or {titles[-1]}." in str(error.value)


def qwen():
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    return Qwen2Model(
        Qwen2Config(
            vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        )
    ).eval()  # fmt: skip


def recognise_qwen(shapes):
    if "model.layers.0.self_attn.q_proj.bias" not in shapes:
        return None
    vocabulary, width = shapes["model.embed_tokens.weight"]
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": count_layers(shapes, f"model.{QUERY}"),
        "intermediate_size": shapes["model.layers.0.mlp.gate_proj.weight"][0], "num_attention_heads": width // 8,
        "num_key_value_heads": shapes["model.layers.0.self_attn.k_proj.weight"][0] // 8,
    }  # fmt: skip
    return TextLayout(f"Qwen ({width} wide)", config, width, (rename("^model", ""), rename("^lm_head")))


QWEN = TextEncoderKind("Qwen2Model", frozenset({"Qwen2Tokenizer"}) | ANY_TOKENIZER, ("Qwen 2",), recognise_qwen)


def embed_last(encoders, tokens):
    ids, mask = tokens["text_encoder"]
    return encoders["text_encoder"](input_ids=ids, attention_mask=mask).last_hidden_state, {"attention_mask": mask}


def test_a_kind_of_a_tests_own_goes_from_a_file_to_a_conditioning(tmp_path, monkeypatch):
    module = qwen()
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    path = text_files.save(tmp_path / "qwen.safetensors", tensors | {"lm_head.weight": torch.zeros(99, 32)})
    with pytest.raises(ModelFileError, match="no text encoder this pack knows"):
        open_text_file(path)
    monkeypatch.setitem(KINDS, QWEN.class_name, QWEN)
    file = open_text_file(path)
    assert (file.kind, file.layout.title) == (QWEN, "Qwen (32 wide)")
    base = tiny.shared()[0].part.variant
    family = replace(base.family, text=replace(base.family.text, encoders={"text_encoder": QWEN}, embed=embed_last))
    variant = replace(base, family=family, prompts=(Prompt(12),), context_width=32)
    assert family.components["text_encoder"] == {"Qwen2Model"} and "Qwen2Tokenizer" in family.components["tokenizer"]
    clip = embedded.clip(load_text([file], variant, torch.float32, lambda *_: tiny.folder() / "tokenizer"))
    (context, further), *_ = embedded.embed(clip, "a red")
    ids = torch.tensor([clip.part.tokens("a red")[0]["text_encoder"]])
    with torch.no_grad():
        expected = module(input_ids=ids).last_hidden_state
    count = ids.shape[1]
    assert context.shape == (1, 12, 32) and further["attention_mask"].sum() == count
    torch.testing.assert_close(context[:, :count], expected)
