"""Latents and frames as clips that can be joined: each is decoded when its turn comes, and let go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from torch import Tensor

from ..host import host
from ..media.audio import in_a_row
from ..media.joining import Facts
from ..media.settings import exact_fps
from .inputs import check_latent
from .memory import decoded_stream
from .rgb import rgb
from .streams import Sound, picture

# Frames handed out at a time.
_PIECE = 4


@dataclass(frozen=True)
class FrameClip:
    """Frames [F, H, W, C] in 0..1 with their AUDIO, or None."""

    name: str
    images: Tensor
    sound: Mapping[str, Any] | None
    fps: Fraction

    def facts(self) -> Facts:
        count, height, width = self.images.shape[:3]
        return Facts(count, width, height, self.fps, None if self.sound is None else _kind(self.sound))

    def opened(self) -> FrameClip:
        return self

    def audio(self, seconds: Fraction, notes: list[str]) -> Mapping[str, Any] | None:
        return self.sound

    def pieces(self, notes: list[str]) -> Iterator[Tensor]:
        return (piece.float() for piece in self.images.split(_PIECE))


@dataclass
class LatentClip:
    """A LATENT that is decoded when its turn comes.

    Attributes:
        speaking: the sound in it.
        scale: pixels of a side per number of the latent.
        kind: (samples a second, channels) of the sound, or None where it has none.
    """

    name: str
    vae: Any
    latent: dict[str, Any]
    speaking: Sound
    fps: Fraction
    scale: int
    kind: tuple[int, int] | None = None
    _decoded: Mapping[str, Any] | None = field(default=None, init=False)

    def facts(self) -> Facts:
        samples = picture(self.latent)
        height, width = (side * self.scale for side in samples.shape[-2:])
        return Facts(self._count, width, height, self.fps, self.kind)

    @property
    def _count(self) -> int:
        """Frames; a batch of videos is shown one after the other."""
        samples = picture(self.latent)
        return len(samples) * host.clip_frames(self.vae, samples)

    def measure_sound(self) -> tuple[int, int] | None:
        """(samples a second, channels) of the sound, which is kept until the clip's turn."""
        self._decoded = self._sound()
        return None if self._decoded is None else _kind(self._decoded)

    def opened(self) -> LatentClip:
        return self

    def audio(self, seconds: Fraction, notes: list[str]) -> Mapping[str, Any] | None:
        audio, self._decoded = self._decoded or self._sound(), None
        notes += self.speaking.remarks
        return audio

    def pieces(self, notes: list[str]) -> Iterator[Tensor]:
        for piece in decoded_stream(self.vae, self.latent, lambda _: None):
            yield from (part[..., :3].float().cpu() for part in piece.split(_PIECE))

    def _sound(self) -> Mapping[str, Any] | None:
        audio = self.speaking.decode()
        if audio is None:
            return None
        seconds = host.clip_frames(self.vae, picture(self.latent)) / self.fps
        self.speaking.check_length(audio, seconds, float(self.fps))
        return in_a_row(audio, seconds)


def frame_clips(images: Sequence[Tensor], sounds: Sequence[Any], fps: float) -> list[FrameClip]:
    """
    Args:
        sounds: an AUDIO for each clip, or none.
        fps: frames per second.
    Raises:
        ValueError: fps is not stated, or other numbers of clips and sounds.
    """
    if sounds and len(sounds) != len(images):
        raise ValueError(
            f"images has {len(images)} clips and audio {len(sounds)} sounds. Connect a sound for each clip, or none."
        )
    rate = _rate(fps, "images")
    paired = zip(images, sounds or [None] * len(images), strict=True)
    return [FrameClip(f"images {n}", rgb(frames, "images"), sound, rate) for n, (frames, sound) in enumerate(paired, 1)]


def latent_clips(latents: Sequence[dict[str, Any]], vae: Any, audio_vae: Any, fps: float) -> list[LatentClip]:
    """
    Args:
        fps: frames per second; 0: those of the VAE's model.
    Raises:
        ValueError: no VAE, one of another model, or fps that nobody states.
    """
    if vae is None:
        raise ValueError("latents are connected and nothing decodes them. Connect the model's VAE to vae.")
    for latent in latents:
        check_latent(vae, latent)
    known = host.variant(vae)
    rate = _rate(fps or (known.defaults.fps if known is not None else 0.0), "latents")
    if not latents:
        return []
    if known is not None:
        scale = known.geometry.spatial
    else:  # of another loader's VAE only a decoded frame tells the size
        samples = picture(latents[0])
        still = {**latents[0], "samples": samples[:1, :, :1] if samples.ndim == 5 else samples[:1]}
        scale = next(decoded_stream(vae, still, lambda _: None)).shape[1] // samples.shape[-2]
    clips = [
        LatentClip(f"latent {n}", vae, latent, Sound(latent, audio_vae), rate, scale)
        for n, latent in enumerate(latents, 1)
    ]
    kind = clips[0].measure_sound()
    for clip in clips:
        clip.kind = kind
    return clips


def _rate(fps: float, name: str) -> Fraction:
    if not fps:
        raise ValueError(f"{name} are connected, and their frames per second are not known here. Set fps.")
    return exact_fps(fps)


def _kind(audio: Mapping[str, Any]) -> tuple[int, int]:
    return int(audio["sample_rate"]), int(audio["waveform"].shape[1])
