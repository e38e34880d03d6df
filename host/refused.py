"""How a node refuses an input before anything runs, in the same way on both hosts."""

from __future__ import annotations


class InputRefused(ValueError):
    """Raised by VALIDATE_INPUTS where it reads several inputs: a text that it returned would be told of all of them.

    The message's first word is the input's name, by which web/errors.js finds the one to mark.

    Attributes:
        name: of the input; "" where none of them is at fault.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence if not name or sentence.split(maxsplit=1)[0] == name else f"{name}: {sentence}")
        self.name = name
