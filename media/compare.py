"""Similarity of a clip to a reference: PSNR, SSIM and motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

# Decibels of PSNR, of pixels against the reference, from which a clip shows the same content, and from which it drifts.
SAME, DRIFT = 25.0, 20.0
# Lower end of each band.
BANDS = (
    (30.0, "nearly identical"),
    (SAME, "same content, fine detail differs"),
    (DRIFT, "visible drift"),
    (-math.inf, "a different video"),
)
WINDOW, SPREAD = 11, 1.5  # SSIM's Gaussian, in pixels
FEW_FRAMES = 3  # with fewer frames, differences show nothing about time


class ComparisonError(ValueError):
    """Two clips that cannot be compared."""


@dataclass(frozen=True)
class Likeness:
    """A clip against its reference.

    Attributes:
        psnr: decibels over all values; infinite where both are equal.
        ssim, worst: structural similarity, mean of the frames and the lowest of them; `worst_frame` counts from 0.
        motion: how much changes from frame to frame, as a share of the reference's; None where nothing moves there.
        rhythm: correlation over time of how much changes, -1 to 1; None where it says nothing.
        is_pixels: of pictures, not of latents.
        psnrs, ssims: of each frame; a PSNR is infinite where both are equal.
    """

    psnr: float
    ssim: float
    worst: float
    worst_frame: int
    motion: float | None
    rhythm: float | None
    is_pixels: bool
    psnrs: tuple[float, ...] = field(default=(), repr=False)
    ssims: tuple[float, ...] = field(default=(), repr=False)

    @property
    def verdict(self) -> str:
        if not self.is_pixels:
            return "latents: decode both for a verdict"
        return next(words for low, words in BANDS if self.psnr >= low)


def compare(clip: Tensor, reference: Tensor, is_pixels: bool = True, name: str = "clip") -> Likeness:
    """Compare two clips.

    Args:
        clip, reference: [F, C, H, W] of one shape; pixels in 0..1 count as such, latents by the reference's range.
        name: of the clip, for messages.
    Raises:
        ComparisonError: other shapes, or values that are not finite.
    """
    if clip.shape != reference.shape:
        raise ComparisonError(
            f"The {name} is {described(clip)}, the reference {described(reference)}; only clips of the same size and "
            "length can be compared."
        )
    clip, reference = clip.float(), reference.float()
    for title, frames in ((name, clip), ("reference", reference)):
        if not bool(torch.isfinite(frames).all()):
            raise ComparisonError(f"The {title} has values that are not finite, so there is nothing to compare.")
    span = 1.0 if is_pixels else (reference.max() - reference.min()).item()
    errors = (clip - reference).square().flatten(1).mean(1)
    psnrs = [psnr_of(error, span) for error in errors.tolist()]
    similar = ssim(clip, reference, span)
    motion, rhythm = _motion(clip, reference)
    return Likeness(
        psnr_of(errors.mean().item(), span),
        similar.mean().item(),
        similar.min().item(),
        int(similar.argmin()),
        motion,
        rhythm,
        is_pixels,
        tuple(psnrs),
        tuple(similar.tolist()),
    )


def psnr_of(error: float, span: float = 1.0) -> float:
    """Decibels of a mean square error, of values in this range; infinite for none."""
    return math.inf if error == 0 else 10 * math.log10(max(span, 1e-12) ** 2 / error)


def described(clip: Tensor) -> str:
    """Length and size of a clip [F, C, H, W]."""
    frames, channels, height, width = clip.shape
    return f"{frames} frames of {width} x {height} with {channels} channels"


def ssim(clip: Tensor, reference: Tensor, span: float = 1.0) -> Tensor:
    """Structural similarity of each frame, [F, C, H, W] -> [F], up to 1.

    Args:
        span: range of the values; only places where the whole window fits count.
    Source: Wang et al. 2004, 10.1109/TIP.2003.819861: Gaussian window of 11 pixels, in smaller frames the largest odd
        one that fits.
    """
    size = min(WINDOW, *(side - (side + 1) % 2 for side in clip.shape[-2:]))
    at = torch.arange(size, dtype=clip.dtype, device=clip.device) - size // 2
    window = torch.exp(-(at**2) / (2 * SPREAD**2))
    window = window / window.sum()

    def local(x: Tensor) -> Tensor:
        # Every channel by itself: [F, C, H, W] -> [F * C, 1, H, W]
        x = x.reshape(-1, 1, *x.shape[-2:])
        return functional.conv2d(functional.conv2d(x, window[None, None, None]), window[None, None, :, None])

    mean, mean2 = local(clip), local(reference)
    var, var2 = local(clip * clip) - mean**2, local(reference * reference) - mean2**2
    both = local(clip * reference) - mean * mean2
    tiny = torch.finfo(clip.dtype).tiny
    c1, c2 = max((0.01 * span) ** 2, tiny), max((0.03 * span) ** 2, tiny)
    similarity = (2 * mean * mean2 + c1) * (2 * both + c2) / ((mean**2 + mean2**2 + c1) * (var + var2 + c2))
    return similarity.reshape(len(clip), -1).mean(1)


def _motion(clip: Tensor, reference: Tensor) -> tuple[float | None, float | None]:
    """(Likeness.motion, Likeness.rhythm)."""
    if len(reference) < 2:
        return None, None
    ours, theirs = ((frames[1:] - frames[:-1]).abs().flatten(1).mean(1).double() for frames in (clip, reference))
    if theirs.sum() == 0:
        return None, None
    motion = (ours.sum() / theirs.sum()).item()
    a, b = ours - ours.mean(), theirs - theirs.mean()
    size = (a.norm() * b.norm()).item()
    # A motion as even as the rounding of its sums has no rhythm.
    has_rhythm = (
        len(theirs) >= FEW_FRAMES and min(a.norm() / ours.norm().clamp_min(1e-12), b.norm() / theirs.norm()) > 1e-6
    )
    return motion, (a @ b).item() / size if has_rhythm else None


def table(rows: dict[str, Likeness], columns: dict[str, tuple[str, ...]] | None = None) -> list[tuple[str, ...]]:
    """The cells of a table for the user: a line for each clip, after a line of headings.

    Args:
        columns: cells between a clip's name and its numbers, with headings under "run".
    """
    cells = {"run": ("PSNR", "SSIM mean", "SSIM worst (frame)", "motion", "rhythm", "verdict")}
    for name, row in rows.items():
        worst = f"{row.worst:.3f} ({row.worst_frame + 1})"
        rhythm = "-" if row.rhythm is None else f"{row.rhythm:.2f}"
        cells[name] = (_db(row.psnr), f"{row.ssim:.3f}", worst, _share(row.motion), rhythm, row.verdict)
    return [(name, *(columns or {}).get(name, ()), *row) for name, row in cells.items()]


def _db(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.1f} dB"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
