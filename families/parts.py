"""The three loaded parts of a model: what loaders make and hosts drive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .base import Variant


@dataclass(frozen=True)
class VideoModel:
    """A transformer with what its family knows about it."""

    variant: Variant
    transformer: nn.Module
    path: Path

    def predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Flow for noisy latents x [B, C, T, H, W] at timesteps t [B] in 0..1000 with context [B, L, D]."""
        return self.variant.family.predict(self.transformer, x, t, context)


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder with its tokenizer."""

    variant: Variant
    encoder: nn.Module
    tokenizer: Any
    path: Path

    def tokens(self, text: str) -> tuple[list[int], int]:
        """(ids of the prompt's real tokens, how many tokens the whole prompt has); ids end with the end token."""
        limit = self.variant.defaults.max_tokens
        text = self.variant.family.clean(text)
        whole = self.tokenizer(text, add_special_tokens=True).input_ids
        cut = self.tokenizer(text, add_special_tokens=True, truncation=True, max_length=limit).input_ids
        return cut, len(whole)

    def embed(self, ids: list[int], device: torch.device | str = "cpu") -> Tensor:
        """[1, max_tokens, D]: the embedding, padded with exact zeros."""
        limit = self.variant.defaults.max_tokens
        padded = torch.zeros(1, limit, dtype=torch.long, device=device)
        padded[0, : len(ids)] = torch.tensor(ids[:limit], device=device)
        pad = self.tokenizer.pad_token_id or 0
        padded[0, len(ids) :] = pad
        mask = (torch.arange(limit, device=device) < len(ids)).long().unsqueeze(0)
        return self.variant.family.embed(self.encoder, padded, mask)


@dataclass(frozen=True)
class VideoVAE:
    """A VAE with what its family knows about it."""

    variant: Variant
    vae: nn.Module
    path: Path

    def decode(self, latent: Tensor) -> Tensor:
        """VAE latent [B, C, T, h, w] -> video [B, 3, F, H, W] in -1..1."""
        return self.variant.family.decode(self.vae, latent)

    @property
    def streams(self) -> bool:
        """Whether `decode_frames` can be called."""
        return self.variant.family.decode_frames is not None

    def decode_frames(self, latent: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        """What `decode` returns, in pieces [B, 3, f, H, W] that follow each other; `tiled`: in tiles of space."""
        decode_frames = self.variant.family.decode_frames
        assert decode_frames is not None
        return decode_frames(self.vae, latent, tiled)

    def encode(self, video: Tensor) -> Tensor:
        """Video [B, 3, F, H, W] in -1..1 -> VAE latent [B, C, T, h, w]."""
        return self.variant.family.encode(self.vae, video)
