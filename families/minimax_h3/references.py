"""What MiniMax H3 makes a video after, and how it goes on from the end of one.

References stand before the video in every step, never noisy, and their pictures are seen by the text encoder too; a
tail is a keyframe of several frames at the video's beginning, with its sound beside it.

Source: ComfyUI 0.33.0, comfy_extras/nodes_minimax_h3.py (MiniMaxH3ReferenceToVideo, MiniMaxH3AddGuide); diffusers
0.42.1, modular_pipelines/minimax_h3 (how many, and sounds never alone).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...base import FamilyError, Shown, Variant
from ...base.references import Continuation, ReferenceClip, ReferenceMedia, References, Referred, Tail
from .versions import FPS, GROUP_FRAMES, SHORTEST, SOUND_RATE, lengths

_STEP = 32  # pixels of a token along each side
_SHORT, _MOST = 768, 768 * 1344  # a clip's shorter side, and its pixels
_LONGEST_SHORT = 2048  # shorter side of a picture that keeps its size
_SPAN = SOUND_RATE / FPS  # latents of sound for each frame
# A single picture, or whole groups: up to seven seconds.
TAILS = (1, *lengths(int(7 * FPS)))


def check(variant: Variant, media: ReferenceMedia) -> None:
    """
    Raises:
        FamilyError: nothing but sounds, a clip that is too short, a picture that is too small.
    """
    if media.sounds and not media.pictures and not media.clips:
        raise FamilyError(
            f"{variant.title} hears sounds only beside a picture or a clip. Connect one of them, or use Encode Sound "
            "to make a video to a sound."
        )
    for n, clip in enumerate(media.clips, 1):
        if len(clip.frames) < SHORTEST:
            raise FamilyError(
                f"clip_{n} has {len(clip.frames)} frames; a clip needs {SHORTEST} at {variant.defaults.fps:g} fps. "
                "Connect a longer one, or its picture to a picture input."
            )
    named = [(f"picture_{n}", picture) for n, picture in enumerate(media.pictures, 1)]
    named += [(f"clip_{n}", clip.frames) for n, clip in enumerate(media.clips, 1)]
    for name, images in named:
        height, width = images.shape[1:3]
        if min(height, width) < _STEP:
            raise FamilyError(f"{name} is {width} x {height} pixels; a reference has at least {_STEP} along each side.")


def prepare(variant: Variant, media: ReferenceMedia) -> Referred:
    """Pictures, then clips, each behind the label of its sound, then sounds."""
    shown: list[Shown] = []
    blocks: list[dict[str, Any]] = []
    remarks: list[str] = []
    if variant.facts.get("task") != "references":
        remarks.append("References are for the ref2va file of MiniMax H3; this MODEL does not say that it is one.")
    for n, picture in enumerate(media.pictures, 1):
        width, height = picture_size(picture, media)
        scaled = media.scale(picture[:1], width, height)
        shown.append(Shown("image", scaled))
        blocks.append({"kind": "image", **_sides(width, height), "latent": media.encode(scaled)})
        remarks.append(f"<Picture {n}>: {width} x {height}")
    heard = 0
    for n, clip in enumerate(media.clips, 1):
        frames, sound = _clip(clip, media), None
        if clip.sound is not None:
            heard += 1
            sound = media.hear(clip.sound)
            shown.append(Shown("audio"))
        rate = round(variant.defaults.fps) // 2  # the text encoder sees two frames a second
        shown.append(Shown("video", frames[::rate]))
        height, width = frames.shape[1:3]
        latent = media.encode(frames)
        kind = "video" if sound is None else "video_audio"
        length = 0 if sound is None else sound.shape[-1]
        blocks.append(
            {"kind": kind, "latent_t": latent.shape[2], **_sides(width, height), "ref_audio_t": length,
             "latent": latent, "audio_latent": sound}
        )  # fmt: skip
        used, total = len(frames), len(clip.frames)
        parts = [f"<Video {n}>: {width} x {height}", f"{used} of {total} frames" if used < total else f"{used} frames"]
        parts += [f"its sound is <Audio {heard}>"] if sound is not None else []
        remarks.append(", ".join(parts))
    for audio in media.sounds:
        heard += 1
        sound = media.hear(audio)
        shown.append(Shown("audio"))
        blocks.append({"kind": "audio", "ref_audio_t": sound.shape[-1], "audio_latent": sound})
        remarks.append(f"<Audio {heard}>: {sound.shape[-1] / SOUND_RATE:.1f} s")
    return Referred(shown, {"minimax_refs": blocks}, remarks)


def picture_size(picture: Tensor, media: ReferenceMedia) -> tuple[int, int]:
    """(width, height) of a picture as the model sees it: never larger than it is, in its shape."""
    height, width = picture.shape[1:3]
    if media.keeps_size:
        scale = min(1.0, _LONGEST_SHORT / min(width, height))
    else:
        scale = min(1.0, math.sqrt(media.width * media.height / (width * height)))
    return _side(width * scale), _side(height * scale)


def clip_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of a clip as the model sees it: 768 along the shorter side, and never larger than it is."""
    ratio = width / height
    across, down = (_SHORT * ratio, float(_SHORT)) if ratio >= 1 else (float(_SHORT), _SHORT / ratio)
    if across * down > _MOST:
        scale = math.sqrt(_MOST / (across * down))
        across, down = across * scale, down * scale
    size = _side(across), _side(down)
    return (_side(width), _side(height)) if width * height < size[0] * size[1] else size


def _clip(clip: ReferenceClip, media: ReferenceMedia) -> Tensor:
    """The frames as the model sees them: no more than the video has, in whole groups."""
    width, height = clip_size(clip.frames.shape[2], clip.frames.shape[1])
    return media.scale(clip.frames[: whole_groups(min(len(clip.frames), media.frames))], width, height)


def whole_groups(frames: int) -> int:
    """The longest length of 17n + 5 frames that is no longer than this."""
    return (frames - SHORTEST) // GROUP_FRAMES * GROUP_FRAMES + SHORTEST


def _side(length: float) -> int:
    return max(_STEP, round(length / _STEP) * _STEP)


def _sides(width: int, height: int) -> Mapping[str, int]:
    return {"latent_h": height // 16, "latent_w": width // 16}


def go_on(variant: Variant, tail: Tail, frames: int) -> dict[str, Any]:
    """
    Raises:
        FamilyError: a tail of another length, or one that fills the video.
    """
    length = len(tail.frames)
    if length not in TAILS:
        raise FamilyError(
            f"{variant.title} goes on from one frame or 17n + 5 of them, up to {TAILS[-1]}; {length} are there."
        )
    if length >= frames:
        raise FamilyError(f"The tail has {length} frames and the video {frames}: nothing is left to make.")
    keyframe: dict[str, Any] = {"resolved_frame_index": 0, "latent": tail.encode(tail.frames)}
    if tail.sound is not None:
        if tail.hear is None:
            raise FamilyError("The tail has a sound, and there is no audio VAE to encode it. Connect audio_vae.")
        # The sound ends where the tail ends: what lies behind is made anew.
        keyframe["audio_latent"] = tail.hear(tail.sound)[..., : max(1, math.floor(length * _SPAN))].clone()
    return {"minimax_keyframes": [keyframe]}


REFERENCES = References(9, 3, 3, check, prepare)
CONTINUATION = Continuation(TAILS, go_on)
