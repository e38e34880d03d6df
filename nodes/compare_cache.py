"""Compare a run under a step cache with the full one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from ..base.remarks import FITS, LOOK, REFUSED, Remark, as_table
from ..host import host
from ..media.compare import DRIFT, SAME, ComparisonError, Likeness, compare, described, table
from ..media.overlaid import difference
from ..sampling import SamplingError
from .charts import CHART_TOOLTIP, HIGHEST, likeness_panels, picture_of
from .remarks import with_remarks
from .rgb import rgb
from .streams import same_streams

# PSNR in decibels from which a clip's likeness has this verdict.
_LEVELS = ((SAME, FITS), (DRIFT, LOOK), (-math.inf, REFUSED))


class OpenT2VCompareCache:
    """A cached run against the run without a cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "compare"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "FLOAT", "FLOAT", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "psnr", "ssim", "chart", "difference")
    OUTPUT_TOOLTIPS = (
        "PSNR, SSIM, motion and a verdict.",
        "Decibels; 100 where both are equal.",
        "Structural similarity, the mean of all frames.",
        CHART_TOOLTIP,
        "The difference of the frames, times ten; where with_difference is on.",
    )
    DESCRIPTION = "Compare a cached video with the uncached one of the same seed: PSNR, SSIM, motion, and a verdict."
    SEARCH_ALIASES: ClassVar = ["psnr", "ssim", "quality", "teacache quality", "difference", "对比"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {},
            "optional": {
                "images": ("IMAGE", {"tooltip": "Frames of the cached run."}),
                "reference_images": ("IMAGE", {"tooltip": "Frames without a cache, of the same seed."}),
                "latent": ("LATENT", {"tooltip": "The cached run's latent, where nothing is decoded."}),
                "reference_latent": ("LATENT", {"tooltip": "The latent without a cache, of the same seed."}),
                "with_difference": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Give the difference of the frames too; it takes their memory again.",
                    },
                ),
            },
        }

    def compare(
        self,
        images: Tensor | None = None,
        reference_images: Tensor | None = None,
        latent: dict[str, Any] | None = None,
        reference_latent: dict[str, Any] | None = None,
        with_difference: bool = False,
    ) -> dict[str, Any]:
        pairs = {"images": (images, reference_images), "latent": (latent, reference_latent)}
        for name, (value, reference) in pairs.items():
            if (value is None) != (reference is None):
                has, lacks = (f"reference_{name}", name) if value is None else (name, f"reference_{name}")
                raise SamplingError(f"{has} is connected and {lacks} is not: both are needed. Connect it as well.")
        rows: dict[str, Likeness] = {}
        if images is not None and reference_images is not None:
            images, reference_images = rgb(images, "images"), rgb(reference_images, "reference_images")
            rows["frames"] = likeness_of_images(images, reference_images)
        if latent is not None and reference_latent is not None:
            for name, *pair in same_streams(latent["samples"], reference_latent["samples"]):
                rows[name] = _likeness(*map(_frames, pair), is_pixels=False)
        if not rows:
            raise SamplingError(
                "There is nothing to compare: connect images and reference_images, or latent and reference_latent."
            )
        first = next(iter(rows.values()))
        report = drawn_table(rows)
        chart = picture_of("Likeness to the run without a cache", likeness_panels(rows))
        shown = _difference(images, reference_images, with_difference)
        return with_remarks((str(report), min(first.psnr, HIGHEST), first.ssim, chart, shown), [report])


def _difference(images: Tensor | None, reference: Tensor | None, is_asked: bool) -> Any:
    """IMAGE of what differs between clips [F, H, W, 3], or a placeholder that says what it needs."""
    if not is_asked:
        return host.missing("Switch with_difference of Compare Step Cache on to see the difference.")
    if images is None or reference is None:
        return host.missing("The difference is one of frames: connect images and reference_images.")
    return difference(images, reference)


def drawn_table(rows: dict[str, Likeness], columns: dict[str, tuple[str, ...]] | None = None) -> Remark:
    """The table of `media.compare.table` as a remark, with a verdict for each clip of pixels."""
    levels = [
        next(level for low, level in _LEVELS if row.psnr >= low) if row.is_pixels else "" for row in rows.values()
    ]
    return as_table(table(rows, columns), levels)


def likeness_of_images(images: Tensor, reference: Tensor) -> Likeness:
    return _likeness(images[..., :3].permute(0, 3, 1, 2), reference[..., :3].permute(0, 3, 1, 2))


def _likeness(cached: Tensor, reference: Tensor, is_pixels: bool = True) -> Likeness:
    """
    Raises:
        SamplingError: the clips cannot be compared.
    """
    if cached.shape != reference.shape:
        raise SamplingError(
            f"The cached run is {described(cached)}, the reference {described(reference)}; only runs of the same size "
            "and length can be compared. Give both samplers the same empty latent."
        )
    try:
        return compare(cached, reference, is_pixels, "cached run")
    except ComparisonError as error:
        raise SamplingError(str(error)) from error


def _frames(samples: Tensor) -> Tensor:
    """[B, C, T, h, w] or [B, C, h, w] -> [F, C, h, w]; a sound counts as one frame."""
    return samples if samples.ndim == 4 else samples.transpose(1, 2).flatten(0, 1)
