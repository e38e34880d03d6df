"""Tokenizers from the metadata of GGUF files: T5's pieces with their scores, Gemma 3's, joined in the order of
their scores, Gemma 4's pairs of letters, the byte pairs of Llama 3 and Qwen.

Source: the keys `tokenizer.ggml.*` of https://github.com/ggml-org/ggml, docs/gguf.md; sentencepiece_model.proto of
https://github.com/google/sentencepiece (Apache-2.0); the expressions that split words: meta-llama/llama3, tokenizer.py;
Qwen/Qwen2.5, tokenizer.json; google/gemma-4-12B-it, tokenizer.json.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from .containers.gguf import GGUFFile
from .errors import ModelFileError
from .libraries import library

# What is read: sentencepiece's two models, byte pairs, and pairs of letters with bytes for what no word has.
TOKENIZER_KINDS = ("t5", "llama", "gpt2", "gemma4")
_KEY = "tokenizer.ggml."
_UNIGRAM, _PAIRS = 1, 2
# In words a space is this letter.
_SPACE = "\u2581"
_CONTROL, _USER_DEFINED = 3, 4
# How many rows an embedding may have beyond the tokenizer's words, filled up to a round number.
_FILLED_UP = 1024
# Digits that make one word, in the expression that splits words; all else is the same for both.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}|"
    r" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _BytePairs:
    """How a model splits and joins words.

    Attributes:
        digits: how many make one word, as a repetition.
        ignores_merges: a whole word that is a token is not joined from pairs.
        normalises: letters with marks of their own become single ones (NFC).
        begins: the prompt begins with the first token, where the file does not say.
    """

    digits: str
    ignores_merges: bool
    normalises: bool
    begins: bool


_LLAMA3, _QWEN = _BytePairs("{1,3}", True, False, True), _BytePairs("", False, True, False)
_KNOWN = {"llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3, "qwen2": _QWEN}


def tokenizer_kind(file: GGUFFile) -> str:
    """The kind of tokenizer that a file carries, such as "t5", see `TOKENIZER_KINDS`; "" for none."""
    return file.metadata.get(f"{_KEY}model", "") if f"{_KEY}tokens" in file.arrays else ""


def pieces_of(file: GGUFFile, vocabulary: int) -> bytes:
    """A sentencepiece model made of a file's pieces.

    Args:
        vocabulary: rows of the encoder's embedding.
    Raises:
        ModelFileError: the pieces do not fit the embedding, or lack their scores or kinds.
    """
    tokens = tokens_of(file, vocabulary)
    scores, kinds = (_beside(file, key, tokens) for key in ("scores", "token_type"))
    charsmap = bytes(value & 255 for value in file.array(f"{_KEY}precompiled_charsmap") or ())
    pieces = b"".join(
        _message(1, _text(1, token.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind))
        for token, score, kind in zip(tokens, scores, kinds, strict=True)
    )
    is_unigram = tokenizer_kind(file) != "llama"
    flags = ((3, "add_space_prefix", True), (4, "remove_extra_whitespaces", is_unigram))
    normaliser = (_text(2, charsmap) if charsmap else b"") + b"".join(
        _number(place, int(file.metadata.get(f"{_KEY}{name}", str(usual)) == "True")) for place, name, usual in flags
    )
    # What no piece has is spelt in bytes where the pieces are joined in pairs.
    trainer = _number(3, _UNIGRAM) if is_unigram else _number(3, _PAIRS) + _number(35, 1)
    return pieces + _message(2, trainer) + _message(3, normaliser)


def letter_pairs_of(file: GGUFFile, vocabulary: int) -> Any:
    """The tokenizers library's tokenizer made of Gemma 4's pairs of letters; arguments and errors as `pieces_of`."""
    tokens = tokens_of(file, vocabulary)
    kinds, merges = _beside(file, "token_type", tokens), file.array(f"{_KEY}merges")
    if not merges:
        raise ModelFileError(f"{file.path}: its tokenizer has no merges, by which its words are made. {_OTHERWISE}")
    library("transformers")
    import tokenizers
    from tokenizers import decoders, models, normalizers

    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    unknown = tokens[max(0, token_id(file, "unknown", 3, len(tokens)))]
    numbers = {token: n for n, token in enumerate(tokens)}
    try:
        model = models.BPE(numbers, pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise ModelFileError(f"{file.path}: its tokenizer cannot be read ({error}). {_OTHERWISE}") from error
    built: Any = tokenizers.Tokenizer(model)
    built.normalizer = normalizers.Replace(" ", _SPACE)
    built.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    _add_tokens(built, tokens, kinds)
    return built


def _add_tokens(tokenizer: Any, tokens: list[str], kinds: list[Any]) -> None:
    """The words that are looked for in a text before anything else, special ones first."""
    from tokenizers import AddedToken

    for is_special in (True, False):
        kind = _CONTROL if is_special else _USER_DEFINED
        words = [token for token, of in zip(tokens, kinds, strict=True) if of == kind]
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=is_special) for token in words])


def byte_pairs_of(file: GGUFFile, vocabulary: int) -> Any:
    """transformers' tokenizer made of a file's byte pairs; arguments and errors as `pieces_of`."""
    tokens = tokens_of(file, vocabulary)
    kinds, merges = _beside(file, "token_type", tokens), file.array(f"{_KEY}merges")
    splits_as = file.metadata.get(f"{_KEY}pre", "no known model")
    way = _KNOWN.get(splits_as)
    if way is None or not merges:
        raise ModelFileError(
            f"{file.path}: its tokenizer splits words as {splits_as!r} does and has "
            f"{len(merges or ()):,} merges; read are Llama 3's ('llama-bpe') and Qwen's ('qwen2'). {_OTHERWISE}"
        )
    library("transformers")
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    numbers = {token: n for n, token in enumerate(tokens)}
    try:
        built: Any = tokenizers.Tokenizer(models.BPE(numbers, pairs, ignore_merges=way.ignores_merges))
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise ModelFileError(f"{file.path}: its tokenizer cannot be read ({error}). {_OTHERWISE}") from error
    if way.normalises:
        built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORDS.format(digits=way.digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    _add_tokens(built, tokens, kinds)
    first = tokens[token_id(file, "bos", 0, len(tokens))]
    if file.metadata.get(f"{_KEY}add_bos_token", str(way.begins)) == "True":
        built.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, numbers[first])]
        )
    last, padding = (token_id(file, name, -1, len(tokens)) for name in ("eos", "padding"))
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token=first,
        eos_token=tokens[last] if last >= 0 else None,
        pad_token=tokens[padding] if padding >= 0 else None,
    )


_OTHERWISE = (
    "Put the model's diffusers folder, which has the right one, into models/diffusers, or get the safetensors file."
)


def tokens_of(file: GGUFFile, vocabulary: int) -> list[str]:
    tokens = file.array(f"{_KEY}tokens") or []
    if not all(isinstance(token, str) for token in tokens):
        raise ModelFileError(f"{file.path}: its tokenizer's words are numbers. {_OTHERWISE}")
    if not 0 <= vocabulary - len(tokens) <= _FILLED_UP:
        raise ModelFileError(
            f"{file.path}: its tokenizer has {len(tokens):,} words and its embedding {vocabulary:,} rows: they belong "
            f"to different models. {_OTHERWISE}"
        )
    return tokens


def _beside(file: GGUFFile, name: str, tokens: list[str]) -> list[Any]:
    """A value for each word."""
    values = file.array(f"{_KEY}{name}") or []
    if len(values) != len(tokens) or not all(isinstance(value, int | float) for value in values):
        raise ModelFileError(
            f"{file.path}: its tokenizer has {len(tokens):,} words and {len(values):,} values in {_KEY}{name}, one for "
            f"each is expected. {_OTHERWISE}"
        )
    return values


def token_id(file: GGUFFile, name: str, usual: int, count: int) -> int:
    """The id of a special token ("eos", "padding"); -1 for none.

    Args:
        usual: where the file does not say.
        count: of the tokenizer's words.
    """
    value = file.metadata.get(f"{_KEY}{name}_token_id", str(usual))
    if not value.lstrip("-").isdecimal() or not -1 <= int(value) < count:
        raise ModelFileError(
            f"{file.path}: {_KEY}{name}_token_id is {value}; its tokenizer has {count:,} words. {_OTHERWISE}"
        )
    return int(value)


# protobuf's encoding, as far as a sentencepiece model needs it.


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _number(place: int, value: int) -> bytes:
    return _varint(place << 3) + _varint(value)


def _text(place: int, content: bytes) -> bytes:
    return _varint(place << 3 | 2) + _varint(len(content)) + content


_message = _text
