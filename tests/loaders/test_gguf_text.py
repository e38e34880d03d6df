"""Text encoders and tokenizers in GGUF files: llama.cpp's names, rows in its order, tokenizers from the metadata.

Tests: loaders/gguf_tokenizer.py, loaders/tokenizers.py, loaders/text_file.py, families/text
"""

from __future__ import annotations

import pytest
import torch

from opent2v.base.packed import PackedWeight, unpacked
from opent2v.loaders import ModelFileError, load_text, open_text_file
from opent2v.loaders.gguf_types import BY_CODE
from opent2v.loaders.quantised.gguf_blocks import GGUFBlocks
from opent2v.tests.loaders import gguf_files, text_files
from opent2v.tests.loaders.gguf_files import random_blocks
from opent2v.tests.loaders.test_text_file import IDS, no_tokenizer, variant

T5S = [("T5EncoderModel", False), ("UMT5EncoderModel", True)]
SENTENCES = (
    "a red circle moves to the right", "", " ", "a  blue\tstar\nover   hills ", "Ωmega ﬁne ½ ＡＢＣ 太陽", "zzzz qqqq",
    "<extra_id_0> a red </s> circle", "é" * 20, "A RED CIRCLE", "a<pad>b",
)  # fmt: skip
LINES = [*text_files.WORDS, "it's 12345 o'clock", "naïve café — 太陽 are you\r\n\r\nthere?  ", "<|eot_id|> end"] * 4


def metadata_of(processor, rows: int = 64) -> dict[str, object]:
    """What llama.cpp's converter writes of a sentencepiece model, filled up to the embedding's rows."""
    count = processor.vocab_size()
    kinds = [
        2 if processor.is_unknown(n) else 3 if processor.is_control(n) else 5 if processor.is_unused(n) else 1
        for n in range(count)
    ]
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [processor.id_to_piece(n) for n in range(count)]
        + [f"[PAD{n}]" for n in range(count, rows)],
        "tokenizer.ggml.scores": [processor.get_score(n) for n in range(count)] + [-1000.0] * (rows - count),
        "tokenizer.ggml.token_type": kinds + [5] * (rows - count),
        "tokenizer.ggml.precompiled_charsmap": list(charsmap(processor.serialized_model_proto())),
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
    }


def charsmap(model: bytes) -> bytes:
    """The normaliser's table: field 2 of the model's field 3, in protobuf's encoding."""

    def fields(raw):
        place = 0

        def varint():
            nonlocal place
            value, shift = 0, 0
            while True:
                value |= (raw[place] & 127) << shift
                shift, place = shift + 7, place + 1
                if raw[place - 1] < 128:
                    return value

        while place < len(raw):
            tag = varint()
            length = {0: 0, 1: 8, 5: 4}.get(tag & 7)
            if length is None:
                length = varint()
            elif tag & 7 == 0:
                varint()
            yield tag >> 3, raw[place : place + length]
            place += length

    normaliser = next(content for number, content in fields(model) if number == 3)
    return next(content for number, content in fields(normaliser) if number == 2)


@pytest.fixture(scope="module")
def processor():
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=text_files.spiece())


def loaded(path, name, width=32, dtype=torch.float32, find=no_tokenizer):
    return load_text([open_text_file(path)], variant((name,), width), dtype, find)


@pytest.mark.parametrize(("name", "is_umt5"), T5S)
def test_t5_and_umt5_in_llama_cpps_names(tmp_path, processor, name, is_umt5):
    module = text_files.t5(is_umt5, 32)
    tensors = text_files.llama_cpp_t5(module.state_dict())
    tensors |= {"dec.blk.0.attn_q.weight": torch.ones(2, 2), "dec.output_norm.weight": torch.ones(2)}
    path = gguf_files.write(tmp_path / "t5.gguf", tensors | {"output.weight": torch.ones(2, 2)}, metadata_of(processor))
    file = open_text_file(path)
    assert file.layout.title == f"{'UMT5' if is_umt5 else 'T5'} (32 wide)"
    part = loaded(path, name)
    with torch.no_grad():
        assert torch.equal(part.encoders["text_encoder"](IDS).last_hidden_state, module(IDS).last_hidden_state)
    ids, whole = part.tokens("a red")
    assert ids["text_encoder"] == [*processor.encode("a red"), 1] and whole == len(ids["text_encoder"])


@pytest.mark.parametrize(("name", "is_umt5"), T5S)
@pytest.mark.parametrize("code", gguf_files.PACKED)
def test_packed_t5_and_umt5_compute_their_numbers(tmp_path, processor, name, is_umt5, code):
    """The numbers by the `gguf` package's decoder."""
    gguf = pytest.importorskip("gguf")
    kind, width = BY_CODE[code], BY_CODE[code].numbers
    stored, exact = {}, {}
    for key, tensor in text_files.llama_cpp_t5(text_files.t5(is_umt5, width).state_dict()).items():
        stored[key] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % kind.numbers == 0:
            blocks = random_blocks(code, tuple(tensor.shape), size=2 * width**-0.5, seed=len(stored))
            rows = blocks.stored.numpy().reshape(len(tensor), -1)
            stored[key], exact[key] = blocks, torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType[code]))
    assert len(exact) >= 2 * 5 + 1  # the embedding and all matrices but o and perhaps wo, whose rows are shorter
    plain = {key: exact.get(key, tensor) for key, tensor in stored.items()}
    path, by_hand = (tmp_path / f"{which}.gguf" for which in ("packed", "plain"))
    gguf_files.write(path, stored, metadata_of(processor))
    gguf_files.write(by_hand, plain, metadata_of(processor))
    packed, numbers = (loaded(p, name, width).encoders["text_encoder"] for p in (path, by_hand))
    weights = dict(numbers.named_parameters())
    assert all(torch.equal(unpacked(w, torch.float32), weights[n]) for n, w in packed.named_parameters())
    with torch.no_grad():
        states = [encoder(IDS).last_hidden_state for encoder in (packed, numbers)]
    assert (states[0] - states[1]).abs().max() < 1e-5 and states[1].std() > 0.1


def test_llama_cpps_rows_of_q_and_k_are_put_back(tmp_path):
    module = text_files.llama()
    tensors = text_files.llama_cpp_llama(module.state_dict(), heads=4, kv_heads=2)
    tensors["output.weight"] = torch.zeros(99, 32)
    assert not torch.equal(tensors["blk.0.attn_q.weight"], module.state_dict()["layers.0.self_attn.q_proj.weight"])
    tokenizer = trained()
    path = gguf_files.write(tmp_path / "llama.gguf", tensors, pairs_metadata(tokenizer, 99))
    part = loaded(path, "LlamaModel")
    with torch.no_grad():
        ours, theirs = (m(IDS).last_hidden_state for m in (part.encoders["text_encoder"], module))
    assert torch.equal(ours, theirs)


def test_packed_rows_are_put_back_as_plain_ones_are(tmp_path):
    module = text_files.llama()
    tensors = text_files.llama_cpp_llama(module.state_dict(), heads=4, kv_heads=2)
    blocks = random_blocks("Q8_0", (32, 32))
    numbers = PackedWeight(GGUFBlocks(BY_CODE["Q8_0"]), (32, 32), {"weight": blocks.stored}).dequantise(torch.float32)
    metadata, states = pairs_metadata(trained(), 99), []
    for name, query in (("packed", blocks), ("plain", numbers)):
        path = gguf_files.write(tmp_path / f"{name}.gguf", tensors | {"blk.1.attn_q.weight": query}, metadata)
        with torch.no_grad():
            states.append(loaded(path, "LlamaModel").encoders["text_encoder"](IDS).last_hidden_state)
    assert (states[0] - states[1]).abs().max() < 1e-5


@pytest.mark.parametrize(
    "mark", ["blk.0.attn_q.bias", "blk.0.attn_q_norm.weight", "blk.0.post_attention_norm.weight", "rope_freqs.weight"]
)
def test_networks_with_llamas_names_are_not_taken_for_it(tmp_path, mark):
    tensors = text_files.llama_cpp_llama(text_files.llama().state_dict(), heads=4, kv_heads=2)
    path = gguf_files.write(tmp_path / "other.gguf", tensors | {mark: torch.ones(32)})
    with pytest.raises(ModelFileError, match=r"no text encoder this pack knows .*It looks like a language"):
        open_text_file(path)


def test_the_label_does_not_count(tmp_path):
    """Files of popular makers name no architecture, or another one."""
    tensors = text_files.llama_cpp_t5(text_files.t5(True, 32).state_dict())
    for label in ("llama", "pig", "wan"):
        path = gguf_files.write(tmp_path / f"{label}.gguf", tensors, {"general.architecture": label})
        assert open_text_file(path).layout.title == "UMT5 (32 wide)"


@pytest.mark.parametrize(("name", "is_umt5"), T5S)
def test_the_names_are_the_packages(name, is_umt5):
    gguf = pytest.importorskip("gguf")
    module = text_files.t5(is_umt5, 32)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    expected = {names.get_name(key, (".weight", ".bias")) for key in text_files.once(module.state_dict())}
    assert set(text_files.llama_cpp_t5(module.state_dict())) == expected


def test_llamas_names_are_the_packages():
    gguf = pytest.importorskip("gguf")
    tensors = text_files.llama().state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    expected = {names.get_name(f"model.{key}", (".weight", ".bias")) for key in tensors}
    assert set(text_files.llama_cpp_llama(tensors, 4, 2)) == expected


# --- tokenizers ---


def test_a_tokenizer_of_pieces_gives_the_ids_of_the_original(tmp_path, processor):
    tensors = text_files.llama_cpp_t5(text_files.t5(True, 32).state_dict())
    part = loaded(gguf_files.write(tmp_path / "t5.gguf", tensors, metadata_of(processor)), "UMT5EncoderModel")
    tokenizer = part.tokenizers["text_encoder"]
    for sentence in SENTENCES:
        assert tokenizer(sentence).input_ids == [*processor.encode(sentence), 1], sentence
    assert tokenizer.decode(tokenizer(SENTENCES[0]).input_ids) == SENTENCES[0]
    assert tokenizer.processor.normalize("ﬁne  ½") == processor.normalize("ﬁne  ½") != "ﬁne  ½"
    # It goes into files that are saved, and is read again.
    import sentencepiece

    again = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.serialized())
    assert again.encode(SENTENCES[0]) == processor.encode(SENTENCES[0])


def trained():
    """A byte-pair tokenizer as Llama 3's, of 99 words at most beyond the 256 bytes' share that occurs."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    )
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(tokenizers.Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tokenizer.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=96, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return tokenizer


def pairs_metadata(tokenizer, rows: int) -> dict[str, object]:
    import json

    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens + [f"<fill{n}>" for n in range(len(tokens), rows)],
        "tokenizer.ggml.token_type": [3 if n < 3 else 1 for n in range(len(tokens))] + [5] * (rows - len(tokens)),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def llama_file(path, **changes):
    tensors = text_files.llama_cpp_llama(text_files.llama().state_dict(), heads=4, kv_heads=2)
    metadata = pairs_metadata(trained(), 99) | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return gguf_files.write(path, tensors, {key: value for key, value in metadata.items() if value is not None})


def test_byte_pairs_give_the_ids_of_the_original(tmp_path):
    original = trained()
    tokenizer = loaded(llama_file(tmp_path / "llama.gguf"), "LlamaModel").tokenizers["text_encoder"]
    for sentence in (*LINES[:6], "<|eot_id|>12 a red", "", " two  spaces\n"):
        assert list(tokenizer(sentence).input_ids) == original.encode(sentence).ids, sentence
    assert tokenizer.decode(tokenizer(LINES[0]).input_ids, skip_special_tokens=True) == LINES[0]
    without = loaded(llama_file(tmp_path / "b.gguf", add_bos_token=False), "LlamaModel").tokenizers["text_encoder"]
    assert list(without(LINES[0]).input_ids) == original.encode(LINES[0]).ids[1:]


def test_qwens_words_have_single_digits_and_no_first_token(tmp_path):
    tokenizer = loaded(llama_file(tmp_path / "l.gguf", pre="qwen2"), "LlamaModel").tokenizers["text_encoder"]
    pieces = [text for text, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("1234 hills")]
    assert pieces == ["1", "2", "3", "4", "Ġhills"]
    assert tokenizer.backend_tokenizer.normalizer.normalize_str("e\u0301") == "é"
    begins = llama_file(tmp_path / "q.gguf", pre="qwen2", add_bos_token=None)
    ids = loaded(begins, "LlamaModel").tokenizers["text_encoder"](LINES[0]).input_ids
    assert ids and ids[0] != 0


def test_another_tokenizer_comes_first(tmp_path):
    """The host's own, or that of a diffusers folder; the file's is made again from lists."""
    from opent2v.tests.tiny import wan as tiny

    path = llama_file(tmp_path / "llama.gguf")
    folder = tiny.folder() / "tokenizer"
    part = loaded(path, "LlamaModel", find=lambda *_: folder)
    assert "<|begin_of_text|>" not in part.tokenizers["text_encoder"].get_vocab()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tokens": [f"w{n}" for n in range(120)]},
            r"tokenizer has 120 words and its embedding 99 rows: they belong to",
        ),
        ({"token_type": [1, 1]}, r"has 99 words and 2 values in tokenizer\.ggml\.token_type, one for each is expected"),
        ({"pre": "mpt"}, r"splits words as 'mpt' does .*; read are Llama 3's \('llama-bpe'\) and Qwen's"),
        ({"pre": None}, r"splits words as 'no known model' does"),
        ({"merges": None}, r"and has 0 merges"),
        ({"merges": ["no such", "pairs here"]}, r"its tokenizer cannot be read \(.*\)\. Put the model's diffusers"),
        ({"bos_token_id": 5000}, r"tokenizer\.ggml\.bos_token_id is 5000; its tokenizer has 99 words"),
        ({"model": "bert"}, r"carries a tokenizer of the kind 'bert'; read are 't5', 'llama', 'gpt2', 'gemma4'\. Put"),
        ({"tokens": None}, r"carries no tokenizer and none for Llama was found"),
        ({"tokens": [1] * 99}, r"its tokenizer's words are numbers\."),
    ],
)
def test_tokenizers_that_cannot_be_used(tmp_path, changes, said):
    with pytest.raises(ModelFileError, match=said) as error:
        loaded(llama_file(tmp_path / "llama.gguf", **changes), "LlamaModel")
    assert "models/diffusers" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": None}, r"64 words and 0 values in tokenizer\.ggml\.scores"),
        ({"eos_token_id": 64}, r"eos_token_id is 64"),
        ({"token_type": [1] * 64}, r"its tokenizer \(tokenizer\.ggml\.tokens\) cannot be read \("),
    ],
)
def test_pieces_that_cannot_be_used(tmp_path, processor, changes, said):
    tensors = text_files.llama_cpp_t5(text_files.t5(True, 32).state_dict())
    metadata = metadata_of(processor) | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    path = gguf_files.write(
        tmp_path / "t5.gguf", tensors, {key: value for key, value in metadata.items() if value is not None}
    )
    with pytest.raises(ModelFileError, match=said):
        loaded(path, "UMT5EncoderModel")


def test_the_words_of_a_far_smaller_vocabulary(tmp_path, processor):
    tensors = text_files.llama_cpp_t5(text_files.t5(True, 32).state_dict())
    tensors["token_embd.weight"] = torch.zeros(4000, 32)
    path = gguf_files.write(tmp_path / "t5.gguf", tensors, metadata_of(processor))
    with pytest.raises(ModelFileError, match=r"tokenizer has 64 words and its embedding 4,000 rows"):
        loaded(path, "UMT5EncoderModel")
