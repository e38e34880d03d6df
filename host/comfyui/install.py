"""What the pack changes in ComfyUI when it starts."""

from __future__ import annotations

from ..contract import ReadLora
from .errors import tell_errors_in_the_pages_language
from .lora_loaders import teach_lora_loaders
from .place import register_models


def install(read_lora: ReadLora) -> None:
    register_models()
    teach_lora_loaders(read_lora)
    tell_errors_in_the_pages_language()
