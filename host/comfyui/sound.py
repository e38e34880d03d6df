"""The host's own audio VAEs."""

from __future__ import annotations

from typing import Any

import comfy.sd
from torch import Tensor

from ..sound import AudioDecoder
from .vae import SoundStage


def audio_decoder(vae: Any) -> AudioDecoder | None:
    """Decoding by the host's nodes: LTXVAudioVAEDecode, which returns the sample rate, and VAEDecodeAudio."""
    # 0.8.0 passes LTX-2's audio VAE without the host's VAE class around it.
    first_stage = getattr(vae, "first_stage_model", vae)
    is_ltx = hasattr(first_stage, "output_sample_rate") and hasattr(first_stage, "num_of_latents_from_frames")
    if isinstance(first_stage, SoundStage):
        return AudioDecoder(vae.latent_channels, lambda latent: _decoded_by_ours(vae, latent))
    if not is_ltx and not (isinstance(vae, comfy.sd.VAE) and vae.output_channels < 3):
        return None

    def decode(latent: Tensor) -> dict[str, Any]:
        # Imported late, because the host loads its extra nodes after some packs.
        if is_ltx:
            from comfy_extras.nodes_lt_audio import LTXVAudioVAEDecode

            return LTXVAudioVAEDecode.execute(samples={"samples": latent}, audio_vae=vae).result[0]
        from comfy_extras.nodes_audio import VAEDecodeAudio

        return VAEDecodeAudio.execute(vae=vae, samples={"samples": latent}).result[0]

    return AudioDecoder(vae.latent_channels, decode)


def _decoded_by_ours(vae: Any, latent: Tensor) -> dict[str, Any]:
    return {"waveform": vae.decode(latent).movedim(-1, 1), "sample_rate": vae.audio_sample_rate}
