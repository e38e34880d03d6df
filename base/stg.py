"""Spatio-temporal guidance (STG) as a model's makers set it: steer away from the prediction of perturbed blocks.

Source: Hyung et al. 2024, arXiv:2411.18664; Lightricks/LTX-Video @5260738.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stg:
    """The guidance of one step.

    Attributes:
        scale: 0 is off.
        blocks: whose self-attention is perturbed, counted from 0.
        rescale: how much of the spread that all guidance adds is taken back, 0 to 1.
    """

    scale: float = 0.0
    blocks: tuple[int, ...] = ()
    rescale: float = 0.0


@dataclass(frozen=True)
class Band:
    """The makers' STG settings from one noise level up to that of the band before.

    Attributes:
        level: lowest sigma, 0 to 1; the last band of a list holds below its own as well.
    """

    level: float
    cfg: float
    stg: Stg


@dataclass(frozen=True)
class OwnStg:
    """The STG settings of a variant's makers: the perturbed blocks, and settings by noise level where published.

    Attributes:
        attentions: names of the blocks' self-attention that is perturbed.
    """

    blocks: tuple[int, ...]
    bands: tuple[Band, ...] = ()
    attentions: tuple[str, ...] = ("attn1",)

    def band(self, sigma: float) -> Band:
        return next((band for band in self.bands if band.level <= sigma), self.bands[-1])
