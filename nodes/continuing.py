"""Going on from the end of a clip."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor

from ..base import FamilyError, Geometry, Variant
from ..base.references import Tail
from ..host import host
from ..media.finishing import anchored
from ..media.settings import exact_fps
from ..sampling.streams import empty_streams
from .clip_ends import Clip, kept_ends
from .inputs import require_variant, share
from .picture import OpenT2VImageToVideo, check_vae, fit, rate_of
from .references import hearing
from .remarks import with_remarks
from .rgb import rgb
from .sizes import used_size
from .sound import kept_sound, part_of

AUTO, LATENTS, PICTURE = "auto", "latents", "picture"
WAYS = (AUTO, LATENTS, PICTURE)


class OpenT2VContinue:
    """Prepares a run that goes on where a clip ends."""

    CATEGORY = "OpenT2V"
    FUNCTION = "prepare"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT", "INT", "INT", "FLOAT")
    RETURN_NAMES = ("positive", "negative", "latent", "overlap", "frames", "fps")
    OUTPUT_TOOLTIPS = (
        "The positive conditioning, with the clip's end where the model reads pictures.",
        "The negative conditioning, likewise.",
        "What the sampler starts from.",
        "Frames that the new clip shares with the old one, for Join Clips.",
        "Number of frames of the new clip, those shared included.",
        "Frames per second the model was trained at.",
    )
    DESCRIPTION = (
        "Go on where a clip ends. The end is kept in the new clip's first frames, in the way that the model can: as "
        "latents, or as a picture. Join Clips puts both together."
    )
    SEARCH_ALIASES: ClassVar = [
        "extend video",
        "continue video",
        "video extension",
        "video to video continuation",
        "longer video",
        "last frame",
        "next segment",
        "extender",
        "续写视频",
        "延长视频",
        "视频续接",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        frames = {"min": 0, "max": 16384}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model; of two experts, the high-noise one."}),
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the model."}),
                "positive": ("CONDITIONING", {"tooltip": "What the new clip shows."}),
                "negative": ("CONDITIONING", {"tooltip": "What it avoids."}),
                "frames": (
                    "INT",
                    {
                        "default": 0,
                        **frames,
                        "tooltip": "Frames of the new clip, overlap included. 0: the model's own.",
                    },
                ),
                "overlap": (
                    "INT",
                    {
                        "default": 9,
                        "min": 1,
                        "max": 16384,
                        "tooltip": "Frames of the clip's end that the new clip begins with. More: the motion goes on "
                        "better, fewer new frames. Models that take one picture use 1.",
                    },
                ),
                "way": (
                    list(WAYS),
                    {
                        "advanced": True,
                        "default": AUTO,
                        "tooltip": "latents: the end is encoded and stays as it is. picture: the last frame as start "
                        "picture, or a clip where the model takes one. auto: what the model was trained for.",
                    },
                ),
                "anchor_strength": share(
                    1.0, "How far the end gets the colours of anchor before the model sees it. 0: not at all."
                ),
            },
            "optional": {
                "images": ("IMAGE", {"tooltip": "The clip's frames."}),
                "latent": ("LATENT", {"tooltip": "The clip as a latent, in place of images; its end is decoded."}),
                "audio": ("AUDIO", {"tooltip": "The clip's sound, for models that make one: its end is encoded anew."}),
                "audio_vae": ("VAE", {"tooltip": "The model's audio VAE, for audio."}),
                "anchor": (
                    "IMAGE",
                    {"tooltip": "Frames of the first shot: every clip starts from its colours, so that none drift."},
                ),
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {"tooltip": "The clip's last frame read by CLIP Vision Encode, for models that ask for it."},
                ),
                "end": (
                    "IMAGE",
                    {
                        "tooltip": "Frames that the new clip ends with, such as the next shot's picture: the model "
                        "makes what lies between."
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
        frames: int,
        overlap: int,
        way: str,
        anchor_strength: float,
        images: Tensor | None = None,
        latent: dict[str, Any] | None = None,
        audio: dict[str, Any] | None = None,
        audio_vae: Any = None,
        anchor: Tensor | None = None,
        clip_vision_output: Any = None,
        end: Tensor | None = None,
    ) -> dict[str, Any]:
        variant = require_variant(model)
        way = _way(variant, way, end is not None)
        check_vae(vae, variant)
        images = None if images is None else rgb(images, "images")
        source = Clip(vae, images, latent)
        overlap = _overlap(variant, way, overlap, source.frames)
        fps = rate_of(positive, variant)
        width, height = source.size
        (width, height, frames), remarks = used_size(variant, width, height, frames, fps)
        if overlap >= frames:
            raise ValueError(
                f"The new clip has {frames} frames, and {overlap} of them are the old clip's. Choose a smaller overlap "
                "or more frames."
            )
        tail = fit(source.end(overlap), width, height)
        end = None if end is None else fit(rgb(end, "end").float(), width, height)
        if anchor is not None and anchor_strength:
            tail = anchored(tail, rgb(anchor, "anchor").to(tail), anchor_strength)
            remarks.append("The end has the colours of anchor before the model sees it.")
        stop = Fraction(source.frames) / exact_fps(fps)
        span = stop - Fraction(overlap) / exact_fps(fps), stop
        if way == PICTURE and variant.family.continuation is not None and end is None:
            entries, line = _keyframes(variant, vae, tail, frames, audio and part_of(audio, span), audio_vae)
            positive, negative = (
                [[context, {**known, **entries}] for context, known in both] for both in (positive, negative)
            )
            start = {"samples": host.nested(empty_streams(variant.streams, width, height, frames, fps))}
            remarks.append(line)
            return with_remarks((positive, negative, start, overlap, frames, fps), remarks)
        if way == PICTURE:
            remarks.append(
                f"Goes on from {'the last frame' if overlap == 1 else f'the last {overlap} frames'} as picture."
                if end is None
                else "Fills in between the two pictures, by what the model was trained for."
            )
            prepared = OpenT2VImageToVideo().prepare(
                model, vae, positive, negative, width, height, frames, 1.0, tail, end, clip_vision_output
            )["result"]
            positive, negative, start = prepared[:3]
        else:
            start, count, last = kept_ends(variant, vae, tail, end, (width, height, frames), fps)
            kind = "clean, as the model was trained to see them" if variant.keeps_clean else "kept by the latent's mask"
            remarks.append(f"Goes on from the last {overlap} frames: {count} latent frames, {kind}.")
            if last:
                remarks.append(f"Fills in up to the end, which is in the last {last} latent frames.")
        if audio is not None:
            start, line = kept_sound(start, audio, audio_vae, span, overlap / frames)
            remarks.append(line)
        return with_remarks((positive, negative, start, overlap, frames, fps), remarks)


def _way(variant: Variant, way: str, has_end: bool) -> str:
    """The way that "auto" comes to.

    Raises:
        FamilyError: the model cannot go on in this way.
    """
    if way not in WAYS:
        raise ValueError(f"way is {way!r}; choose one of: {', '.join(WAYS)}.")
    starts_from_picture = variant.task == "image"
    if way == AUTO:
        images = variant.family.images
        reads_end = has_end and images is not None and images.at_any_frame
        return PICTURE if starts_from_picture or _clips(variant) or reads_end else LATENTS
    if way == LATENTS and starts_from_picture:
        raise FamilyError(f"{variant.title} is an image-to-video model and goes on from a picture. Set way to picture.")
    if way == PICTURE and variant.family.images is None and variant.family.continuation is None:
        raise FamilyError(f"{variant.title} cannot start from a picture. Set way to latents.")
    return way


def _keyframes(
    variant: Variant, vae: Any, tail: Tensor, frames: int, sound: dict[str, Any] | None, audio_vae: Any
) -> tuple[dict[str, Any], str]:
    """Entries of the CONDITIONING for a model that looks at the end of a clip in every step; and a remark."""
    continuation = variant.family.continuation
    assert continuation is not None
    hear = None if sound is None else hearing(variant, audio_vae, ["audio"])
    encode = lambda images: host.encode(vae, images).float().cpu()  # noqa: E731
    entries = continuation.prepare(variant, Tail(tail, sound, encode, hear), frames)
    heard = "" if sound is None else ", with their sound encoded anew"
    count = "the last frame" if len(tail) == 1 else f"the last {len(tail)} frames"
    return entries, f"Goes on from {count}{heard}, which the model looks at in every step."


def _clips(variant: Variant) -> tuple[int, ...]:
    if variant.family.continuation is not None:
        return variant.family.continuation.lengths
    return () if variant.family.images is None else variant.family.images.clips


def _overlap(variant: Variant, way: str, overlap: int, frames: int) -> int:
    """The most frames, up to those asked for, that the model can go on from.

    Raises:
        ValueError: the clip is shorter than the overlap.
    """
    if overlap > frames:
        raise ValueError(
            f"The clip has {frames} frames and overlap is {overlap}. Choose an overlap of at most {frames}."
        )
    if way == PICTURE:
        return max(count for count in (1, *_clips(variant)) if count <= overlap)
    return _legal_length(variant.geometry, overlap)


def _legal_length(geometry: Geometry, frames: int) -> int:
    return max((count for count in range(1, frames + 1) if geometry.nearest(count) == count), default=1)
