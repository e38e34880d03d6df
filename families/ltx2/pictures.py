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
    known = pictures.start if pictures.start is not None else pictures.end
    if known is None:
        raise FamilyError("No picture is given. Connect a start picture, an end picture or both.")
    height, width = known.shape[-2:]
    samples = torch.zeros(1, *variant.geometry.latent_shape(width, height, pictures.frames))
    mask = torch.ones_like(samples[:, :1])
    if pictures.start is not None:
        samples[:, :, :1] = pictures.encode(pictures.start).to(samples)
        mask[:, :, 0] = 1 - pictures.strength
    if pictures.end is None:
        return Guided({}, samples, mask)
    end = pictures.encode(pictures.end).to(samples)
    places = video_places(variant, end)
    places[:, 0] += pictures.frames - 1
    end_mask = torch.full_like(end[:, :1], 1 - pictures.strength)
    samples, mask = torch.cat([samples, end], 2), torch.cat([mask, end_mask], 2)
    return Guided({"keyframe_idxs": places, APPENDED: 1}, samples, mask)


def finish(variant: Variant, entry: Entry, samples: Tensor) -> Tensor:
    """The video's latents [B, C, T, h, w] without the pictures that were appended."""
    count = entry.get(APPENDED, 0)
    return samples[:, :, : samples.shape[2] - count] if count else samples
