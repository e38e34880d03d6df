"""Sound on the embedded host."""

from __future__ import annotations

from typing import Any

from ..sound import AudioDecoder


def audio_decoder(vae: Any) -> AudioDecoder | None:
    """What decodes sound with this VAE; None for a VAE for pictures, as all of the pack's families' are."""
    return None
