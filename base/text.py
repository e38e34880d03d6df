"""The facts of one kind of text encoder: classes, tokenizers, layouts of single files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .keys import Rule
from .types import Shapes

# Class names of a tokenizer that transformers (4 and 5) read from a bare tokenizer.json.
ANY_TOKENIZER = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})


@dataclass(frozen=True)
class TextLayout:
    """One text encoder, recognised by the tensor names and shapes of its file.

    Attributes:
        title: in the user's words: "UMT5-XXL", "T5 (4096 wide)".
        config: of the module, as transformers takes it.
        width: of its embeddings.
        rules: the file's names -> the module's.
    """

    title: str
    config: Mapping[str, Any]
    width: int
    rules: tuple[Rule, ...] = ()


def no_rules(module: nn.Module) -> tuple[Rule, ...]:
    return ()


@dataclass(frozen=True)
class TextEncoderKind:
    """All that is true of the text encoders of one architecture.

    Attributes:
        class_name: of transformers' module.
        tokenizers: class names that a folder may give for its tokenizer.
        published: the encoders that a single file may hold, in the user's words.
        recognise: (shapes of a file's tensors) -> TextLayout, or None where it holds no encoder of this kind.
        tied: parameter name -> the name it shares its weight with, for files that store it once.
        older_names: (module as transformers builds it) -> the names in files of other versions -> the module's.
        spiece: name of the tensor in which files may carry a sentencepiece model; "" where they carry none.
        tokenizer_json: name of the tensor in which files may carry the text of a tokenizer.json, likewise.
        host_tokenizer: folder of the tokenizer that ComfyUI ships, below its own `comfy/`; "" where it ships none.
        marks: ids before and behind the tokens of a prompt, for a tokenizer inside a file; None: no such mark.
        reads_prompts: False for a layer behind another encoder, without a tokenizer.
        is_vision: it sees the pictures of a prompt; words are read without it.
        extend: (module as transformers builds it) changes it before its weights are read.
    """

    class_name: str
    tokenizers: frozenset[str]
    published: tuple[str, ...]
    recognise: Callable[[Shapes], TextLayout | None]
    tied: Mapping[str, str] = field(default_factory=dict)
    older_names: Callable[[nn.Module], tuple[Rule, ...]] = no_rules
    spiece: str = ""
    tokenizer_json: str = ""
    host_tokenizer: str = ""
    marks: tuple[int | None, int | None] = (None, 1)
    reads_prompts: bool = True
    is_vision: bool = False
    extend: Callable[[nn.Module], None] | None = None


def tokenizer_slot(slot: str) -> str:
    """The folder of an encoder's tokenizer: "text_encoder_2" goes with "tokenizer_2"."""
    return slot.replace("text_encoder", "tokenizer")


def count_layers(shapes: Shapes, pattern: str) -> int:
    """How many layers have a tensor of this name, with "{}" for their number, counted from 0 up to the first gap."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count
