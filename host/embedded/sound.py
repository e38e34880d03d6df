"""Sound on the embedded host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..sound import AudioDecoder
from ..watch import interruptible
from .place import check_interrupt
from .vae import AudioVae


def audio_decoder(vae: Any) -> AudioDecoder | None:
    if not isinstance(vae, AudioVae):
        return None

    @torch.inference_mode()
    def decode(latent: Tensor) -> dict[str, Any]:
        with interruptible(vae.part.vae, check_interrupt):
            waveform = vae.part.decode(latent.to(vae.device, vae.dtype))
        return {"waveform": waveform.float().cpu(), "sample_rate": vae.part.rate}

    @torch.inference_mode()
    def encode(audio: dict[str, Any]) -> Tensor:
        waveform = audio["waveform"].to(vae.device, vae.dtype)
        with interruptible(vae.part.vae, check_interrupt):
            return vae.part.encode(waveform, audio["sample_rate"]).float().cpu()

    return AudioDecoder(vae.part.channels, decode, encode if vae.part.encodes else None, vae.part.time_axis)
