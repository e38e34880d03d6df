"""Starting from a sound: the sound of a LATENT is a given one, and the picture is made to it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..base.resampling import resampled
from ..host import host
from ..sampling.streams import unbind
from .inputs import share
from .remarks import with_remarks
from .streams import AUDIO_VAES


class OpenT2VEncodeAudio:
    """Puts a sound into a latent of picture and sound."""

    CATEGORY = "OpenT2V"
    FUNCTION = "encode"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The latent with this sound, for the sampler.",)
    DESCRIPTION = "Make a video to a sound: encode it into the sound of a latent, which the sampler keeps."
    SEARCH_ALIASES: ClassVar = [
        "audio to video",
        "sound to video",
        "a2v",
        "lip sync",
        "encode audio",
        "vae encode audio",
        "music video",
        "音频生视频",
        "编码声音",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "audio_vae": ("VAE", {"tooltip": f"The model's audio VAE ({AUDIO_VAES})."}),
                "audio": ("AUDIO", {"tooltip": "The sound, at any rate, mono or stereo."}),
                "latent": (
                    "LATENT",
                    {"tooltip": "A latent with picture and sound, of Empty Video Latent or Image to Video."},
                ),
                "keep": share(
                    1.0,
                    "How much of the sound stays. 1: all, and the picture is made to it. 0: the sampler makes it anew.",
                ),
            },
        }

    def encode(self, audio_vae: Any, audio: dict[str, Any], latent: dict[str, Any], keep: float) -> dict[str, Any]:
        decoder = host.audio_decoder(audio_vae)
        if decoder is None:
            raise ValueError(f"audio_vae is a VAE for pictures. Connect the model's audio VAE there ({AUDIO_VAES}).")
        if decoder.encode is None:
            raise ValueError("This audio VAE decodes only. LTX-2's encodes sounds.")
        _, *sounds = unbind(latent["samples"])
        if not sounds:
            raise ValueError(
                "The latent holds a picture only. Make it with Empty Video Latent for a model with sound (sound on)."
            )
        room = sounds[0]
        if room.shape[1] != decoder.channels:
            raise ValueError(
                f"The latent's sound has {room.shape[1]} channels; this audio VAE encodes {decoder.channels}. Use the "
                "audio VAE that belongs to the model that the latent was made for."
            )
        waveform = stereo(audio["waveform"])
        encoded = decoder.encode({**audio, "waveform": waveform}).to(room)
        axis = decoder.time_axis
        fitted, remarks = _fitted(encoded, axis, room.shape[axis])
        count = min(encoded.shape[axis], room.shape[axis])
        prepared = _with_sound(latent, fitted.expand(len(room), *fitted.shape[1:]), axis, count, keep)
        seconds = waveform.shape[-1] / audio["sample_rate"]
        line = f"{seconds:.1f} s of sound, {count} of {room.shape[axis]} latents"
        return with_remarks((prepared,), [line, *remarks])


def kept_sound(
    latent: dict[str, Any], audio: dict[str, Any], audio_vae: Any, span: tuple[Fraction, Fraction], share: float
) -> tuple[dict[str, Any], str]:
    """A LATENT whose sound begins with the end of another one, encoded from its waveform; and a remark.

    Args:
        latent: of picture and sound.
        span: what is taken of the sound, in seconds from its start.
        share: of the LATENT's length, how much of the sound stays.
    Raises:
        ValueError: nothing encodes the sound, or the LATENT has none.
    """
    _, *sounds = unbind(latent["samples"])
    if not sounds:
        raise ValueError("audio is connected, and this model makes pictures only. Disconnect it, and join the sounds.")
    decoder = None if audio_vae is None else host.audio_decoder(audio_vae)
    if decoder is None or decoder.encode is None:
        raise ValueError(f"audio is connected and nothing encodes it. Connect the model's audio VAE ({AUDIO_VAES}).")
    waveform = part_of(audio, span)["waveform"]
    room = sounds[0]
    encoded, axis = decoder.encode({**audio, "waveform": waveform}).to(room), decoder.time_axis
    count = min(encoded.shape[axis], max(int(room.shape[axis] * share), 1))
    sound = room.clone()
    sound.narrow(axis, 0, count).copy_(encoded.narrow(axis, 0, count))
    remark = f"The sound goes on from its last {float(span[1] - span[0]):.1f} s, encoded anew."
    return _with_sound(latent, sound, axis, count), remark


def _with_sound(latent: dict[str, Any], sound: Tensor, axis: int, count: int, keep: float = 1.0) -> dict[str, Any]:
    """A LATENT with another sound, of which this many latents stay and what lies behind them is made anew.

    Args:
        axis: of the sound's latents that is time.
        keep: how much of them stays, 0 to 1.
    """
    picture = unbind(latent["samples"])[0]
    masks = unbind(latent["noise_mask"]) if latent.get("noise_mask") is not None else []
    mask = masks[0] if masks else torch.ones(1, 1, *picture.shape[2:])
    kept = torch.ones(1, 1, *sound.shape[2:])
    kept.narrow(axis, 0, count).fill_(1 - keep)
    return {**latent, "samples": host.nested([picture, sound]), "noise_mask": host.nested([mask, kept])}


def part_of(audio: dict[str, Any], span: tuple[Fraction, Fraction]) -> dict[str, Any]:
    """A stereo AUDIO of what lies between two times, in seconds from the sound's start.

    Raises:
        ValueError: the sound ends before.
    """
    rate = int(audio["sample_rate"])
    waveform = stereo(audio["waveform"])[:, :, int(span[0] * rate) : int(span[1] * rate)]
    if not waveform.shape[2]:
        raise ValueError(
            "The sound ends before the overlap begins, so there is nothing to go on from. Disconnect audio."
        )
    return {**audio, "waveform": waveform}


def stereo(waveform: Tensor) -> Tensor:
    """[1, 2, samples] of an AUDIO's waveform [B, channels, samples].

    Raises:
        ValueError: there is nothing to hear in it.
    """
    if waveform.ndim != 3 or not waveform.shape[-1]:
        raise ValueError(f"The AUDIO is of shape {list(waveform.shape)}; expected [1, channels, samples] with samples.")
    first = waveform[:1].float()
    return first[:, :2] if first.shape[1] >= 2 else first.expand(-1, 2, -1)


def _fitted(latent: Tensor, axis: int, length: int) -> tuple[Tensor, list[str]]:
    """The latent cut, or filled up with nothing, to this length; remarks on it."""
    present = latent.shape[axis]
    if present > length:
        return latent.narrow(axis, 0, length), ["The sound is longer than the video: its end is left out."]
    if present < length:
        behind = [0, 0] * (latent.ndim - 1 - axis) + [0, length - present]
        filled = functional.pad(latent, behind)
        return filled, ["The sound is shorter than the video: the model makes the rest."]
    return latent, []


def at_one_rate(
    first: dict[str, Any] | None, second: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Two sounds (AUDIO) with as many samples a second: the lower rate is brought to the higher one."""
    if first is None or second is None or first["sample_rate"] == second["sample_rate"]:
        return first, second
    rate = max(int(first["sample_rate"]), int(second["sample_rate"]))
    first, second = (
        {
            **sound,
            "waveform": resampled(sound["waveform"].float(), int(sound["sample_rate"]), rate),
            "sample_rate": rate,
        }
        for sound in (first, second)
    )
    return first, second
