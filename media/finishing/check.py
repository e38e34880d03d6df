"""Looking at frames with a picture classifier, and what happens to frames it does not like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .chain import Step

ACTIONS = ("stop", "blur", "flag")
_BLUR = 16  # remaining pixels of a frame's shorter side


class ContentFound(ValueError):
    """The content check stopped the video."""


@dataclass(frozen=True)
class ContentCheck(Step):
    """Checks the first of every `every` frames; what is done to it is done to all of them.

    Attributes:
        classify: frames [n, H, W, 3] -> label -> share 0..1, [n], of each label that counts.
        threshold: from this share on a frame is flagged.
        action: "stop": the video is not made. "blur": the frames are made unrecognisable. "flag": only noted.
    """

    classify: Callable[[Tensor], dict[str, Tensor]]
    every: int = 8
    threshold: float = 0.5
    action: str = "stop"

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        index, verdict, checked = 0, "", 0
        verdicts: list[str] = []
        for piece in pieces:
            out = []
            for frame in piece.split(1):
                if index % self.every == 0:
                    verdict, checked = self._verdict(frame), checked + 1
                    where = f"frame {index} (second {float(index / fps):.2f})"
                    if verdict and self.action == "stop":
                        raise ContentFound(
                            f"The content check found {verdict} in {where}, and no video is made. "
                            "Change the prompt or the seed, or the check's threshold or action."
                        )
                    verdicts += [f"{where}: {verdict}"] if verdict else []
                out.append(_blurred(frame) if verdict and self.action == "blur" else frame)
                index += 1
            yield torch.cat(out)
        what = "blurred" if self.action == "blur" else "flagged"
        shown = [*verdicts[:8], *(["..."] if len(verdicts) > 8 else [])]
        notes.append(f"Content check: {len(verdicts)} of {checked} checked frames {what}. {'; '.join(shown)}".strip())

    def _verdict(self, frame: Tensor) -> str:
        """ "label 0.93" of the strongest label at or above the threshold, or ""."""
        shares = {label: float(share[0]) for label, share in self.classify(frame).items()}
        label = max(shares, key=lambda name: shares[name])
        return f"{label} {shares[label]:.2f}" if shares[label] >= self.threshold else ""


def _blurred(frame: Tensor) -> Tensor:
    height, width = frame.shape[1:3]
    ratio = _BLUR / min(height, width)
    small = interpolate(
        frame.permute(0, 3, 1, 2),
        (max(1, round(height * ratio)), max(1, round(width * ratio))),
        mode="area",
    )
    return interpolate(small, (height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
