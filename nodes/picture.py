"""Starting from pictures."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..base import FamilyError, Guided, Pictures, Variant
from ..host import host
from ..media.cover import fit
from ..sampling.streams import unbind
from .inputs import require_variant
from .pairing import check_latent_model, same_latents
from .remarks import with_remarks
from .rgb import rgb
from .sizes import used_size
from .streams import picture


def fitted(name: str, images: Tensor, width: int, height: int) -> list[str]:
    down, across = images.shape[1:3]
    if (across, down) == (width, height):
        return []
    if across * height == down * width:
        return [f"{name} {across} x {down} is scaled to {width} x {height}."]
    return [f"{name} {across} x {down} is scaled and cut to the centre to {width} x {height}."]


def size_input(what: str) -> tuple[str, dict[str, Any]]:
    return ("INT", {"default": 0, "min": 0, "max": 16384, "step": 1, "tooltip": what})


class OpenT2VImageToVideo:
    """Prepares a run that starts from a picture, for every family that can."""

    CATEGORY = "OpenT2V"
    FUNCTION = "prepare"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT", "INT", "INT", "INT", "FLOAT")
    RETURN_NAMES = ("positive", "negative", "latent", "width", "height", "frames", "fps")
    OUTPUT_TOOLTIPS = (
        "The positive conditioning with the pictures.",
        "The negative conditioning with the pictures.",
        "Latent for the sampler.",
        "Width in pixels, as used.",
        "Height in pixels, as used.",
        "Number of frames, as used.",
        "Frames per second the model was trained at.",
    )
    DESCRIPTION = "Start the video from a picture, or from a first and a last one. Needs an image-to-video model."
    SEARCH_ALIASES: ClassVar = [
        "image to video",
        "i2v",
        "first last frame",
        "flf2v",
        "start image",
        "wan image",
        "img2vid",
        "picture to video",
        "video from picture",
        "start frame",
        "end frame",
        "keyframe",
        "图片生视频",
        "图像转视频",
        "首尾帧",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The image-to-video model; of two experts, the high-noise one."}),
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the model."}),
                "positive": ("CONDITIONING", {"tooltip": "What the video shows."}),
                "negative": ("CONDITIONING", {"tooltip": "What it avoids."}),
                "width": size_input("Width in pixels; the pictures are scaled and cut to it. 0: the model's own."),
                "height": size_input("Height in pixels; the pictures are scaled and cut to it. 0: the model's own."),
                "frames": size_input(
                    "Number of frames; divided by fps it is the length in seconds. 0: the model's own."
                ),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "1: the pictures stay as they are. Less: they may change, where the model can do "
                        "that.",
                    },
                ),
            },
            "optional": {
                "start_image": (
                    "IMAGE",
                    {
                        "tooltip": "First frame of the video; given 33 or more frames, Open-Sora 2.0 goes on where the "
                        "first 33 or 65 end, and MiniMax H3 given 5 or more where the first 17n + 5 end."
                    },
                ),
                "end_image": (
                    "IMAGE",
                    {
                        "tooltip": "Last frame of the video, for models that take one; given 33 or more frames, "
                        "Open-Sora 2.0 makes what leads to the last 33 or 65, "
                        "and MiniMax H3 given 5 or more to the last 17n + 5."
                    },
                ),
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {"tooltip": "The pictures read by CLIP Vision Encode, for models that ask for it (Wan 2.1)."},
                ),
                "latent": (
                    "LATENT",
                    {
                        "tooltip": "A latent to put the pictures into, of Upscale Video Latent for a second run; its "
                        "size and length are used."
                    },
                ),
                "middle_images": (
                    "IMAGE",
                    {"tooltip": "Pictures at other frames, for models that take them (LTX-2, MiniMax H3)."},
                ),
                "middle_frames": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "The frame of each of middle_images, counted from 0, with commas: 24, 48.",
                    },
                ),
            },
        }

    def prepare(
        self,
        model: Any,
        vae: Any,
        positive: Any,
        negative: Any,
        width: int,
        height: int,
        frames: int,
        strength: float,
        start_image: Tensor | None = None,
        end_image: Tensor | None = None,
        clip_vision_output: Any = None,
        latent: dict[str, Any] | None = None,
        middle_images: Tensor | None = None,
        middle_frames: str = "",
    ) -> dict[str, Any]:
        variant = require_variant(model)
        images = variant.family.images
        fps = rate_of(positive, variant)
        if images is None:
            raise FamilyError(
                f"{variant.title} is a text-to-video model and cannot start from a picture. Use Empty Video Latent "
                "with it, or choose an image-to-video model."
            )
        check_vae(vae, variant)
        if latent is not None:
            width, height, frames = _size_in(latent, variant)
        (width, height, frames), remarks = used_size(variant, width, height, frames, fps)
        inputs = {"start_image": start_image, "end_image": end_image}
        ready: dict[str, Tensor | None] = dict.fromkeys(inputs)
        for name, images_given in inputs.items():
            if images_given is not None:
                images_given = rgb(images_given, name)
                count = max(n for n in (1, *images.clips) if n <= len(images_given))
                clip = images_given[:count] if name == "start_image" else images_given[-count:]
                remarks += fitted(name, clip, width, height) + _used(images.clips, name, count, len(images_given))
                ready[name] = _video(clip, width, height)
        middle: list[tuple[int, Tensor]] = []
        if middle_images is not None:
            if not images.at_any_frame:
                raise FamilyError(
                    f"{variant.title} takes pictures at its ends only. Disconnect middle_images, or choose LTX-2 or "
                    "MiniMax H3."
                )
            middle_images = rgb(middle_images, "middle_images")
            places = _frames_in(middle_frames, len(middle_images), frames)
            remarks += fitted("middle_images", middle_images, width, height)
            middle = [(place, _video(middle_images[n, None], width, height)) for n, place in enumerate(places)]

        def encode(video: Tensor) -> Tensor:
            latent = host.encode(vae, ((video[0] + 1) / 2).permute(1, 2, 3, 0)).float().cpu()
            expected = variant.geometry.latent_shape(width, height, video.shape[2])
            if tuple(latent.shape[1:]) != expected:
                raise wrong_vae(f"makes latents of {list(latent.shape[1:])}", variant, list(expected))
            return latent

        guided = images.prepare(
            variant,
            Pictures(
                start=ready["start_image"],
                end=ready["end_image"],
                frames=frames,
                strength=strength,
                vision=None if clip_vision_output is None else clip_vision_output.penultimate_hidden_states,
                encode=encode,
                middle=tuple(middle),
            ),
        )
        prepared = (
            _latent(guided, variant, (width, height, frames, fps)) if latent is None else _put_into(latent, guided)
        )
        both = [[[context, {**entries, **guided.entries}] for context, entries in c] for c in (positive, negative)]
        return with_remarks((*both, prepared, width, height, frames, fps), remarks)


def _video(clip: Tensor, width: int, height: int) -> Tensor:
    """IMAGE [F, H, W, 3] in 0..1 -> [1, 3, F, H, W] in -1..1, in this size."""
    return (fit(clip, width, height) * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)


def _frames_in(text: str, count: int, frames: int) -> list[int]:
    """The frames that a text names.

    Raises:
        ValueError: they are no numbers, not as many as the pictures, or outside of the video.
    """
    words = text.replace(",", " ").split()
    if len(words) != count or not all(word.isdecimal() and 0 < int(word) < frames for word in words):
        raise ValueError(
            f"middle_frames is {text!r}; expected the frame of each of the {count} middle_images, from 1 to "
            f"{frames - 1} with commas."
        )
    return [int(word) for word in words]


def _latent(guided: Guided, variant: Variant, size: tuple[int, int, int, float]) -> dict[str, Any]:
    """A new LATENT, whose other streams start empty. A mask without streams applies to the video."""
    sizes = [stream.latent_shape(*size) for stream in variant.streams[1:]]
    empty = [guided.samples.new_zeros(len(guided.samples), *size) for size in sizes]
    return {"samples": host.nested([guided.samples, *empty])} | (
        {} if guided.mask is None else {"noise_mask": guided.mask}
    )


def _size_in(latent: dict[str, Any], variant: Variant) -> tuple[int, int, int]:
    """Width, height and frames of a LATENT's picture, in pixels.

    Raises:
        FamilyError, ValueError: it is of another model.
    """
    check_latent_model(variant, latent, "This model")
    shape, geometry = picture(latent).shape, variant.geometry
    if len(shape) != 5 or shape[1] != geometry.channels:
        raise ValueError(
            f"latent holds {list(shape)}; {variant.title} works on [batch, {geometry.channels}, frames, height, "
            "width]. Connect a latent of this model, or none."
        )
    return shape[4] * geometry.spatial, shape[3] * geometry.spatial, geometry.frames(shape[2])


def _put_into(latent: dict[str, Any], guided: Guided) -> dict[str, Any]:
    """The LATENT with the pictures where their mask keeps them, and behind it those that are appended."""
    video, *sounds = unbind(latent["samples"])
    video = functional.pad(video, (0, 0, 0, 0, 0, guided.samples.shape[2] - video.shape[2]))
    mask = torch.ones(1, 1, *video.shape[2:]) if guided.mask is None else guided.mask
    video = torch.where(mask.to(video) < 1, guided.samples.to(video), video)
    sound_masks = [] if latent.get("noise_mask") is None else unbind(latent["noise_mask"])[1:]
    return {**latent, "samples": host.nested([video, *sounds]), "noise_mask": host.nested([mask, *sound_masks])}


def rate_of(positive: Any, variant: Variant) -> float:
    """Frames per second: what the model is told with its prompt, or its own."""
    stated = positive[0][1].get("frame_rate") if positive and variant.family.network.reads_rate else None
    return float(stated or variant.defaults.fps)


def _used(clips: tuple[int, ...], name: str, used: int, frames: int) -> list[str]:
    """Remarks on the frames used, for a model that can extend videos of these lengths."""
    if frames == 1 or not clips:
        return []
    which = "first" if name == "start_image" else "last"
    if used == 1:
        return [f"{name} has {frames} frames, fewer than the {clips[0]} of a video: the {which} is used."]
    return [f"{name} is a video: its {which} {used} of {frames} frames are used."]


def check_vae(vae: Any, variant: Variant) -> None:
    """Refuse a VAE that is known to be another model's; for a VAE of other loaders, compare its latent channels."""
    vae_variant = host.variant(vae)
    if vae_variant is None:
        return
    has_channels = vae_variant.geometry.channels == variant.geometry.channels
    if not has_channels or not same_latents(vae_variant.family, variant.family):
        raise wrong_vae(f"belongs to {vae_variant.title}", variant, variant.pairs.get("vae", "its own"))


def wrong_vae(fault: str, variant: Variant, expected: Any) -> FamilyError:
    return FamilyError(f"The VAE {fault}; {variant.title} needs {expected}. Connect the VAE of the same model.")
