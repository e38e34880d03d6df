"""What tells one MODEL or VAE from another."""

from __future__ import annotations

from typing import Any

from ..fingerprint import of_patches, of_weights
from .vae import AudioVae, Vae


def fingerprint(thing: Any) -> tuple[str, str]:
    if isinstance(thing, (Vae, AudioVae)):
        return of_weights(dict(thing.part.vae.named_parameters())), ""
    patches = {
        (n, patch.key, patch.rows): (strength, patch.kind, patch.scale, list(patch.tensors.values()))
        for n, (lora, strength) in enumerate(thing.patches)
        for patch in lora
    }
    return of_weights(dict(thing.part.transformer.named_parameters())), of_patches(patches)
