"""The latent space: fixed linear (PCA) components of blocks of 4 frames x 12 x 12 pixels.

The space is fitted once on procedural clips. That lets the transformer, the encoder and the decoder be trained on
their own: the transformer learns these latents, the encoder holds the linear map, and the decoder learns to draw from
them far better than the linear inverse does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import world

CHANNELS = 16
BLOCK = 12  # pixels per latent pixel
STRIDE = 4  # frames per latent frame; the first latent frame holds one frame
SIZE = 96  # width and height of a clip in pixels
FRAMES = 33
# Of a clip's latents.
SHAPE = (CHANNELS, (FRAMES - 1) // STRIDE + 1, SIZE // BLOCK, SIZE // BLOCK)
# The space of the shipped model. Its weights depend on every digit of it, so it is stored and not fitted again.
FILE = Path(__file__).with_name("latent_space.safetensors")
# Exponent of the variance by which a component is divided. 0.5 would whiten: all components, grain included, would
# count the same in the loss. At 0, all components but the colours would be too faint to be learned.
WHITENING = 0.35


def latent_frames(frames: int) -> int:
    """How many latent frames `frames` = 4n + 1 frames take."""
    return (frames - 1) // STRIDE + 1


@dataclass(frozen=True)
class LatentSpace:
    """Affine map between blocks of video and latents."""

    mean: Tensor  # [1728]
    basis: Tensor  # [1728, 16], orthonormal columns
    scale: Tensor  # [16], divisors of the components

    @property
    def block(self) -> int:
        """Pixels per latent pixel: `BLOCK`, or what a space of other blocks has."""
        return math.isqrt(len(self.mean) // (3 * STRIDE))

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, 4n + 1, 12h, 12w] in -1..1 -> [B, 16, n + 1, h, w], about unit variance."""
        return (((blocks(video, self.block) - self.mean) @ self.basis) / self.scale).permute(0, 4, 1, 2, 3).contiguous()

    def decode(self, latent: Tensor) -> Tensor:
        """The linear inverse: [B, 16, n + 1, h, w] -> [B, 3, 4n + 1, 12h, 12w], not clamped."""
        rows = (latent.permute(0, 2, 3, 4, 1) * self.scale) @ self.basis.T + self.mean
        b, t, h, w, _ = rows.shape
        video = rows.view(b, t, h, w, 3, STRIDE, BLOCK, BLOCK).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return video.reshape(b, 3, t * STRIDE, h * BLOCK, w * BLOCK)[:, :, STRIDE - 1 :]

    def save(self, path: Path) -> None:
        save_file({"mean": self.mean, "basis": self.basis.contiguous(), "scale": self.scale}, path)

    @classmethod
    def load(cls, path: Path = FILE) -> LatentSpace:
        """The space of a file, by default the shipped model's."""
        return cls(**load_file(path))

    @classmethod
    def of(cls, work: Path) -> LatentSpace:
        """The space of a training run: fitted the first time, and read from its folder from then on.

        Weights depend on the space to the last digit, and a fit is equal to the last digit on one machine only.
        """
        path = work / "latent_space.safetensors"
        if not path.exists():
            fit().save(path)
        return cls.load(path)


def blocks(video: Tensor, side: int = BLOCK) -> Tensor:
    """[B, 3, 4n + 1, H, W] -> [B, n + 1, H / 12, W / 12, 1728]; the first frame fills a block of its own."""
    video = torch.cat([video[:, :, :1].expand(-1, -1, STRIDE - 1, -1, -1), video], 2)
    b, c, f, h, w = video.shape
    rows = video.reshape(b, c, f // STRIDE, STRIDE, h // side, side, w // side, side)
    return rows.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, f // STRIDE, h // side, w // side, -1)


def fit(clips: int = 800, seed: int = 0) -> LatentSpace:
    """Fit the space on random clips of the training scenes, flawed ones included.

    A fifth of the blocks comes from first frames, an eighth of a clip's latents: a given picture is one.
    """
    dice = world.Dice(seed)
    scenes, _ = world.split()
    generator = torch.Generator().manual_seed(seed)
    moment, total, count = 0.0, 0.0, 0
    for _ in range(clips // 20):
        takes = [world.take(dice.pick(scenes), dice) for _ in range(20)]
        takes[0] = world.spoil(takes[0], dice.pick(world.FLAWS), dice) if dice.uniform(0, 1) < 0.5 else takes[0]
        rows = blocks(world.render(takes, SIZE, FRAMES))
        for part, kept in ((rows[:, 0], 400), (rows[:, 1:], 1600)):
            part = part.flatten(0, -2)
            part = part[torch.randperm(len(part), generator=generator)[:kept]].double()
            moment, total, count = moment + part.T @ part, total + part.sum(0), count + len(part)
    mean = total / count
    values, vectors = torch.linalg.eigh(moment / count - torch.outer(mean, mean))
    values, basis = values.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    # A component's sign is arbitrary: make its largest entry positive.
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    scale = values.pow(WHITENING)
    scale = scale * (values / scale**2).mean().sqrt()
    return LatentSpace(mean.float(), basis.float(), scale.float())
