"""Applying LoRA files as the node does."""

from __future__ import annotations

import pytest

from opent2v.host import embedded
from opent2v.tests.nodes.calls import call

CLOSE = 1e-5


@pytest.fixture
def loras(tmp_path):
    """The folder of the user's own LoRAs."""
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return tmp_path / "models" / "loras"


def apply(model, name="any.safetensors", strength=1.0, **given):
    """(MODEL with the LoRA, report)."""
    results, _ = call("OpenT2VLoadLora", model=model, lora=name, strength_model=strength, **given)
    return results[0], results[2]
