"""Known latents of the video: pictures at its ends, or the beginning or end of another video.

Source: hpcaitech/Open-Sora @7ad6a96, prepare_inference_condition and collect_references_batch (facts; no code).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...base import Entry, FamilyError, Guided, Pictures, Variant

# Lengths in frames of a video that can be extended: 9 or 17 latent frames.
CLIPS = (33, 65)


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """Pictures' or a video's latents as channels beside the noise, with a mask of where they are."""
    start, end, strength = pictures.start, pictures.end, pictures.strength
    if strength != 1:
        raise FamilyError(f"strength is {strength:g}; {variant.title} reads its pictures as they are. Set it to 1.")
    counts = [0 if picture is None else picture.shape[2] for picture in (start, end)]
    if not any(counts):
        raise FamilyError(f"{variant.title} has no picture to start from. Connect start_image, end_image or both.")
    if min(counts) and max(counts) > 1:
        raise FamilyError(
            f"start_image is {counts[0]} frames and end_image {counts[1]}; {variant.title} takes a picture at one or "
            "both ends, or a video at one. Disconnect one of them, or give each one picture."
        )
    if max(counts) >= pictures.frames > 1:
        raise FamilyError(
            f"The video given has {max(counts)} frames, and {pictures.frames} are to be made. Ask for more frames."
        )
    latents = [None if picture is None else pictures.encode(picture) for picture in (start, end)]
    like = next(latent for latent in latents if latent is not None)
    count = (pictures.frames - 1) // variant.geometry.temporal + 1
    known = like.new_zeros(1, like.shape[1], count, *like.shape[3:])
    mask = like.new_ones(1, 1, count, *like.shape[3:])
    for latent, place in zip(latents, ("start", "end"), strict=True):
        if latent is not None:
            length = latent.shape[2]
            where = slice(0, length) if place == "start" else slice(count - length, count)
            known[:, :, where], mask[:, :, where] = latent, 0
    return Guided({"concat_latent_image": known, "concat_mask": mask}, torch.zeros_like(known))


def beside_the_noise(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> Tensor:
    """[1, 1 + C, T, h, w]: a channel that is 1 where latents are known, and those latents; zeros for text alone."""
    _, channels, frames, height, width = shape
    picture = entry.get("concat_latent_image")
    if picture is None:
        return torch.zeros(1, 1 + channels, frames, height, width)
    if picture.shape[-2:] != (height, width):
        raise FamilyError(
            f"The picture's latent is {picture.shape[-1]} x {picture.shape[-2]} and the video's {width} x {height}. "
            "Connect the latent of the same Image to Video to the sampler."
        )
    known = variant.normalise(picture.float())[:, :, :frames]
    mask = entry.get("concat_mask")
    channel = known.new_ones(len(known), 1, *known.shape[2:]) if mask is None else 1 - mask.to(known)[:, :1, :frames]
    known, channel = (functional.pad(tensor, (0, 0, 0, 0, 0, frames - tensor.shape[2])) for tensor in (known, channel))
    return torch.cat([channel, known * channel], dim=1)


def known_frames(entry: Entry, latent_frames: int) -> Tensor:
    """[latent frames] bool: True where the pictures give the latent."""
    picture, mask = entry.get("concat_latent_image"), entry.get("concat_mask")
    known = torch.zeros(latent_frames, dtype=torch.bool)
    if picture is not None:
        count = min(latent_frames, picture.shape[2])
        known[:count] = True if mask is None else (mask[0, 0, :count] < 1).flatten(1).any(1).cpu()
    return known


def finish(variant: Variant, entry: Entry, samples: Tensor) -> Tensor:
    """The video's latents [B, C, T, h, w] with its pictures at the ends put back: the model only comes close to them.

    A video that was gone on with stays as the model made it, so that there is no seam.
    """
    known = known_frames(entry, samples.shape[2])
    if known.sum() not in (1, 2):
        return samples
    picture = entry["concat_latent_image"].to(samples)
    samples = samples.clone()
    samples[:, :, known] = picture[:, :, : samples.shape[2]][:, :, known[: picture.shape[2]]]
    return samples
