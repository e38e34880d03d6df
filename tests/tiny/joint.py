"""A toy family that makes a video with its sound: two streams, which the blocks mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opent2v.base import (
    Defaults,
    Family,
    Geometry,
    Network,
    Recognition,
    Sound,
    SoundStream,
    SoundVAE,
    Variant,
    VideoModel,
    VideoStream,
)
from opent2v.host import host

CHANNELS, SOUND_CHANNELS, SOUND_BINS, WIDTH, TEXT, RATE = 2, 3, 4, 16, 8, 80
SIZE, FPS = (16, 16, 9), 3.0
# Of latents in that size and length.
SHAPES = (1, CHANNELS, 3, 2, 2), (1, SOUND_CHANNELS, 6, SOUND_BINS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.video, self.sound = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, video: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, width] and [B, M, width]; each stream sees the other's mean."""
        both = video.mean(1, keepdim=True) + sound.mean(1, keepdim=True)
        return video + torch.tanh(self.video(video + both)), sound + torch.tanh(self.sound(sound - both))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.video_in, self.sound_in = nn.Linear(CHANNELS, WIDTH), nn.Linear(SOUND_CHANNELS * SOUND_BINS, WIDTH)
        self.text = nn.Linear(TEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.video_out, self.sound_out = nn.Linear(WIDTH, CHANNELS), nn.Linear(WIDTH, SOUND_CHANNELS * SOUND_BINS)

    def forward(self, video: Tensor, sound: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, C, T, h, w] and [B, C, T, bins] at t [B] in 0..1000 -> the same of each, noise minus clean."""
        told = self.text(context.mean(1)) + (t / 1000).view(-1, 1).to(context)
        a = self.video_in(video.flatten(2).transpose(1, 2)) + told[:, None]
        b = self.sound_in(sound.transpose(1, 2).flatten(2)) + told[:, None]
        for block in self.blocks:
            a, b = block(a, b)
        made = self.video_out(a).transpose(1, 2).reshape(video.shape)
        return made, self.sound_out(b).unflatten(2, sound.shape[1::2]).transpose(1, 2)


class AudioDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(SOUND_CHANNELS * SOUND_BINS, 2 * RATE // 6)


def predict(variant: Variant, transformer: nn.Module, x: Any, t: Tensor, conditions: Any) -> Any:
    return transformer(*x, t, conditions["context"])


def condition(variant: Variant, entry: Any, shapes: Any) -> dict[str, Tensor]:
    given = {"context": entry["cross_attn"]}
    seen.append((shapes, entry["denoise_mask"]))
    return given


def decode(vae: Any, latent: Tensor) -> Tensor:
    rows = vae.out(latent.transpose(1, 2).flatten(2))
    return torch.tanh(rows.unflatten(2, (2, -1)).transpose(1, 2).flatten(2))


# What `condition` was given, the latest last.
seen: list[tuple[Any, Any]] = []
FAMILY = Family(
    id="toy_joint",
    title="Toy",
    recognition=Recognition(lambda shapes, name: "a toy is in no file"),
    network=Network(predict, condition),
    sound=Sound(decode, lambda vae: RATE),
)
VARIANT = Variant(
    family=FAMILY,
    name="joint",
    streams=(
        VideoStream(Geometry(channels=CHANNELS, temporal=4, spatial=8, patch=1), mean=(0.5, -0.5), std=(2.0, 4.0)),
        SoundStream(lambda frames, fps: (SOUND_CHANNELS, round(frames / fps * 2), SOUND_BINS), std=(0.5,)),
    ),
    defaults=Defaults(*SIZE, fps=FPS, steps=4, guidance=3.0),
    scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0},
    context_width=TEXT,
)


def transformer(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer().eval().requires_grad_(False)


def model(side: Any = host) -> Any:
    """A MODEL of a host, of the one that is there by default."""
    return side.model(VideoModel(VARIANT, transformer(), Path("toy")))


def audio_vae(side: Any = host) -> Any:
    torch.manual_seed(1)
    return side.vae(SoundVAE(VARIANT, AudioDecoder().eval().requires_grad_(False), Path("toy")))


def conditionings() -> tuple[Any, Any]:
    """(positive, negative)."""
    generator = torch.Generator().manual_seed(5)
    return tuple([[torch.randn(1, 6, TEXT, generator=generator), {}]] for _ in range(2))
