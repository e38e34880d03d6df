"""A node's refusal of an input before anything runs, the same on both hosts."""

from __future__ import annotations


class InputRefused(ValueError):
    """Raised by VALIDATE_INPUTS where it reads several inputs: a returned text would be shown for all of them.

    The message's first word is the input's name, by which web/errors.js finds the one to mark.

    Attributes:
        name: of the input; "" where none of them is at fault.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence if not name or sentence.split(maxsplit=1)[0] == name else f"{name}: {sentence}")
        self.name = name
