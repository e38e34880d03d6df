"""What a family tells the rest of the pack. Tensors and plain values only: no host, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

# Attention over more tokens than this fits no machine; a 14 billion model's 720p default is 75,600.
MAX_TOKENS = 2**22


class FamilyError(ValueError):
    """A model folder or a request does not fit the family. The message says found, expected, what to do."""


@dataclass(frozen=True)
class Geometry:
    """How pixels fold into latents and tokens.

    Attributes:
        channels: latent channels.
        temporal: video frames per latent frame; the first latent frame holds one frame (temporal * n + 1 frames).
        spatial: pixels per latent pixel, along each side.
        patch: latent pixels per token, along each side.
        max_positions: longest axis the position embedding knows, in tokens (or latent frames).
    """

    channels: int
    temporal: int
    spatial: int
    patch: int = 2
    max_positions: int = 1024

    @property
    def multiple(self) -> int:
        """Width and height are multiples of this many pixels."""
        return self.spatial * self.patch

    @property
    def max_size(self) -> int:
        """Largest width or height in pixels."""
        return self.max_positions * self.multiple

    @property
    def max_frames(self) -> int:
        return (self.max_positions - 1) * self.temporal + 1

    def legal(self, width: int, height: int, frames: int) -> tuple[int, int, int]:
        """The nearest (width, height, frames) the model can make; halves round up.

        Raises:
            FamilyError: a side or the frame count is not positive or beyond the position embedding, or all of it
                together is more than `MAX_TOKENS`.
        """
        for name, value, limit, unit in (
            ("width", width, self.max_size, "pixels"),
            ("height", height, self.max_size, "pixels"),
            ("frames", frames, self.max_frames, "frames"),
        ):
            if not 1 <= value <= limit:
                raise FamilyError(f"{name} is {value}; this model takes 1 to {limit} {unit}. 0 means the model's own.")

        def side(pixels: int) -> int:
            return max(1, int(pixels / self.multiple + 0.5)) * self.multiple

        legal = side(width), side(height), int((frames - 1) / self.temporal + 0.5) * self.temporal + 1
        _, latent_frames, rows, columns = self.latent_shape(*legal)
        tokens = latent_frames * (rows // self.patch) * (columns // self.patch)
        if tokens > MAX_TOKENS:
            raise FamilyError(
                f"{legal[0]} x {legal[1]} pixels with {legal[2]} frames are {tokens:,} tokens; at most {MAX_TOKENS:,} "
                "can be computed at once. Choose a smaller size or fewer frames."
            )
        return legal

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int]:
        """(channels, latent frames, latent height, latent width) of a legal size."""
        return self.channels, (frames - 1) // self.temporal + 1, height // self.spatial, width // self.spatial

    def frames(self, latent_frames: int) -> int:
        """Video frames that so many latent frames decode to."""
        return (latent_frames - 1) * self.temporal + 1


@dataclass(frozen=True)
class Defaults:
    """What is used where the user leaves 0 or an empty text.

    Attributes:
        guidance: classifier-free guidance scale; 1 switches it off.
        negative: recommended negative prompt.
        max_tokens: length the prompt's embedding is padded or cut to.
    """

    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    negative: str = ""
    max_tokens: int = 512


@dataclass(frozen=True)
class Variant:
    """All that is true of one checkpoint: found by the family in the folder's configs.

    Attributes:
        mean, std: per latent channel; what the transformer sees is (latent - mean) / std.
        scheduler: the folder's scheduler config, with `_class_name`.
        latent_format: name of the host's latent format class with the same numbers, where it has one.
        rgb: [channels][3] factors and [3] bias that turn a normalised latent into a preview, or None.
        context_width: width of the prompt embedding the transformer reads.
        memory_factor: ComfyUI's memory_usage_factor for this transformer.
        decode_floats, encode_floats: values alive per pixel of one frame while the VAE works (it goes through a
            clip in small groups of frames, so length does not enter).
    """

    family: Family
    name: str
    geometry: Geometry
    defaults: Defaults
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scheduler: Mapping[str, Any]
    latent_format: str = ""
    rgb: tuple[tuple[tuple[float, ...], ...], tuple[float, ...]] | None = None
    context_width: int = 0
    memory_factor: float = 2.0
    decode_floats: float = 7000.0
    encode_floats: float = 6000.0

    def sample_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that one call of the transformer on latents [B, C, T, h, w] takes, weights apart.

        Source: ComfyUI's estimate for memory-efficient attention (BaseModel.memory_required).
        """
        batch, _, frames, height, width = shape
        return batch * frames * height * width * item_bytes * 0.01 * self.memory_factor * 1024**2

    def decode_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that decoding latents [B, C, T, h, w] takes at its peak, the finished video included."""
        batch, _, frames, height, width = shape
        pixels = height * width * self.geometry.spatial**2
        return pixels * (self.decode_floats * item_bytes + batch * self.geometry.frames(frames) * 3 * 4)

    def encode_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that encoding a video [B, 3, F, H, W] takes at its peak."""
        return shape[3] * shape[4] * self.encode_floats * item_bytes

    @property
    def title(self) -> str:
        return f"{self.family.title} {self.name}".strip()

    def normalise(self, latent: Tensor) -> Tensor:
        """VAE latent [B, C, T, H, W] -> what the transformer sees."""
        return (latent - self._column(self.mean, latent)) / self._column(self.std, latent)

    def denormalise(self, latent: Tensor) -> Tensor:
        """What the transformer sees [B, C, T, H, W] -> VAE latent."""
        return latent * self._column(self.std, latent) + self._column(self.mean, latent)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1)


@dataclass(frozen=True)
class Family:
    """One model family. The functions are the family's own; the tables say which classes a folder may name.

    Attributes:
        components: slot in model_index.json -> class names that may stand there.
        read: (configs by slot, with "index" and optional "opent2v") -> Variant; raises FamilyError.
        predict: (transformer, x [B, C, T, H, W], t [B] in 0..1000, context [B, L, D]) -> flow, like x.
        clean: prompt text as typed -> as the tokenizer gets it.
        embed: (text encoder, ids [B, L], mask [B, L]) -> context [B, L, D].
        decode: (vae, latent [B, C, T, h, w]) -> [B, 3, F, H, W] in -1..1.
        encode: (vae, [B, 3, F, H, W] in -1..1) -> latent [B, C, T, h, w].
        blocks: path of the transformer's block list, where caches and block-wise tools attach.
        tied: parameter name -> the name it shares its weight with, per slot, for files that store it once.
        decode_frames: (vae, latent [B, C, T, h, w], in tiles of space) -> the pieces of what `decode` returns, in
            order, made one after the other and without looking ahead, so that each can be let go before the next.
            None: the VAE cannot; hosts then decode overlapping stretches of the latent and blend them.
    """

    id: str
    title: str
    source: str
    pipelines: frozenset[str]
    components: Mapping[str, frozenset[str]]
    read: Callable[[Mapping[str, Mapping[str, Any]]], Variant]
    predict: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
    clean: Callable[[str], str]
    embed: Callable[[nn.Module, Tensor, Tensor], Tensor]
    decode: Callable[[nn.Module, Tensor], Tensor]
    encode: Callable[[nn.Module, Tensor], Tensor]
    blocks: str = "blocks"
    tied: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    decode_frames: Callable[[nn.Module, Tensor, bool], Iterator[Tensor]] | None = None
