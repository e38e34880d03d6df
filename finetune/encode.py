"""What a model's encoders make of a clip and of its caption, by the names under which it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from ..base import FamilyError, Pictures, Variant
from ..base.guidance import Conditioning
from ..host import host
from .buckets import Bucket
from .clips import Clip
from .errors import TrainingError
from .frames import read

# Names under which parts of a clip are stored; entries of a CONDITIONING for its first frame have PICTURE in front.
STREAMS, MASK, KNOWN, PICTURE, VISION, CONTEXT = "streams", "mask", "known", "picture:", "vision", "context"
_TEST_PROMPT = "a clip that tells one text encoder from another"


@dataclass(frozen=True)
class Encoders:
    """
    Attributes:
        variant: of the model that is trained.
        clip, vae, audio_vae: of the host; no audio_vae leaves the sound out.
        clip_vision: the image encoder of the host, for models that read their picture so.
    """

    variant: Variant
    clip: Any
    vae: Any
    audio_vae: Any = None
    clip_vision: Any = None

    @cached_property
    def picture_name(self) -> str:
        """Tells the VAEs by what they make of noise."""
        side = -(-64 // self.variant.geometry.multiple) * self.variant.geometry.multiple
        noise = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))
        texts = [_hash(host.encode(self.vae, noise))]
        decoder = None if self.audio_vae is None else host.audio_decoder(self.audio_vae)
        if decoder is not None and decoder.encode is not None:
            wave = torch.rand(1, 2, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5
            texts.append(_hash(decoder.encode({"waveform": wave, "sample_rate": 16_000})))
        return " ".join(texts)

    @cached_property
    def text_name(self) -> str:
        """Tells the text encoders by what they make of a prompt."""
        return _hash(host.embed(self.clip, _TEST_PROMPT)[0][0])


def encoded(encoders: Encoders, clip: Clip, bucket: Bucket, share: float) -> dict[str, Any]:
    """The latents of a clip and, where `share` of the steps gives the first frame, what is made of it; names as above.

    Raises:
        TrainingError: something of the clip is lost, or the model cannot start from its first frame.
    """
    frames, audio = read(clip, bucket, encoders.variant.defaults.fps)
    streams = [host.encode(encoders.vae, frames)]
    if audio is not None:
        streams.append(_sound_latent(encoders, audio, bucket))
    values: dict[str, Any] = {STREAMS: streams}
    if share and bucket.frames > 1:
        try:
            values |= guided_by_first(encoders, frames)
        except FamilyError as error:
            raise TrainingError(str(error)) from error
    return values


def _sound_latent(encoders: Encoders, audio: dict[str, Any], bucket: Bucket) -> Tensor:
    """The latent of exactly the clip's length; silence behind a shorter sound."""
    variant, stream = encoders.variant, encoders.variant.sound
    decoder = host.audio_decoder(encoders.audio_vae)
    assert stream is not None and decoder is not None and decoder.encode is not None
    fps, rate = variant.defaults.fps, audio["sample_rate"]
    wave = audio["waveform"][:1, :2].float()
    wave = wave.expand(-1, 2, -1) if wave.shape[1] == 1 else wave
    length = stream.latent_shape(bucket.width, bucket.height, bucket.frames, fps)[1]
    # Somewhat more than the clip, so that the last latent is there: encoders leave an unfilled one out.
    samples = int(rate * (bucket.frames / fps + 0.5))
    wave = torch.nn.functional.pad(wave[..., :samples], (0, max(0, samples - wave.shape[-1])))
    latent = decoder.encode({"waveform": wave, "sample_rate": rate})
    if latent.shape[2] < length:
        raise TrainingError(f"Its sound makes {latent.shape[2]} latents; {length} are needed.")
    return latent[:, :, :length]


def guided_by_first(encoders: Encoders, frames: Tensor) -> dict[str, Any]:
    """What a family makes of the first frame, by the names of the store.

    Raises:
        FamilyError: the variant does not start from one picture.
    """
    variant = encoders.variant
    images = variant.family.images
    if images is None:
        raise FamilyError(f"{variant.title} takes no pictures.")

    def encode(video: Tensor) -> Tensor:
        return host.encode(encoders.vae, video[0].permute(1, 2, 3, 0).add(1).div(2))

    first = frames[:1].permute(3, 0, 1, 2)[None] * 2 - 1
    vision = None
    if encoders.clip_vision is not None:
        vision = encoders.clip_vision.encode_image(frames[:1]).penultimate_hidden_states
    guided = images.prepare(variant, Pictures(first, None, len(frames), 1.0, vision, encode))
    values: dict[str, Any] = {} if guided.mask is None else {MASK: guided.mask, KNOWN: guided.samples}
    for name, value in guided.entries.items():
        if name == "clip_vision_output":
            values[VISION] = value.penultimate_hidden_states
        else:
            values[PICTURE + name] = value
    return values


def completed(variant: Variant, text: str) -> str:
    complete = variant.family.text.complete if variant.family.text else None
    return text if complete is None else complete(text, variant.defaults.fps, 0)


def embedded(conditioning: Conditioning) -> dict[str, Any]:
    """What the store holds of a CONDITIONING; what only the host's own sampler reads is left out."""
    context, entries = conditioning[0]
    kept = {name: v for name, v in entries.items() if v is None or isinstance(v, Tensor | str | bool | int | float)}
    return {CONTEXT: context, **kept}


def _hash(tensor: Tensor) -> str:
    return sha256(tensor.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
