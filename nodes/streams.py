"""LATENTs of several streams: a picture and its sound in one, as LTX-2 and MiniMax H3 make them.

Their "samples" are ComfyUI's `NestedTensor`: no Tensor, but a list of them that answers to `is_nested` and `unbind()`.
The picture comes first. Every other LATENT has one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from ..host import host
from ..sampling import SamplingError
from ..sampling.streams import unbind

# Nodes that load the audio VAEs, for messages.
AUDIO_VAES = (
    "Load Video VAE, for LTX-2 Load Video Diffusion Model too; or ComfyUI's Load LTXV Audio VAE for LTX-2, Load VAE "
    "for MiniMax H3"
)

# A sound may differ from its picture by this share of the length, because their latents end at different moments.
SLACK = 0.04


def picture(latent: dict[str, Any]) -> Tensor:
    """[B, C, T, h, w] or [B, C, h, w]."""
    return unbind(latent["samples"])[0]


def shapes(samples: Any) -> str:
    """Shapes of a LATENT's streams, in the user's words."""
    sizes = [" x ".join(map(str, stream.shape)) for stream in unbind(samples)]
    return sizes[0] if len(sizes) == 1 else f"{len(sizes)} streams ({', '.join(sizes)})"


class Sound:
    """The sound in a LATENT, with the VAE that decodes it. It is checked before anything is decoded.

    Attributes:
        remarks: what the user should know where there is no sound, or nothing to decode it with.
    Raises:
        ValueError: audio_vae is a VAE for pictures, or one for another model's sound.
    """

    def __init__(self, latent: dict[str, Any], audio_vae: Any, has_other: bool = False):
        """
        Args:
            has_other: another sound is connected, so that leaving out the latent's needs no remark.
        """
        _, *sounds = unbind(latent["samples"])
        self._samples, self._decoder = sounds[0] if sounds else None, None
        self.remarks: list[str] = []
        if audio_vae is None:
            if sounds and not has_other:
                self.remarks.append(
                    "The latent holds sound too, which is left out. To get it, connect the model's audio VAE to "
                    f"audio_vae ({AUDIO_VAES})."
                )
            return
        decoder = self._decoder = host.audio_decoder(audio_vae)
        if decoder is None:
            raise ValueError(
                "audio_vae is a VAE for pictures. Connect the model's audio VAE there "
                f"({AUDIO_VAES}), and this one to vae."
            )
        if self._samples is None:
            self.remarks.append("The latent holds no sound, so audio_vae has nothing to decode.")
        elif self._samples.shape[1] != decoder.channels:
            raise ValueError(
                f"The latent's sound has {self._samples.shape[1]} channels; this audio VAE decodes {decoder.channels}. "
                "Use the audio VAE that belongs to the model that made the latent."
            )

    def decode(self) -> dict[str, Any] | None:
        """AUDIO {"waveform" [B, channels, samples], "sample_rate"}, or None."""
        return None if self._samples is None or self._decoder is None else self._decoder.decode(self._samples)

    def check_length(self, audio: dict[str, Any], seconds: Fraction, fps: float) -> None:
        """Add a remark where the picture plays faster or slower than its sound.

        Args:
            seconds: length of a clip's picture at these frames per second.
        """
        heard = audio["waveform"].shape[-1] / audio["sample_rate"]
        if abs(heard - seconds) > max(SLACK * heard, 2 / fps):
            right = round(float(seconds) * fps / heard)
            self.remarks.append(
                f"The picture lasts {float(seconds):.1f} s at {fps:g} fps and its sound {heard:.1f} s, so they do not "
                f"go together. Set fps to {right}."
            )


def check_is_video(vae: Any) -> None:
    """
    Raises:
        ValueError: the VAE is one for sound.
    """
    if host.audio_decoder(vae) is not None:
        raise ValueError(
            "vae is an audio VAE. Connect the model's video VAE there, and this one to audio_vae of the node that "
            "decodes."
        )


def same_streams(cached: Any, reference: Any) -> Sequence[tuple[str, Tensor, Tensor]]:
    """(name, stream, stream) of two LATENTs' samples.

    Raises:
        SamplingError: one has more streams.
    """
    pairs = unbind(cached), unbind(reference)
    if len(pairs[0]) != len(pairs[1]):
        raise SamplingError(
            f"The cached run holds {shapes(cached)}, the reference {shapes(reference)}; only runs of the same model "
            "can be compared. Give both samplers the same empty latent."
        )
    names = ["latents", "sound", *(f"stream {n + 3}" for n in range(len(pairs[0])))]
    return [(name, *pair) for name, pair in zip(names, zip(*pairs, strict=True), strict=False)]
