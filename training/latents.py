"""The latent space of the bundled model: fixed linear (PCA) components of 4 x 8 x 8 blocks of a 64 pixel video.

The space is fitted once on procedural clips. That lets the transformer, the encoder and the decoder be trained
on their own: the transformer learns these latents, the encoder learns to produce them, and the decoder learns
to draw from them better than the linear inverse does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import world

CHANNELS = 16
BLOCK = 8  # pixels of the 64 pixel video per latent pixel
STRIDE = 4  # frames per latent frame; the first latent frame holds one frame
SIZE = 64  # the resolution the latents are fitted at
# Result of `fit` on an early draft of the world (larger shapes, longer paths). The space hardly depends on these, but
# the trained weights depend on every digit of it, so it is stored and not fitted again.
FILE = Path(__file__).with_name("latent_space.safetensors")


@dataclass(frozen=True)
class LatentSpace:
    """Affine map between blocks of video and latents."""

    mean: Tensor  # [768]
    basis: Tensor  # [768, 16], orthonormal columns
    scale: Tensor  # [16], divisors of the components

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, 4n + 1, 64, 64] in -1..1 -> [B, 16, n + 1, 8, 8], about unit variance."""
        blocks = _blocks(video)
        return (((blocks - self.mean) @ self.basis) / self.scale).permute(0, 4, 1, 2, 3).contiguous()

    def decode(self, latent: Tensor) -> Tensor:
        """The linear inverse: [B, 16, n + 1, 8, 8] -> [B, 3, 4n + 1, 64, 64], not clamped."""
        blocks = (latent.permute(0, 2, 3, 4, 1) * self.scale) @ self.basis.T + self.mean
        b, t, h, w, _ = blocks.shape
        video = blocks.view(b, t, h, w, 3, STRIDE, BLOCK, BLOCK).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return video.reshape(b, 3, t * STRIDE, h * BLOCK, w * BLOCK)[:, :, STRIDE - 1 :]

    def save(self, path: Path = FILE) -> None:
        save_file({"mean": self.mean, "basis": self.basis.contiguous(), "scale": self.scale}, path)

    @classmethod
    def load(cls, path: Path = FILE) -> LatentSpace:
        """The space that everything was trained on."""
        return cls(**load_file(path))


def _blocks(video: Tensor) -> Tensor:
    """[B, 3, 4n + 1, H, W] -> [B, n + 1, H / 8, W / 8, 768]; the first frame fills a block of its own."""
    video = torch.cat([video[:, :, :1].expand(-1, -1, STRIDE - 1, -1, -1), video], 2)
    b, c, f, h, w = video.shape
    blocks = video.reshape(b, c, f // STRIDE, STRIDE, h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, f // STRIDE, h // BLOCK, w // BLOCK, -1)


def fit(clips: int = 800, frames: int = 17, seed: int = 0) -> LatentSpace:
    """Fit the space on random clips of the training scenes, flawed ones included."""
    dice = world.Dice(seed)
    scenes, _ = world.split()
    rows = []
    for _ in range(clips // 40):
        takes = [world.take(dice.pick(scenes), dice) for _ in range(40)]
        takes[0] = world.spoil(takes[0], dice.pick(world.FLAWS), dice)
        blocks = _blocks(world.render(takes, SIZE, frames)).flatten(0, 3)
        keep = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(seed))[:3000]
        rows.append(blocks[keep])
    sample = torch.cat(rows).double()
    mean = sample.mean(0)
    centred = sample - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, basis = values.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    # A component's sign is arbitrary: make its largest entry positive.
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    # Halfway to whitening: components with more of the picture's variance keep more weight in the loss.
    scale = values.pow(0.25)
    scale = scale * (values / scale**2).mean().sqrt()
    return LatentSpace(mean.float(), basis.float(), scale.float())
