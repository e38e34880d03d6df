"""Pictures that LTX-2 starts from, ends at or passes.

A first picture takes the place of the first latent frame; any other is appended as a latent frame of its own, at the
place in time of its frame, and taken off again when the run is done. Source: Lightricks/LTX-2 @d5b526ed
(VideoConditionByLatentIndex, VideoConditionByKeyframeIndex); ComfyUI 0.33.0, comfy_extras/nodes_lt.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...base import Entry, FamilyError, Guided, Pictures, Variant
from .network import video_places

# Key of a CONDITIONING's dictionary: how many latent frames were appended.
APPENDED = "opent2v_appended"


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """With a strength below 1 a picture gets that share of the noise as it goes.

    Raises:
        FamilyError: no picture is given.
    """
    later = [*pictures.middle, *([] if pictures.end is None else [(pictures.frames - 1, pictures.end)])]
    known = pictures.start if pictures.start is not None or not later else later[0][1]
    if known is None:
        raise FamilyError("No picture is given. Connect a start picture, an end picture or both.")
    height, width = known.shape[-2:]
    samples = torch.zeros(1, *variant.geometry.latent_shape(width, height, pictures.frames))
    mask = torch.ones_like(samples[:, :1])
    if pictures.start is not None:
        samples[:, :, :1] = pictures.encode(pictures.start).to(samples)
        mask[:, :, 0] = 1 - pictures.strength
    if not later:
        return Guided({}, samples, mask)
    appended = [pictures.encode(picture).to(samples) for _, picture in later]
    places = [video_places(variant, latent) for latent in appended]
    for place, (frame, _) in zip(places, later, strict=True):
        place[:, 0] += frame
    kept = torch.full_like(appended[0][:, :1], 1 - pictures.strength)
    entries = {"keyframe_idxs": torch.cat(places, 2), APPENDED: len(appended)}
    return Guided(entries, torch.cat([samples, *appended], 2), torch.cat([mask, *[kept] * len(appended)], 2))


def finish(variant: Variant, entry: Entry, samples: Tensor) -> Tensor:
    """The video's latents [B, C, T, h, w] without the pictures that were appended."""
    count = entry.get(APPENDED, 0)
    return samples[:, :, : samples.shape[2] - count] if count else samples
