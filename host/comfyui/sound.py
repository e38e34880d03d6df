"""The host's own audio VAEs."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.model_management as mm
import comfy.sd
import torch
from torch import Tensor

from ..sound import AudioDecoder
from .vae import SoundStage


def audio_decoder(vae: Any) -> AudioDecoder | None:
    """Decoding by the host's nodes: LTXVAudioVAEDecode, which returns the sample rate, and VAEDecodeAudio."""
    # 0.8.0 passes LTX-2's audio VAE without the host's VAE class around it.
    first_stage = getattr(vae, "first_stage_model", vae)
    if isinstance(first_stage, SoundStage):
        part = first_stage.opent2v
        encoded = partial(_encoded, vae) if part.encodes else None
        return AudioDecoder(vae.latent_channels, partial(_decoded, vae), encoded, part.time_axis)
    # LTX-2's and MiniMax H3's. The other node divides a loud sound by its spread.
    tells_rate = hasattr(first_stage, "output_sample_rate")
    if not tells_rate and not (isinstance(vae, comfy.sd.VAE) and vae.output_channels < 3):
        return None

    def decode(latent: Tensor) -> dict[str, Any]:
        # Imported late, because the host loads its extra nodes after some packs.
        if tells_rate:
            from comfy_extras.nodes_lt_audio import LTXVAudioVAEDecode

            return LTXVAudioVAEDecode.execute(samples={"samples": latent}, audio_vae=vae).result[0]
        from comfy_extras.nodes_audio import VAEDecodeAudio

        return VAEDecodeAudio.execute(vae=vae, samples={"samples": latent}).result[0]

    def encode(audio: dict[str, Any]) -> Tensor:
        from comfy_extras.nodes_audio import VAEEncodeAudio

        return VAEEncodeAudio.execute(vae=vae, audio=audio).result[0]["samples"].float().cpu()

    # LTX-2's latents end with their frequencies, all others with time.
    time_axis = 2 if hasattr(first_stage, "latent_frequency_bins") else vae.latent_dim + 1
    return AudioDecoder(vae.latent_channels, decode, encode if isinstance(vae, comfy.sd.VAE) else None, time_axis)


def _decoded(vae: Any, latent: Tensor) -> dict[str, Any]:
    return {"waveform": vae.decode(latent).movedim(-1, 1), "sample_rate": vae.audio_sample_rate_output}


@torch.inference_mode()
def _encoded(vae: Any, audio: dict[str, Any]) -> Tensor:
    """The whole sound; the host's own call would be told no rate."""
    waveform = audio["waveform"]
    mm.load_models_gpu(
        [vae.patcher], memory_required=vae.memory_used_encode(waveform.shape, vae.vae_dtype), force_full_load=True
    )
    latent = vae.first_stage_model.encode(waveform.to(vae.device, vae.vae_dtype), sample_rate=int(audio["sample_rate"]))
    return latent.float().cpu()
