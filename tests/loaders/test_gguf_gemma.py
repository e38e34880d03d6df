"""Gemma's tokenizers in GGUF files: Gemma 3's pieces with scores, Gemma 4's pairs of letters.

Tests: loaders/gguf_tokenizer.py, loaders/tokenizers.py
"""

from __future__ import annotations

import io
import json

import pytest
import torch

from opent2v.loaders import ModelFileError
from opent2v.loaders.tokenizers import tokenizer_of
from opent2v.tests.loaders import gguf_files

WORDS = ["a red circle moves to the right", "the blue star over green hills", "a star moves over the red hills"] * 5
TEXTS = (
    "a red circle moves to the right", "", " ", "  two  spaces ", "hills\n\nstar\n\n\nred", "naïve café — 太陽 🙂",
    "zzz\tqq", "a <start_of_turn> star", "A RED CIRCLE", "<bos>red<eos>",
)  # fmt: skip
MARKED = ["<pad>", "<eos>", "<bos>", "<unk>"]
MARKS = (2, None)


def read(path, metadata, rows, kind):
    prefixed = {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    gguf_files.write(path, {"token_embd.weight": torch.zeros(4, 32)}, prefixed)
    return tokenizer_of(path, "", kind, rows, lambda *_: None, MARKS)


@pytest.fixture(scope="module")
def gemma3():
    """A sentencepiece model as Gemma 3's is trained: joined in pairs, bytes for the rest, spaces as they are."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS), model_writer=model, model_type="bpe", vocab_size=340, byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, add_dummy_prefix=False, remove_extra_whitespaces=False,
        normalization_rule_name="identity", user_defined_symbols=["<start_of_turn>", "\n\n"], minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def pieces(processor):
    count = processor.vocab_size()

    def kind(n):
        if processor.is_byte(n):
            return 6
        if processor.is_unknown(n):
            return 2
        if processor.is_control(n):
            return 3
        return 4 if processor.id_to_piece(n) in ("<start_of_turn>", "\n\n") else 1

    return {
        "model": "llama", "tokens": [processor.id_to_piece(n) for n in range(count)],
        "scores": [processor.get_score(n) for n in range(count)], "token_type": [kind(n) for n in range(count)],
        "add_space_prefix": False, "bos_token_id": 2, "eos_token_id": 1, "padding_token_id": 0,
    }  # fmt: skip


def test_gemma_3s_pieces_give_the_ids_of_the_original(tmp_path, gemma3):
    tokenizer = read(tmp_path / "gemma.gguf", pieces(gemma3), gemma3.vocab_size() + 4, "Gemma3TextModel")
    for text in TEXTS:
        assert tokenizer(text).input_ids == [2, *gemma3.encode(text)], text
        assert tokenizer.decode(tokenizer(text).input_ids) == gemma3.decode(gemma3.encode(text))


@pytest.fixture(scope="module")
def gemma4():
    """A tokenizer as Gemma 4's tokenizer.json describes it."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

    learnt = Tokenizer(models.BPE())
    learnt.normalizer = normalizers.Replace(" ", "\u2581")
    learnt.train_from_iterator([*WORDS, "\n\n"], trainers.BpeTrainer(vocab_size=90, show_progress=False))
    model = json.loads(learnt.to_str())["model"]
    words = sorted(model["vocab"], key=model["vocab"].get)
    tokens = [*MARKED, "<start_of_turn>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    numbers = {token: n for n, token in enumerate(tokens)}
    original = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    original.normalizer = normalizers.Replace(" ", "\u2581")
    original.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    original.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in MARKED])
    original.add_tokens([AddedToken("<start_of_turn>", normalized=False)])
    return original, tokens, merges


def letters(tokens, merges):
    kinds = [3, 3, 3, 2, 4, *[6] * 256]
    return {
        "model": "gemma4", "tokens": tokens, "token_type": kinds + [1] * (len(tokens) - len(kinds)),
        "merges": [" ".join(pair) for pair in merges], "add_space_prefix": False, "add_bos_token": True,
        "bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3, "padding_token_id": 0,
    }  # fmt: skip


def test_gemma_4s_pairs_of_letters_give_the_ids_of_the_original(tmp_path, gemma4):
    original, tokens, merges = gemma4
    assert len(merges) > 20
    path = tmp_path / "gemma.gguf"
    tokenizer = read(path, letters(tokens, merges), len(tokens) + 3, "Gemma4UnifiedTextModel")
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        assert ids == [2, *original.encode(text).ids], text
        if "<" not in text:
            assert tokenizer.decode(ids) == text
    again = tokenizer.serialized()
    assert json.loads(again)["model"]["vocab"]["<bos>"] == 2


@pytest.mark.parametrize(
    ("changes", "rows", "said"),
    [
        ({"merges": []}, 0, "its tokenizer has no merges, by which its words are made"),
        ({"merges": ["no such"]}, 0, "its tokenizer cannot be read"),
        ({}, -50, "they belong to different models"),
        ({"token_type": [1]}, 0, "and 1 values in tokenizer.ggml.token_type"),
    ],
)
def test_what_cannot_be_gemma_4s_is_refused(tmp_path, gemma4, changes, rows, said):
    _, tokens, merges = gemma4
    with pytest.raises(ModelFileError, match=said):
        read(tmp_path / "gemma.gguf", letters(tokens, merges) | changes, len(tokens) + rows, "Gemma4UnifiedTextModel")
