"""Colour matching: every frame gets the colours of a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .chain import Step

# sRGB (IEC 61966-2-1) to CIE XYZ, D65; the rows are divided by the white point.
_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_EDGE = 6 / 29  # below, CIE Lab is a straight line


def rgb_to_lab(frames: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> CIE Lab [..., 3]: L in 0..100, a and b around -100..100."""
    linear = torch.where(frames <= 0.04045, frames / 12.92, ((frames.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    x = linear @ _matrix(frames).T
    f = torch.where(x > _EDGE**3, x.clamp(min=_EDGE**3) ** (1 / 3), x / (3 * _EDGE**2) + 4 / 29)
    return torch.stack(
        (116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])),
        dim=-1,
    )


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIE Lab [..., 3] -> sRGB [..., 3], cut to 0..1."""
    y = (lab[..., 0] + 16) / 116
    f = torch.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), dim=-1)
    x = torch.where(f > _EDGE, f**3, 3 * _EDGE**2 * (f - 4 / 29))
    linear = (x @ torch.linalg.inv(_matrix(lab)).T).clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def _matrix(like: Tensor) -> Tensor:
    white = torch.tensor(_WHITE, dtype=like.dtype, device=like.device)
    return torch.tensor(_XYZ, dtype=like.dtype, device=like.device) / white[:, None]


def statistics(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, [n, 1, 1, 3] each, of Lab frames [n, H, W, 3]."""
    return lab.mean(dim=(1, 2), keepdim=True), lab.std(dim=(1, 2), keepdim=True, correction=0)


def match_colours(frames: Tensor, mean: Tensor, std: Tensor, strength: float = 1.0) -> Tensor:
    """Frames [n, H, W, 3] with the Lab mean and standard deviation [1, 1, 1, 3] of a reference.

    Source: Reinhard et al. 2001, Color Transfer between Images; here in CIE Lab.
    """
    lab = rgb_to_lab(frames)
    own_mean, own_std = statistics(lab)
    # A flat frame has no contrast to stretch; more than fourfold would only blow up noise.
    gain = (std / own_std.clamp(min=1e-3)).clamp(0.25, 4.0)
    matched = (lab - own_mean) * gain + mean
    return frames + strength * (lab_to_rgb(matched) - frames)


def anchored(frames: Tensor, reference: Tensor, strength: float = 1.0) -> Tensor:
    """Frames [n, H, W, 3] as a whole with the colours of a reference [m, H, W, 3] as a whole.

    All frames are moved alike, so that what changes from frame to frame stays as it is.

    Args:
        strength: 0 leaves the frames as they are, 1 matches them fully.
    """
    goal_mean, goal_std = _mean_statistics(reference)
    own_mean, own_std = _mean_statistics(frames)
    gain = (goal_std / own_std.clamp(min=1e-3)).clamp(0.25, 4.0)
    moved = [lab_to_rgb((rgb_to_lab(piece) - own_mean) * gain + goal_mean) for piece in frames.split(16)]
    return frames + strength * (torch.cat(moved) - frames)


def _mean_statistics(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over all frames of `statistics`, [1, 1, 1, 3] each."""
    each = [statistics(rgb_to_lab(piece)) for piece in frames.split(16)]
    mean, std = (torch.cat(tensors).mean(dim=0, keepdim=True) for tensors in zip(*each, strict=True))
    return mean, std


@dataclass(frozen=True)
class ColourMatch(Step):
    """Every frame gets the colours of a reference picture [1, H, W, 3], or of the first frame.

    Attributes:
        strength: 0 leaves the frames as they are, 1 matches them fully.
    """

    strength: float = 1.0
    reference: Tensor | None = None

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        goal: tuple[Tensor, Tensor] | None = None
        for piece in pieces:
            if goal is None:
                picture = piece[:1] if self.reference is None else self.reference[:1, ..., :3].to(piece)
                goal = statistics(rgb_to_lab(picture))
            yield match_colours(piece, *goal, self.strength)
