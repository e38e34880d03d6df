"""Picture conditioning of Wan: joined as channels, read by an image encoder, or as a clean first frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...base import Entry, FamilyError, Guided, Pictures, Variant

# diffusers treats all but the last 512 tokens as the picture's (transformer_wan.py, WanAttnProcessor).
TEXT_TOKENS = 512


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The prompt, and for

    - image-to-video models "picture" [1, mask and latent channels, T, h, w] from "concat_latent_image" and
      "concat_mask" (0 is given, as ComfyUI counts), and "vision" [1, tokens, D] from "clip_vision_output";
    - models with a timestep per token "denoise_mask" [1 or B, 1, T, h, w] from the LATENT's mask.

    Raises:
        FamilyError: an image-to-video model without its picture; or one made for another size.
    """
    conditions = {"context": entry["cross_attn"]}
    if variant.keeps_clean and entry["denoise_mask"] is not None:
        conditions["denoise_mask"] = entry["denoise_mask"][:, :1].float()
    if variant.task == "image":
        conditions["picture"] = _picture(variant, entry, shape)
    if variant.facts["encoded_pictures"]:
        conditions["context"] = _exactly(entry["cross_attn"], TEXT_TOKENS)
        conditions["vision"] = _vision(variant, entry)
    return conditions


def _picture(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> Tensor:
    image = entry.get("concat_latent_image")
    if image is None:
        raise FamilyError(
            f"{variant.title} is an image-to-video model and no picture is connected. Take the positive and negative "
            "conditioning and the latent from Image to Video, or choose a text-to-video model."
        )
    if image.shape[2:] != shape[2:]:
        raise FamilyError(
            f"The picture was prepared for a latent of {_size(image.shape)}; the one to sample is {_size(shape)}. "
            "Use the latent that comes out of the node that prepared the picture."
        )
    # As in ComfyUI's WAN21.concat_cond, the LATENT's mask is used where the picture has none. Here 1 means a given
    # frame.
    mask = entry.get("concat_mask")
    mask = entry["denoise_mask"] if mask is None else mask
    known = torch.zeros_like(image[:, :1]) if mask is None else 1 - mask.to(image)
    if known.shape[1] != variant.geometry.temporal:
        known = known.mean(1, keepdim=True).repeat(1, variant.geometry.temporal, 1, 1, 1)
    if known.shape[-2:] != image.shape[-2:]:
        known = functional.interpolate(known, size=(known.shape[2], *image.shape[-2:]), mode="trilinear")
    known = functional.pad(known, (0, 0, 0, 0, 0, image.shape[2] - known.shape[2]))
    return torch.cat([known.expand(len(image), -1, -1, -1, -1), variant.normalise(image)], 1)


def _vision(variant: Variant, entry: Entry) -> Tensor:
    seen = entry.get("clip_vision_output")
    if seen is None:
        raise _unread(variant)
    return joined(seen.penultimate_hidden_states, variant.facts["encoded_pictures"])


def _unread(variant: Variant) -> FamilyError:
    return FamilyError(
        f"{variant.title} reads its picture through an image encoder too, and none is connected. Connect CLIP Vision "
        "Encode (with clip_vision_h, or the clip_vision of Load Video Model) to clip_vision_output of Video from "
        "Picture."
    )


def joined(hidden: Tensor, pictures: int) -> Tensor:
    """Image tokens [pictures, n, D], or already in one row, -> [1, all tokens, D].

    Raises:
        FamilyError: one picture where first and last are wanted.
    """
    row = hidden.reshape(1, -1, hidden.shape[-1])
    # A picture is one class token and a square of patches, so two pictures have an even number of tokens.
    if pictures == 2 and row.shape[1] % 2:
        raise FamilyError(
            "This model starts from a first and a last picture and wants both from the image encoder; found one. Join "
            "the two with ComfyUI's WanFirstLastFrameToVideo, or encode them as one batch of two images."
        )
    return row


def _exactly(context: Tensor, tokens: int) -> Tensor:
    return functional.pad(context[:, :tokens], (0, 0, 0, tokens - min(tokens, context.shape[1])))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} frames of {shape[4]} x {shape[3]}"


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """As WanImageToVideoPipeline: pictures in a grey video for models with channels for it, else a clean first frame.

    Raises:
        FamilyError: pictures that the variant cannot use, or none where it needs one.
    """
    if variant.task != "image" and not variant.keeps_clean:
        raise FamilyError(
            f"{variant.title} is a text-to-video model and cannot start from a picture. Use Empty Video Latent with "
            "it, or choose an image-to-video model (Wan 2.1 I2V 14B, Wan 2.2 I2V A14B, Wan 2.2 TI2V 5B)."
        )
    if pictures.start is None and pictures.end is None:
        raise FamilyError(f"{variant.title} starts from a picture and none is connected. Connect start_image.")
    return _clean_frame(variant, pictures) if variant.keeps_clean else _joined_video(variant, pictures)


def _clean_frame(variant: Variant, pictures: Pictures) -> Guided:
    if pictures.start is None or pictures.end is not None:
        raise FamilyError(
            f"{variant.title} takes a first picture only. Connect start_image and leave end_image open, or choose Wan "
            "2.1 FLF2V 14B or Wan 2.2 I2V A14B."
        )
    first = pictures.encode(pictures.start)
    frames = (pictures.frames - 1) // variant.geometry.temporal + 1
    # Frames to be generated start at zero, the middle of the transformer's input range.
    samples = variant.denormalise(torch.zeros(1, first.shape[1], frames, *first.shape[-2:]))
    samples[:, :, :1] = first
    mask = torch.ones(1, 1, *samples.shape[2:])
    mask[:, :, :1] = 1 - pictures.strength
    return Guided({}, samples, mask)


def _joined_video(variant: Variant, pictures: Pictures) -> Guided:
    start, end = pictures.start, pictures.end
    if pictures.strength != 1:
        raise FamilyError(
            f"strength is {pictures.strength:g}; {variant.title} was trained to keep its pictures as they are. Set 1."
        )
    picture_count = variant.facts["encoded_pictures"]
    if picture_count == 2 and (start is None or end is None):
        raise FamilyError(f"{variant.title} needs a first and a last picture. Connect start_image and end_image.")
    if picture_count and pictures.vision is None:
        raise _unread(variant)
    like = start if start is not None else end
    assert like is not None
    temporal, frames = variant.geometry.temporal, pictures.frames
    video = like.new_zeros(1, 3, frames, *like.shape[-2:])
    mask = torch.ones(1, 1, frames + temporal - 1, 1, 1)
    if start is not None:
        video[:, :, :1] = start
        mask[:, :, :temporal] = 0  # the first latent frame covers one frame only
    if end is not None:
        video[:, :, -1:] = end
        mask[:, :, -1:] = 0
    latent = pictures.encode(video)
    # [1, 1, frames, 1, 1] -> [1, frames in a latent frame, latent frames, h, w]
    mask = mask.view(1, latent.shape[2], temporal, 1, 1).transpose(1, 2).expand(-1, -1, -1, *latent.shape[-2:])
    entries: dict[str, Any] = {"concat_latent_image": latent, "concat_mask": mask.contiguous()}
    if picture_count and pictures.vision is not None:
        hidden = joined(pictures.vision, picture_count)
        entries["clip_vision_output"] = SimpleNamespace(penultimate_hidden_states=hidden)
    return Guided(entries, torch.zeros_like(latent))
