"""Tokenizers without a network: from the encoder's own file, or from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .containers import open_container
from .errors import ModelFileError
from .libraries import MissingLibrary, install, library, library_class


@dataclass(frozen=True)
class Sentences:
    """A sentencepiece model behind the part of transformers' tokenizer interface that this pack uses.

    transformers 5 reads a bare spiece.model as unknown ids only (found by experiment), so the library itself is used.
    """

    processor: Any
    pad_token_id: int = 0
    eos_token_id: int = 1

    def __call__(self, text: str, *, truncation: bool = False, max_length: int | None = None, **_: Any) -> Any:
        ids = list(self.processor.encode(text))
        if truncation and max_length is not None:
            ids = ids[: max_length - 1]
        return SimpleNamespace(input_ids=[*ids, self.eos_token_id])

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.processor.id_to_piece(token)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        special = (self.pad_token_id, self.eos_token_id) if skip_special_tokens else ()
        return self.processor.decode([token for token in ids if token not in special])

    def serialized(self) -> bytes:
        """The sentencepiece model, as files of text encoders carry it."""
        return self.processor.serialized_model_proto()


def tokenizer_of(path: Path, spiece: str, class_name: str, find: Callable[[str], Path | None]) -> Any:
    """The tokenizer of a text encoder's file.

    Args:
        spiece: name of the tensor with a sentencepiece model inside the file, "" where there is none.
        find: class of the encoder -> a folder with its tokenizer.
    Raises:
        ModelFileError: there is none in the file and none is found.
    """
    if spiece:
        return _sentences(path, spiece)
    folder = find(class_name)
    if folder is not None:
        return read_tokenizer(folder)
    kind = class_name.removesuffix("EncoderModel").removesuffix("Model")
    raise ModelFileError(
        f"{path}: carries no tokenizer and none for {kind} was found. Get the file with the tokenizer inside "
        "(ComfyUI's repackaged one), or put the model's diffusers folder into models/diffusers."
    )


def read_tokenizer(folder: Path) -> Any:
    """A tokenizer from a folder as transformers saves it; no code from the folder is run.

    Raises:
        ModelFileError: it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file() and (folder / "spiece.model").is_file():
        return Sentences(_processor(model_file=str(folder / "spiece.model")))
    library("transformers")
    loader: Any = library_class("AutoTokenizer")
    try:
        return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged file
        raise ModelFileError(f"{folder}: the tokenizer cannot be read ({error}). Get the folder again.") from error


def _sentences(path: Path, name: str) -> Sentences:
    with open_container(path).tensors() as read:
        raw = read(name).numpy().tobytes()
    try:
        return Sentences(_processor(model_proto=raw))
    except RuntimeError as error:
        raise ModelFileError(f"{path}: its tokenizer ({name}) cannot be read ({error}). Get the file again.") from error


def _processor(**source: Any) -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingLibrary(f"sentencepiece cannot be imported ({error}). {install()}") from error
    return sentencepiece.SentencePieceProcessor(**source)
