"""Making a video after pictures, clips and sounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..base import FamilyError, References, Variant
from ..base.references import ReferenceClip, ReferenceMedia
from ..families import families
from ..host import host
from ..sampling.streams import empty_streams
from .inputs import number, require_variant
from .picture import check_vae, wrong_vae
from .remarks import with_remarks
from .rgb import rgb
from .sizes import used_size
from .sound import stereo
from .streams import AUDIO_VAES, check_is_video

PICTURES, CLIPS, SOUNDS = 9, 3, 3  # inputs of the node; a family may take fewer
MATCH, MAX = "match", "max"
_ROLE = re.compile(r"^<?\s*(picture|video|audio)\s*(\d+)\s*>?\s*[:：]\s*(.+)$", re.IGNORECASE)


class OpenT2VReferences:
    """Prepares a run whose video is made after pictures, clips and sounds."""

    CATEGORY = "OpenT2V"
    FUNCTION = "prepare"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("CONDITIONING", "LATENT", "INT", "INT", "INT", "FLOAT")
    RETURN_NAMES = ("positive", "latent", "width", "height", "frames", "fps")
    OUTPUT_TOOLTIPS = (
        "The prompt with its references; for positive and, where the model reads no negative prompt, for negative too.",
        "Latent for the sampler.",
        "Width in pixels, as used.",
        "Height in pixels, as used.",
        "Number of frames, as used.",
        "Frames per second the model was trained at.",
    )
    DESCRIPTION = (
        "Make a video after up to nine pictures, three clips and three sounds: people, styles, movements, voices. The "
        "prompt names them as <Picture 1>, <Video 1> and <Audio 1>. For MiniMax H3."
    )
    SEARCH_ALIASES: ClassVar = [
        "reference to video",
        "references",
        "ref2va",
        "ref2v",
        "r2v",
        "subject to video",
        "character reference",
        "style reference",
        "voice reference",
        "ingredients",
        "参考生视频",
        "参考图片",
        "参考声音",
        "主体参考",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        size = {"default": 0, "min": 0, "max": 16384, "step": 1}
        optional: dict[str, Any] = {
            "audio_vae": ("VAE", {"tooltip": f"For sounds: the model's audio VAE ({AUDIO_VAES})."}),
        }
        for n in range(1, PICTURES + 1):
            optional[f"picture_{n}"] = (
                "IMAGE",
                {"tooltip": "A picture to make the video after; of a batch the first."},
            )
        for n in range(1, CLIPS + 1):
            optional[f"clip_{n}"] = ("IMAGE", {"tooltip": "Frames of a clip to make the video after, see clip_fps."})
            optional[f"clip_sound_{n}"] = ("AUDIO", {"tooltip": "The sound of the clip with the same number."})
        for n in range(1, SOUNDS + 1):
            optional[f"sound_{n}"] = ("AUDIO", {"tooltip": "A voice or music to make the sound after."})
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model, for references (MiniMax H3 ref2va)."}),
                "clip": ("CLIP", {"tooltip": "The model's text encoder; it sees the pictures and clips as well."}),
                "vae": ("VAE", {"tooltip": "The model's video VAE."}),
                "prompt": (
                    "STRING",
                    {
                        "multiline": True,
                        "dynamicPrompts": True,
                        "default": "",
                        "tooltip": "What the video shows. References are named <Picture 1>, <Video 1>, <Audio 1>.",
                    },
                ),
                "roles": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "What each reference is for, a line each: Picture 1: the woman's face. It goes into "
                        "the prompt in front of its words. Empty: the prompt says it.",
                    },
                ),
                "width": ("INT", {**size, "tooltip": "Width in pixels. 0: the model's own."}),
                "height": ("INT", {**size, "tooltip": "Height in pixels. 0: the model's own."}),
                "frames": ("INT", {**size, "tooltip": "Number of frames. 0: the model's own."}),
                "reference_size": (
                    [MATCH, MAX],
                    {
                        "default": MATCH,
                        "advanced": True,
                        "tooltip": "Size of the pictures. match: as many pixels as the video. max: up to 2048 along "
                        "the shorter side, for likeness; several times slower.",
                    },
                ),
                "clip_fps": number(
                    0.0,
                    0.0,
                    1000.0,
                    0.01,
                    "Frames per second of the clips; others than the model's are brought to it by leaving out or "
                    "repeating frames. 0: the model's own.",
                    advanced=True,
                ),
            },
            "optional": optional,
        }

    def prepare(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        prompt: str,
        roles: str,
        width: int,
        height: int,
        frames: int,
        reference_size: str,
        clip_fps: float,
        audio_vae: Any = None,
        **media: Any,
    ) -> dict[str, Any]:
        variant = require_variant(model)
        references = _references(variant)
        check_is_video(vae)
        check_vae(vae, variant)
        if not host.shows(clip):
            raise FamilyError(
                f"This CLIP reads words only; {variant.title} needs "
                f"{variant.pairs.get('text_encoders', 'its own text encoder')}, which sees the references too."
            )
        (width, height, frames), remarks = used_size(variant, width, height, frames)
        fps = variant.defaults.fps
        inputs = _collected(variant, references, media, clip_fps or fps)
        hear = hearing(variant, audio_vae, [name for name in media if "sound" in name and media[name] is not None])

        def encode(images: Tensor) -> Tensor:
            latent = host.encode(vae, images).float().cpu()
            if latent.shape[1] != variant.geometry.channels:
                raise wrong_vae(f"makes latents of {latent.shape[1]} channels", variant, variant.geometry.channels)
            return latent

        ready = ReferenceMedia(**inputs, keeps_size=reference_size == MAX, width=width, height=height, frames=frames,
                               scale=stretched, encode=encode, hear=hear)  # fmt: skip
        references.check(variant, ready)
        words = _with_roles(prompt, roles, tags_of(ready))
        referred = references.prepare(variant, ready)
        conditioning = [
            [context, {**entries, **referred.entries}] for context, entries in host.embed(clip, words, referred.shown)
        ]
        samples = host.nested(empty_streams(variant.streams, width, height, frames, fps))
        if words != prompt:
            remarks.append(f"Prompt: {words}")
        return with_remarks(
            (conditioning, {"samples": samples}, width, height, frames, fps), [*remarks, *referred.remarks]
        )


def _references(variant: Variant) -> References:
    """
    Raises:
        FamilyError: the model makes no video after references.
    """
    references = variant.family.references
    if references is None:
        able = ", ".join(family.title for family in families().values() if family.references is not None)
        raise FamilyError(
            f"{variant.title} makes no video after references. These models do: {able}. Use Image to Video for a first "
            "picture."
        )
    return references


def _collected(
    variant: Variant, references: References, media: Mapping[str, Any], clip_fps: float
) -> dict[str, Sequence[Any]]:
    """The media in the order of their inputs, each kind by itself.

    Raises:
        FamilyError: none, more than the model takes, a clip's sound without the clip, or empty pictures.
    """
    names = [name for name, value in media.items() if value is not None]
    pictures = [rgb(media[name], name) for name in _numbered("picture", PICTURES) if name in names]
    sounds = [media[name] for name in _numbered("sound", SOUNDS) if name in names]
    clips = []
    for n, name in enumerate(_numbered("clip", CLIPS), 1):
        sound = media.get(f"clip_sound_{n}")
        if name in names:
            clips.append(ReferenceClip(at_rate(rgb(media[name], name), clip_fps, variant.defaults.fps), sound))
        elif sound is not None:
            raise FamilyError(f"clip_sound_{n} is connected and {name} is not. Connect it to a sound input.")
    if not pictures and not clips and not sounds:
        raise FamilyError("No reference is connected. Connect a picture, a clip or a sound, or use Empty Video Latent.")
    for kind, have, most in (
        ("pictures", pictures, references.pictures),
        ("clips", clips, references.clips),
        ("sounds", sounds, references.sounds),
    ):
        if len(have) > most:
            raise FamilyError(f"{len(have)} {kind} are connected; {variant.title} takes {most}. Disconnect some.")
    return {"pictures": pictures, "clips": clips, "sounds": sounds}


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{n}" for n in range(1, count + 1)]


def hearing(variant: Variant, audio_vae: Any, names: Sequence[str]) -> Any:
    """AUDIO -> latent of its sound.

    Args:
        names: of the inputs with a sound.
    Raises:
        FamilyError: there are sounds and no audio VAE of this model.
    """
    if not names:
        return None
    if audio_vae is None:
        raise FamilyError(f"{names[0]} is connected and audio_vae is not. Connect the model's audio VAE there.")
    decoder, stream = host.audio_decoder(audio_vae), variant.sound
    if decoder is None:
        raise FamilyError(f"audio_vae is a VAE for pictures. Connect the model's audio VAE there ({AUDIO_VAES}).")
    if stream is None or decoder.encode is None:
        raise FamilyError(f"{variant.title} reads no sounds, or this audio VAE encodes none. Disconnect {names[0]}.")
    encoder = decoder.encode
    channels = stream.latent_shape(variant.defaults.width, variant.defaults.height, 5, variant.defaults.fps)[0]
    if decoder.channels != channels:
        raise FamilyError(
            f"audio_vae has latents of {decoder.channels} channels; {variant.title} needs {channels}. Connect the "
            f"audio VAE of the same model: {variant.pairs.get('vae', 'its own')}."
        )

    def hear(audio: Mapping[str, Any]) -> Tensor:
        waveform = audio["waveform"]
        if waveform.ndim != 3 or not waveform.shape[-1]:
            raise FamilyError("A sound is empty: its AUDIO holds no samples. Disconnect it.")
        return encoder({**audio, "waveform": stereo(waveform)})

    return hear


def tags_of(media: ReferenceMedia) -> list[str]:
    """The names of the references in a prompt: "Picture 1", "Video 1", "Audio 1"; clips' sounds count first."""
    heard = sum(clip.sound is not None for clip in media.clips) + len(media.sounds)
    counts = (("Picture", len(media.pictures)), ("Video", len(media.clips)), ("Audio", heard))
    return [f"{kind} {n}" for kind, count in counts for n in range(1, count + 1)]


def _with_roles(prompt: str, roles: str, tags: Sequence[str]) -> str:
    """The prompt behind a sentence for each line of `roles`.

    Raises:
        FamilyError: a line that names no reference.
    """
    sentences = []
    for line in filter(None, map(str.strip, roles.splitlines())):
        match = _ROLE.match(line)
        tag = f"{match[1].capitalize()} {int(match[2])}" if match else ""
        if match is None or tag not in tags:
            raise FamilyError(
                f'roles has the line {line!r}, which names no connected reference. Write a line as "Picture 1: the '
                f"woman's face\"; there are: {', '.join(tags)}."
            )
        sentences.append(f"<{tag}> is {match[3].strip().rstrip('.')}.")
    return " ".join([*sentences, prompt]) if sentences else prompt


def at_rate(frames: Tensor, rate: float, new_rate: float) -> Tensor:
    """[n, H, W, 3] at `rate` frames per second -> the same at another, by leaving out or repeating frames."""
    if rate == new_rate:
        return frames
    count = max(1, round(len(frames) * new_rate / rate))
    places = (torch.arange(count, dtype=torch.float64) * rate / new_rate).round().long()
    return frames[places.clamp(max=len(frames) - 1)]


def stretched(images: Tensor, width: int, height: int) -> Tensor:
    """IMAGE [n, H, W, 3] in this size, in whole 255ths.

    Source: ComfyUI 0.33.0, comfy/utils.py (lanczos), which rounds down and scales pictures of the right size too.
    """
    from PIL import Image

    scaled = []
    for image in images[..., :3]:
        pixels = Image.fromarray(np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8))
        resized = pixels.resize((width, height), resample=Image.Resampling.LANCZOS)
        scaled.append(torch.from_numpy(np.asarray(resized).astype(np.float32) / 255.0))
    return torch.stack(scaled)
