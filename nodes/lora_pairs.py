"""What Load Video LoRA knows of the two files of a pair, and its inputs for strengths over the steps."""

from __future__ import annotations

from typing import Any

from ..base.file_names import partners_of
from .inputs import by_name, files_of

KIND = "loras"
# The low-noise file is the chosen one's partner by name.
PARTNER = "auto"


def over_steps_input(strength: str) -> tuple[str, dict[str, Any]]:
    """An input for factors of a strength over the steps.

    Args:
        strength: name of the input that they are factors of.
    """
    tooltip = (
        f"Empty: {strength} in all steps. Else factors of it over the steps of Video Sampler that its model makes: 1 "
        "until 50 %, then 0."
    )
    return ("STRING", {"advanced": True, "default": "", "tooltip": tooltip})


def partner_file(lora: str) -> tuple[str, str]:
    """(the file for the low-noise expert that belongs to this one, a remark where it is the same file)."""
    files = files_of(KIND)
    name = next((partner for partner in partners_of(lora) if by_name(files, partner) is not None), "")
    if name:
        return name, ""
    return lora, f"No partner of {lora} for low noise is there: low_noise_model gets the same file"
