"""How a text encoder reads a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """How one of the model's text encoders reads a prompt.

    Attributes:
        slot: folder of the encoder; "text_encoder_2" goes with "tokenizer_2".
        max_tokens: length that prompts are padded or cut to, special tokens included.
        prepare: prompt as typed -> as the tokenizer gets it.
        pad: id that short prompts are filled up with; None: the tokenizer's own.
    """

    max_tokens: int
    prepare: Callable[[str], str] = str.strip
    slot: str = "text_encoder"
    pad: int | None = None
