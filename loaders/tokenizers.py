"""Tokenizers without a network: from the encoder's own file, or from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .containers import open_container
from .containers.gguf import GGUFFile
from .errors import ModelFileError
from .gguf_tokenizer import TOKENIZER_KINDS, byte_pairs_of, letter_pairs_of, pieces_of, token_id, tokenizer_kind
from .libraries import MissingLibrary, install, library, library_class

# (class of a text encoder, whether a folder's tokenizer fits it) -> the first folder that fits; None: there is none.
FindTokenizer = Callable[[str, Callable[[Path], bool]], Path | None]
# Ids before and behind a prompt, see `TextEncoderKind`.
Marks = tuple[int | None, int | None]
# Embeddings have some spare rows: of T5's 32,128 rows 28 have no word, of UMT5's 256,384 have 84 none.
_FEWEST = 0.9


@dataclass(frozen=True, kw_only=True)
class _Marking:
    """The part of transformers' tokenizer interface that this pack uses, with marks around a prompt's own tokens."""

    pad_token_id: int = 0
    eos_token_id: int | None = None
    bos_token_id: int | None = None

    def ids(self, text: str) -> list[int]:
        """Of the text's own tokens."""
        raise NotImplementedError

    def __call__(self, text: str, *, truncation: bool = False, max_length: int | None = None, **_: Any) -> Any:
        ids = self.ids(text)
        before, behind = ([] if mark is None else [mark] for mark in (self.bos_token_id, self.eos_token_id))
        if truncation and max_length is not None:
            ids = ids[: max_length - len(before) - len(behind)]
        return SimpleNamespace(input_ids=[*before, *ids, *behind])


@dataclass(frozen=True)
class Sentences(_Marking):
    """A sentencepiece model.

    transformers 5 reads a bare spiece.model as unknown ids only (found by experiment), so the library itself is used.
    """

    processor: Any
    eos_token_id: int | None = field(default=1, kw_only=True)

    def ids(self, text: str) -> list[int]:
        return list(self.processor.encode(text))

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.processor.id_to_piece(token)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        special = (self.pad_token_id, self.eos_token_id, self.bos_token_id) if skip_special_tokens else ()
        return self.processor.decode([token for token in ids if token not in special])

    def serialized(self) -> bytes:
        """The sentencepiece model, as files of text encoders carry it."""
        return self.processor.serialized_model_proto()


def tokenizer_of(
    path: Path,
    inside: str,
    class_name: str,
    vocabulary: int,
    find: FindTokenizer,
    marks: Marks = (None, 1),
    is_json: bool = False,
) -> Any:
    """The tokenizer of a text encoder's file.

    Args:
        inside: name of the tensor with a tokenizer inside the file, "" where there is none.
        class_name: of the encoder.
        vocabulary: rows of the encoder's embedding.
        marks: see `TextEncoderKind`.
        is_json: that tensor is the text of a tokenizer.json, else a sentencepiece model.
    Raises:
        ModelFileError: the file's own has more words than the embedding; or there is none in the file, and none is
            found that fits the embedding; or the one in a GGUF file's metadata, which comes last, cannot be used.
    """
    if inside:
        with open_container(path).tensors() as read:
            raw = read(inside).numpy().tobytes()
        tokenizer = _from_json(path, inside, raw) if is_json else _sentences(path, inside, raw)
        check_size(tokenizer, vocabulary, f"{path}: its tokenizer ({inside})")
        return _marked(tokenizer, marks)
    tokenizers: dict[Path, Any] = {}
    unfit: list[str] = []

    def fits(folder: Path) -> bool:
        try:
            tokenizers[folder] = read_tokenizer(folder)
        except ModelFileError as error:
            unfit.append(str(error))
            return False
        size = size_of(tokenizers[folder])
        if _FEWEST * vocabulary <= size <= vocabulary:
            return True
        unfit.append(f"{folder} has {size:,}")
        return False

    folder = find(class_name, fits)
    if folder is not None:
        return _marked(tokenizers.get(folder) or read_tokenizer(folder), marks)
    file = open_container(path)
    if isinstance(file, GGUFFile) and (kind := tokenizer_kind(file)):
        return _from_metadata(file, kind, vocabulary, marks)
    kind = class_name.removesuffix("EncoderModel").removesuffix("Model")
    looked = f" that fits its {vocabulary:,} words ({'; '.join(unfit)})" if unfit else ""
    raise ModelFileError(
        f"{path}: carries no tokenizer and none for {kind} was found{looked}. Get the file with the tokenizer inside "
        "(ComfyUI's repackaged one), or put the model's diffusers folder into models/diffusers."
    )


def size_of(tokenizer: Any) -> int:
    """1 + the largest id that a tokenizer can return."""
    if isinstance(tokenizer, Sentences):
        return tokenizer.processor.get_piece_size()
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def check_size(tokenizer: Any, vocabulary: int, name: str) -> None:
    """
    Args:
        vocabulary: rows of the embedding that the tokenizer's ids are looked up in.
        name: of the tokenizer, with its file, at the start of the message.
    Raises:
        ModelFileError: an id can lie beyond the embedding.
    """
    size = size_of(tokenizer)
    if not 0 < size <= vocabulary:
        raise ModelFileError(
            f"{name} has {size:,} words and the text encoder knows {vocabulary:,}. They belong to different models: "
            "get both from the same place."
        )


def read_tokenizer(folder: Path, marks: Marks = (None, 1)) -> Any:
    """A tokenizer from a folder as transformers saves it; no code from the folder is run.

    Args:
        marks: see `TextEncoderKind`.
    Raises:
        ModelFileError: it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file() and (folder / "spiece.model").is_file():
        return _marked(Sentences(_processor(model_file=str(folder / "spiece.model"))), marks)
    library("transformers")
    loader: Any = library_class("AutoTokenizer")
    try:
        return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged file
        raise ModelFileError(f"{folder}: the tokenizer cannot be read ({error}). Get the folder again.") from error


def _marked(tokenizer: Any, marks: Marks) -> Any:
    """A tokenizer from a file or a bare sentencepiece model, with these marks; one of transformers has its own."""
    if not isinstance(tokenizer, _Marking):
        return tokenizer
    before, behind = marks
    return replace(tokenizer, bos_token_id=before, eos_token_id=behind)


def _from_metadata(file: GGUFFile, kind: str, vocabulary: int, marks: Marks) -> Any:
    if kind not in TOKENIZER_KINDS:
        raise ModelFileError(
            f"{file.path}: carries a tokenizer of the kind {kind!r}; read are {', '.join(map(repr, TOKENIZER_KINDS))}. "
            "Put the model's diffusers folder, which has the right one, into models/diffusers, or get the safetensors "
            "file."
        )
    if kind == "gpt2":
        return byte_pairs_of(file, vocabulary)
    if kind == "gemma4":
        built = letter_pairs_of(file, vocabulary)
        return _marked(JsonTokenizer(built, built.to_str().encode()), marks)
    sentences = _sentences(file.path, "tokenizer.ggml.tokens", pieces_of(file, vocabulary))
    if kind == "llama":
        return _marked(sentences, marks)
    padding, end = (token_id(file, name, usual, vocabulary) for name, usual in (("padding", 0), ("eos", 1)))
    return replace(sentences, pad_token_id=padding, eos_token_id=end)


@dataclass(frozen=True)
class JsonTokenizer(_Marking):
    """A tokenizer.json.

    The text may or may not say which marks a prompt gets (Google's and ComfyUI's differ), so the kind says it.
    """

    tokenizer: Any
    raw: bytes

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.tokenizer.id_to_token(token)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def get_vocab(self) -> dict[str, int]:
        return self.tokenizer.get_vocab()

    def serialized(self) -> bytes:
        """The text, as files of text encoders carry it."""
        return self.raw


def _from_json(path: Path, name: str, raw: bytes) -> JsonTokenizer:
    library("transformers")
    from tokenizers import Tokenizer

    try:
        return JsonTokenizer(Tokenizer.from_str(raw.decode()), raw)
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged text
        raise ModelFileError(f"{path}: its tokenizer ({name}) cannot be read ({error}). Get the file again.") from error


def _sentences(path: Path, name: str, raw: bytes) -> Sentences:
    try:
        if not raw:
            raise RuntimeError("it is empty")
        return Sentences(_processor(model_proto=raw))
    except RuntimeError as error:
        raise ModelFileError(f"{path}: its tokenizer ({name}) cannot be read ({error}). Get the file again.") from error


def _processor(**source: Any) -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingLibrary(f"sentencepiece cannot be imported ({error}). {install()}") from error
    return sentencepiece.SentencePieceProcessor(**source)
