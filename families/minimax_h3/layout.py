"""The one sequence that MiniMax H3 attends over: the text, what is shown to it, the sound and the video.

Each row of it has a kind and a place in time, height and width. Times of all streams count on one axis, on which one
sound latent is 1 long, a video frame 5/3 and a token of text 1; height and width of every picture reach over 32 parts
of the side of a square of its area.

Source: ComfyUI 0.33.0, comfy/ldm/minimax/model.py (PackedLayout); diffusers 0.42.1, modular_pipelines/minimax_h3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...base import FamilyError

# Kinds of rows. What is shown is a keyframe or a reference, which is never denoised.
TEXT, SHOWN_VIDEO, SHOWN_SOUND, SOUND, VIDEO = range(5)
# Video frames in each latent frame of one group. A clip is whole groups and the first two latent frames of another
# group.
GROUP = (1, 4, 4, 4, 4)
PATCH = 2  # latent pixels of a row, along each side
_FRAME = 5 / 3  # length of a video frame
_SIDE = 32.0  # parts of the side of a square of the picture's area


@dataclass
class Layout:
    """Rows in their order.

    Attributes:
        kinds: of each part of the sequence, one number per row.
        places: [rows, 3] of each part: time, height, width.
        video, sound: what is shown, as the rows that the network reads.
    """

    kinds: list[Tensor] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)
    video: list[Tensor] = field(default_factory=list)
    sound: list[Tensor] = field(default_factory=list)

    def add(self, kind: int, places: Tensor) -> None:
        self.kinds.append(torch.full((len(places),), kind, dtype=torch.long))
        self.places.append(places)

    def show_video(self, latent: Tensor, time: float) -> None:
        """[1, C, T, h, w], from this time on."""
        self.add(SHOWN_VIDEO, video_places(latent.shape[2:], time))
        self.video.append(video_rows(latent.float())[0])

    def show_sound(self, latent: Tensor, time: float, sides: tuple[float, float]) -> None:
        """[1, C, 2, L], from this time on."""
        self.add(SHOWN_SOUND, sound_places(latent.shape[-1], time, sides))
        self.sound.append(sound_rows(latent.float())[0])


def packed(text_tokens: int, video: Sequence[int], sound_latents: int, entry: Mapping[str, Any]) -> Layout:
    """
    Args:
        video: (latent frames, height, width) of the video that is made.
        entry: a CONDITIONING's dictionary. Of ComfyUI's own keys, "minimax_keyframes" are pictures, clips and sounds
            that the video has at a frame, {"resolved_frame_index", "latent", "audio_latent"}; "minimax_refs" those that
            it only looks at, {"kind", "latent", "audio_latent"}.
    Raises:
        FamilyError: a keyframe has another size than the video, or a reference is of an unknown kind.
    """
    layout, references = Layout(), entry.get("minimax_refs") or ()
    layout.add(TEXT, torch.arange(text_tokens, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.0, 0.0]))
    sides = _sides(video[1:])
    start = text_tokens + sum(map(_length, references))
    for keyframe in entry.get("minimax_keyframes") or ():
        time = start + _FRAME * keyframe["resolved_frame_index"]
        picture, sound = keyframe.get("latent"), keyframe.get("audio_latent")
        if picture is not None:
            if tuple(picture.shape[3:]) != tuple(video[1:]):
                raise FamilyError(
                    f"A keyframe's latent is {picture.shape[4]} x {picture.shape[3]}, the video's {video[2]} x "
                    f"{video[1]}. Give the node that adds it the size of the video."
                )
            layout.show_video(picture, time)
        if sound is not None:
            layout.show_sound(sound, time, sides)
    time = float(text_tokens)
    for reference in references:
        _show(layout, reference, time, sides)
        time += _length(reference)
    layout.add(SOUND, sound_places(sound_latents, start, sides))
    layout.add(VIDEO, video_places(video, start))
    return layout


def _show(layout: Layout, reference: Mapping[str, Any], time: float, sides: tuple[float, float]) -> None:
    """One reference. The sound of a clip lies before it, from the same time on, at the clip's own sides."""
    picture, sound = reference.get("latent"), reference.get("audio_latent")
    if sound is not None and sound.shape[-1]:
        layout.show_sound(sound, time, sides if picture is None else _sides(picture.shape[3:]))
    if picture is not None:
        layout.show_video(picture, time)


def _length(reference: Mapping[str, Any]) -> float:
    """How far a reference reaches in time."""
    kind, picture, sound = reference.get("kind"), reference.get("latent"), reference.get("audio_latent")
    heard = 0.0 if sound is None else float(sound.shape[-1])
    if kind == "image" and picture is not None:
        return 1.0
    if kind == "audio" and sound is not None:
        return heard
    if kind in ("video", "video_audio") and picture is not None:
        return max(heard, sum(_FRAME * GROUP[n % len(GROUP)] for n in range(picture.shape[2])))
    raise FamilyError(
        f"A reference of the kind {kind!r} holds {sorted(reference)}. Expected an image, a video or an audio with its "
        "latent. Make it with References or ComfyUI's MiniMax H3 Reference to Video."
    )


def video_places(shape: Sequence[int], time: float) -> Tensor:
    """[T * h/2 * w/2, 3] for a latent of (T, h, w)."""
    frames, height, width = shape
    spans = torch.tensor([0.0, *(_FRAME * GROUP[n % len(GROUP)] for n in range(frames - 1))], dtype=torch.float64)
    area = math.sqrt(height * width)
    axes = time + spans.cumsum(0), _axis(height, area), _axis(width, area)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)


def sound_places(latents: int, time: float, sides: tuple[float, float]) -> Tensor:
    """[2 * L, 3]: all of the left channel at the left side of the picture, then the right one at its right."""
    places = torch.zeros(2, latents, 3, dtype=torch.float64)
    places[:, :, 0] = time + torch.arange(latents, dtype=torch.float64)
    places[:, :, 2] = torch.tensor(sides, dtype=torch.float64)[:, None]
    return places.flatten(0, 1)


def _axis(side: int, area: float) -> Tensor:
    count, share = side // PATCH, side / area
    return (torch.arange(count, dtype=torch.float64) * (share / count) + (1 - share) / 2) * _SIDE


def _sides(size: Sequence[int]) -> tuple[float, float]:
    """The first and the last place in width of a picture of (h, w)."""
    across = _axis(size[1], math.sqrt(size[0] * size[1]))
    return float(across[0]), float(across[-1])


def video_rows(latent: Tensor) -> Tensor:
    """[B, C, T, h, w] -> [B, T * h/2 * w/2, C * 4]."""
    folded = latent.unflatten(4, (-1, PATCH)).unflatten(3, (-1, PATCH))  # [B, C, T, rows, 2, columns, 2]
    return folded.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)


def video_latent(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `video_rows`, for a latent of (T, h, w)."""
    frames, height, width = shape
    folded = rows.unflatten(2, (-1, PATCH, PATCH)).unflatten(1, (frames, height // PATCH, width // PATCH))
    return folded.permute(0, 4, 1, 2, 5, 3, 6).flatten(5).flatten(3, 4)


def sound_rows(latent: Tensor) -> Tensor:
    """[B, C, 2, L] -> [B, 2 * L, C]."""
    return latent.permute(0, 2, 3, 1).flatten(1, 2)


def sound_latent(rows: Tensor) -> Tensor:
    """The inverse of `sound_rows`."""
    return rows.unflatten(1, (2, -1)).permute(0, 3, 1, 2)
