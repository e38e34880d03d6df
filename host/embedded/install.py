"""What the pack changes in the embedded host when it starts."""

from __future__ import annotations

from ..contract import ReadLora


def install(read_lora: ReadLora) -> None:
    """Nothing: this host finds the bundled models by itself and has no LoRA loaders of its own."""
