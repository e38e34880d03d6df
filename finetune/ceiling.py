"""What the VAE leaves of the clips: the best that a LoRA, which changes the transformer alone, can learn to draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from ..host import host
from ..media.compare import psnr_of
from .encode import Encoders
from .frames import read
from .prepare import Prepared
from .sheet import write_sheet

# Clips that are decoded again: enough to see what is lost, few enough for the VAE of a large model.
_CLIPS = 2
NAME = "behind_the_vae.png"


@dataclass(frozen=True)
class Ceiling:
    """
    Attributes:
        psnr: of the decoded clips against the clips, dB, a mean of the clips.
        clips: how many were decoded.
        sheet: a picture in which each clip stands above what the VAE leaves of it.
    """

    psnr: float
    clips: int
    sheet: Path

    @property
    def line(self) -> str:
        """What the plan says."""
        name = self.sheet.name
        return f"Behind the VAE {self.clips} clips keep {self.psnr:.1f} dB. No LoRA learns what {name} does not show."


def ceiling_of(encoders: Encoders, prepared: Prepared, folder: Path) -> Ceiling:
    """Decode some clips again, spread over the data set, and write the picture.

    Args:
        folder: is made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = min(_CLIPS, len(prepared.items))
    items = [prepared.items[n * len(prepared.items) // count] for n in range(count)]
    psnrs, rows = [], []
    for item in items:
        frames, _ = read(item.clip, item.bucket, prepared.variant.defaults.fps)
        back = host.decode(encoders.vae, prepared.video_latent(item)).cpu().clamp(0, 1)[: len(frames)]
        psnrs.append(psnr_of((back - frames).square().mean().item()))
        rows += [frames, back]
    sheet = write_sheet(folder / NAME, rows)
    assert sheet is not None
    return Ceiling(mean(psnrs), count, sheet)
