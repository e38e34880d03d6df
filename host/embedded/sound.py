"""Sound on the embedded host."""

from __future__ import annotations

from typing import Any

from ..sound import AudioDecoder


def audio_decoder(vae: Any) -> AudioDecoder | None:
    """None: all VAEs of the pack's families are for pictures."""
    return None
