"""What tells one MODEL or VAE from another."""

from __future__ import annotations

from typing import Any

import comfy.sd
from torch import Tensor

from ..fingerprint import of_patches, of_weights
from .quantised import stored_weights


def fingerprint(thing: Any) -> tuple[str, str]:
    if isinstance(thing, comfy.sd.VAE):
        return of_weights(stored_weights(thing.first_stage_model)), ""
    weights = stored_weights(thing.model.diffusion_model)
    # While LoRAs are merged, the host keeps the original weights in its backup; into packed ones nothing is merged.
    plain = (name for name, weight in weights.items() if isinstance(weight, Tensor))
    kept = {name: thing.backup.get(f"diffusion_model.{name}") for name in plain}
    before = weights | {name: backup.weight for name, backup in kept.items() if backup is not None}
    return of_weights(before), of_patches(thing.patches)
