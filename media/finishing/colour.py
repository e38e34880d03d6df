"""Colour matching: every frame gets the colours of a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .chain import Step

# sRGB (IEC 61966-2-1) to CIE XYZ, D65; the rows are divided by the white point.
_WHITE = (0.95047, 1.0, 1.08883)
_XYZ = torch.tensor(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)),
    dtype=torch.float64,
) / torch.tensor(_WHITE, dtype=torch.float64).unsqueeze(1)  # fmt: skip
_RGB = torch.linalg.inv(_XYZ)
# CIE Lab is a matrix times the responses f of X, Y and Z, with 16 taken from L.
_LAB = torch.tensor(((0, 116, 0), (500, -500, 0), (0, 200, -200)), dtype=torch.float64)
_RESPONSES = torch.linalg.inv(_LAB)
_BLACK = torch.tensor((16.0, 0.0, 0.0), dtype=torch.float64).unsqueeze(1)
_EDGE = 6 / 29  # below, CIE Lab is a straight line


def rgb_to_lab(frames: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> CIE Lab [..., 3]: L in 0..100, a and b around -100..100."""
    lab = _LAB.to(frames) @ _responses(_planes(frames)) - _BLACK.to(frames)
    return lab.T.reshape(frames.shape)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIE Lab [..., 3] -> sRGB [..., 3], cut to 0..1."""
    return _rgb(_RESPONSES.to(lab) @ (_planes(lab) + _BLACK.to(lab))).T.reshape(lab.shape)


def _planes(frames: Tensor) -> Tensor:
    """[..., 3] -> a copy [3, n] with each channel in one piece of memory."""
    return frames.reshape(-1, 3).T.contiguous()


def _responses(rgb: Tensor) -> Tensor:
    """sRGB [3, n] -> the responses f of X, Y and Z [3, n]."""
    dark = rgb / 12.92
    light = rgb.clamp(min=0).add_(0.055).div_(1.055).pow_(2.4)
    x = _XYZ.to(rgb) @ torch.where(rgb <= 0.04045, dark, light)
    line = x / (3 * _EDGE**2) + 4 / 29
    return torch.where(x > _EDGE**3, x.clamp_(min=_EDGE**3).pow_(1 / 3), line)


def _rgb(f: Tensor) -> Tensor:
    """Responses of X, Y and Z [3, n] -> sRGB [3, n], cut to 0..1."""
    x = torch.where(f > _EDGE, f * f * f, (f - 4 / 29).mul_(3 * _EDGE**2))
    linear = (_RGB.to(f) @ x).clamp_(0, 1)
    dark = linear * 12.92
    return torch.where(linear <= 0.0031308, dark, linear.clamp_(min=1e-8).pow_(1 / 2.4).mul_(1.055).sub_(0.055))


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a picture's Lab channels, [3, 1] each."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, f: Tensor) -> Moments:
        """Of a picture's responses [3, n]; those of Lab follow from their covariance, without the Lab picture."""
        mean = f.mean(1, keepdim=True)
        centred = f - mean
        covariance = (centred @ centred.T).double() / f.shape[1]
        variance = (_LAB.to(covariance) @ covariance @ _LAB.T.to(covariance)).diagonal().clamp(min=0).unsqueeze(1)
        return cls(_LAB.to(covariance) @ mean.double() - _BLACK.to(covariance), variance.sqrt())

    @classmethod
    def of_all(cls, frames: Tensor) -> Moments:
        """The means of those of several pictures [n, H, W, 3]."""
        each = [cls.of(_responses(_planes(frame))) for frame in frames]
        return cls(
            torch.stack([moments.mean for moments in each]).mean(0),
            torch.stack([moments.std for moments in each]).mean(0),
        )


def _moved(f: Tensor, present: Moments, goal: Moments) -> Tensor:
    """Responses [3, n] of a picture whose Lab moments are brought from the present ones to the goal."""
    # A flat frame has no contrast to stretch; more than fourfold would only blow up noise.
    gain = (goal.std / present.std.clamp(min=1e-3)).clamp(0.25, 4.0)
    lab, back = _LAB.to(gain), _RESPONSES.to(gain)
    shift = back @ (goal.mean + _BLACK.to(gain) - gain * (present.mean + _BLACK.to(gain)))
    return torch.addmm(shift.to(f), (back @ (gain * lab)).to(f), f)


def anchored(frames: Tensor, reference: Tensor, strength: float = 1.0) -> Tensor:
    """Frames [n, H, W, 3] as a whole with the colours of a reference [m, H, W, 3] as a whole.

    All frames are moved alike, so that what changes from frame to frame stays as it is.

    Args:
        strength: 0 leaves the frames as they are, 1 matches them fully.
    """
    return recoloured(frames, Moments.of_all(frames), Moments.of_all(reference), strength)


def recoloured(frames: Tensor, present: Moments | None, goal: Moments, strength: float = 1.0) -> Tensor:
    """Frames [n, H, W, 3], all moved by what brings the present moments to the goal; strength as `anchored`.

    Args:
        present: None: those of each frame.
    Source: Reinhard et al. 2001, Color Transfer between Images; here in CIE Lab.
    """
    matched = torch.empty_like(frames)
    for frame, place in zip(frames, matched, strict=True):
        f = _responses(_planes(frame))
        rgb = _rgb(_moved(f, present or Moments.of(f), goal)).T.reshape(frame.shape)
        torch.lerp(frame, rgb, strength, out=place)
    return matched


@dataclass(frozen=True)
class ColourMatch(Step):
    """Every frame gets the colours of a reference picture [1, H, W, 3], or of the first frame.

    Attributes:
        strength: 0 leaves the frames as they are, 1 matches them fully.
    """

    strength: float = 1.0
    reference: Tensor | None = None

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        goal: Moments | None = None
        for piece in pieces:
            if goal is None:
                picture = piece[:1] if self.reference is None else self.reference[:1, ..., :3].to(piece)
                goal = Moments.of(_responses(_planes(picture)))
            yield recoloured(piece, None, goal, self.strength)
