"""The loaded parts of a model: what loaders make and hosts drive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import FamilyError
from .family import Sound, Text, Video
from .shown import Shown
from .types import Entry
from .variant import Variant


@dataclass(frozen=True)
class VideoModel:
    """A transformer with what its family knows about it.

    Attributes:
        again: loads it once more from its files; None where it was not loaded from any.
    """

    variant: Variant
    transformer: nn.Module
    path: Path
    again: Callable[[], VideoModel] | None = field(default=None, compare=False, repr=False)

    def conditions(self, entry: Entry, shape: Any) -> dict[str, Tensor]:
        """What `predict` reads, from one conditioning of a run on latents of `shape` [B, C, T, h, w], see `Network`."""
        return self.variant.family.network.condition(self.variant, entry, shape)

    def prepare(self, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions with what the transformer makes of them alone, see `Network`; they are on its device."""
        prepare = self.variant.family.network.prepare
        return dict(conditions) if prepare is None else prepare(self.variant, self.transformer, conditions)

    def predict(self, x: Any, t: Tensor, conditions: Mapping[str, Tensor]) -> Any:
        """The variant's prediction for noisy latents x [B, C, T, H, W] at timesteps t [B] in 0..1000, see `Network`."""
        predict = self.variant.family.network.predict
        assert predict is not None, "the pack builds no network that only the host calls"
        return predict(self.variant, self.transformer, x, t, conditions)


@dataclass(frozen=True)
class TextEncoder:
    """The text encoders of a model with their tokenizers, both by the encoder's slot.

    Attributes:
        again: loads it once more from its files; None where it was not loaded from any.
        identity: a text that changes with everything that its embeddings depend on; "" where nobody has stated it.
    """

    variant: Variant
    encoders: Mapping[str, nn.Module]
    tokenizers: Mapping[str, Any]
    path: Path
    again: Callable[[], TextEncoder] | None = field(default=None, compare=False, repr=False)
    identity: str = ""

    def identified(self, identity: str) -> TextEncoder:
        """The same with its identity, when it is loaded again as well."""
        again = self.again
        return replace(self, identity=identity, again=again and (lambda: again().identified(identity)))

    @property
    def _text(self) -> Text:
        assert self.variant.family.text is not None, "the pack loads no text encoder for this family"
        return self.variant.family.text

    @property
    def shows(self) -> bool:
        """Whether its prompts may show pictures, clips and sounds."""
        return self._text.pictured is not None

    def tokens(self, text: str, shown: Sequence[Shown] = ()) -> tuple[dict[str, list[Any]], int]:
        """({slot: ids of the prompt's real tokens}, how many tokens the whole prompt has for the first encoder).

        The ids end with the encoder's end token and are cut to what it reads. Where the prompt shows a picture, a
        tensor stands for its tokens.

        Raises:
            FamilyError: the prompt shows something, and this model's prompts hold words only.
        """
        pictured = self._text.pictured
        if pictured is not None:
            slot = self.variant.prompts[0].slot
            row = pictured.tokens(self.tokenizers[slot], text, shown)
            return {slot: row}, len(row)
        if shown:
            raise FamilyError(f"The text encoder of {self.variant.title} reads words only, no pictures or sounds.")
        ids, whole = {}, 0
        for n, prompt in enumerate(self.variant.prompts):
            tokenizer, ready = self.tokenizers[prompt.slot], prompt.prepare(text)
            ids[prompt.slot] = tokenizer(ready, truncation=True, max_length=prompt.max_tokens).input_ids
            if n == 0:
                whole = len(tokenizer(ready).input_ids)
        return ids, whole

    def embed(self, ids: Mapping[str, list[Any]], device: torch.device | str = "cpu") -> tuple[Tensor, dict[str, Any]]:
        """(context [1, L, D], further entries of the CONDITIONING's dictionary), each prompt padded to its length."""
        pictured = self._text.pictured
        if pictured is not None:
            return pictured.embed(self.encoders, ids[self.variant.prompts[0].slot], device)
        assert self._text.embed is not None
        padded = {}
        for prompt in self.variant.prompts:
            row, limit = ids[prompt.slot][: prompt.max_tokens], prompt.max_tokens
            pad = (self.tokenizers[prompt.slot].pad_token_id or 0) if prompt.pad is None else prompt.pad
            values = torch.tensor([row + [pad] * (limit - len(row))], device=device)
            mask = (torch.arange(limit, device=device) < len(row)).long().unsqueeze(0)
            padded[prompt.slot] = values, mask
        return self._text.embed(self.encoders, padded)


@dataclass(frozen=True)
class LateTextEncoder:
    """A text encoder that is loaded when a prompt has to be encoded, and not where all prompts are known.

    Attributes:
        identity: as of `TextEncoder`.
    """

    variant: Variant
    path: Path
    identity: str
    load: Callable[[], TextEncoder] = field(compare=False, repr=False)

    @property
    def shows(self) -> bool:
        """Whether its prompts may show pictures, clips and sounds."""
        text = self.variant.family.text
        return text is not None and text.pictured is not None


@dataclass(frozen=True)
class LoadedVAE:
    """A VAE with what its family knows about it.

    Attributes:
        again: loads it once more from its files; None where it was not loaded from any.
    """

    variant: Variant
    vae: nn.Module
    path: Path
    again: Callable[[], Any] | None = field(default=None, compare=False, repr=False)


class VideoVAE(LoadedVAE):
    """The VAE of a model's video."""

    @property
    def _video(self) -> Video:
        assert self.variant.family.video is not None, "the pack loads no VAE of this family"
        return self.variant.family.video

    def decode(self, latent: Tensor, seed: int = 0) -> Tensor:
        """VAE latent [B, C, T, h, w] -> video [B, 3, F, H, W] in -1..1."""
        return self._video.decode(self.vae, latent, seed)

    @property
    def streams(self) -> bool:
        """Whether `decode_frames` can be called."""
        return self._video.decode_frames is not None

    @property
    def tiles_itself(self) -> bool:
        """Whether hosts leave it to the VAE to work in tiles."""
        return self._video.tiles_itself

    def decode_frames(self, latent: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        """What `decode` returns, in pieces [B, 3, f, H, W] that follow each other; `tiled`: in tiles of space."""
        decode_frames = self._video.decode_frames
        assert decode_frames is not None
        return decode_frames(self.vae, latent, tiled)

    def encode(self, video: Tensor) -> Tensor:
        """Video [B, 3, F, H, W] in -1..1 -> VAE latent [B, C, T, h, w]."""
        return self._video.encode(self.vae, video)


class SoundVAE(LoadedVAE):
    """The VAE of a joint model's sound."""

    @property
    def _sound(self) -> Sound:
        assert self.variant.family.sound is not None, "the pack loads no audio VAE of this family"
        return self.variant.family.sound

    @property
    def channels(self) -> int:
        """Of the latents."""
        return self.latent_shape(self.variant.defaults.frames, self.variant.defaults.fps)[0]

    def latent_shape(self, frames: int, fps: float) -> tuple[int, ...]:
        """(channels, ...) of the latent for so many video frames."""
        stream, defaults = self.variant.sound, self.variant.defaults
        assert stream is not None, "a model without sound has no audio VAE"
        return stream.latent_shape(defaults.width, defaults.height, frames, fps)

    @property
    def time_axis(self) -> int:
        """The axis of the latent [B, channels, ...] that is time."""
        assert self.variant.sound is not None, "a model without sound has no audio VAE"
        return self.variant.sound.time_axis

    @property
    def input_rate(self) -> int:
        """Samples a second of what `encode` reads without converting it; that of `decode` where nothing is encoded."""
        input_rate = self._sound.input_rate
        return self.rate if input_rate is None else input_rate(self.vae)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._sound.rate(self.vae)

    def decode(self, latent: Tensor) -> Tensor:
        """VAE latent [B, C, ...] -> waveform [B, 1 or 2, samples] in -1..1."""
        return self._sound.decode(self.vae, latent)

    @property
    def encodes(self) -> bool:
        """Whether `encode` can be called."""
        return self._sound.encode is not None

    def encode(self, waveform: Tensor, rate: int) -> Tensor:
        """Waveform [B, 1 or 2, samples] in -1..1 at `rate` samples a second -> VAE latent [B, C, ...]."""
        encode = self._sound.encode
        assert encode is not None
        return encode(self.vae, waveform, rate)
