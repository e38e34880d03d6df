"""Checks that Video Sampler's inputs suit the model and each other, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import Variant
from ..sampling import SamplingError
from ..sampling.streams import unbind
from ..sampling.windows import Windows
from .inputs import require_variant
from .streams import shapes


def check_experts(variant: Variant, low_noise_model: Any) -> None:
    """
    Raises:
        SamplingError: a model with two experts has one only, or they are not a pair in this order.
    """
    if low_noise_model is None:
        if variant.expert == "high":
            raise SamplingError(
                f"{variant.title} works with two experts and only the high-noise one is connected: the video would "
                "stay noise. Connect the low-noise one to low_noise_model."
            )
        return
    low = require_variant(low_noise_model)
    if low.family.id != variant.family.id or low.geometry.channels != variant.geometry.channels:
        raise SamplingError(f"low_noise_model is {low.title}, model is {variant.title}; both belong to one checkpoint.")
    if not variant.boundary:
        raise SamplingError(
            f"{variant.title} is one model for all steps. Disconnect low_noise_model. The two experts of Wan 2.2 A14B "
            "are told by their files' names: load both with Load Video Diffusion Model."
        )
    if low.expert == "high" or variant.expert == "low":
        fault = "the high-noise file twice" if low.expert == variant.expert == "high" else "the two files swapped"
        raise SamplingError(f"Found {fault}. The high-noise one goes to model, the low-noise one to low_noise_model.")


def check_width(variant: Variant, name: str, conditioning: Any) -> None:
    """
    Raises:
        SamplingError: the CONDITIONING is of another model's text encoder.
    """
    for context, _ in conditioning:
        if context.shape[-1] not in (variant.context_width, *variant.longer_context_widths):
            raise SamplingError(
                f"The {name} conditioning is {context.shape[-1]} wide; {variant.title} reads {variant.context_width}. "
                "It was made by another model's text encoder: encode the prompt with this model's own CLIP."
            )


def check_clips(variant: Variant, seeds: Sequence[int], prompts: Sequence[Any], windows: Windows | None) -> None:
    """
    Args:
        seeds: one for each clip.
        prompts: the positive and the negative CONDITIONING.
    Raises:
        SamplingError: the clips of such a batch would not be those that their seeds make alone.
    """
    for context, entries in (entry for prompt in prompts for entry in prompt):
        if len(context) not in (1, len(seeds)):
            raise SamplingError(
                f"seeds names {len(seeds)} clips and a prompt is for {len(context)}. Give one prompt for all clips, or "
                "one for each."
            )
        shown = [name for name in variant.family.network.seeded if entries.get(name)]
        if shown and len({*seeds}) > 1:
            raise SamplingError(
                f"seeds names several clips, and {variant.title} adds noise of one seed to what it is shown "
                f"({', '.join(shown)}). Sample these clips one after another with seed."
            )
    if windows is not None and windows.freenoise and len({*seeds}) > 1:
        raise SamplingError(
            "seeds names several clips, and FreeNoise orders the noise of all of them alike. Turn freenoise off in "
            "Video Windows, or sample the clips one after another with seed."
        )


def check_fits(variant: Variant, samples: Any, window: int | None = None) -> None:
    """
    Args:
        samples: [B, C, T, h, w] or [B, C, h, w], or nested with a sound.
        window: latent frames that are computed at once; None: all.
    Raises:
        SamplingError: the model cannot make a latent of this shape.
    """
    _check_sound(variant, samples)
    geometry, samples = variant.geometry, unbind(samples)[0]
    if samples.ndim not in (4, 5):
        raise SamplingError(
            f"The latent has {samples.ndim} dimensions; expected [batch, channels, frames, height, width]. "
            "Make it with Empty Video Latent."
        )
    if samples.shape[1] != geometry.channels and bool(samples.any()):
        raise SamplingError(
            f"The latent has {samples.shape[1]} channels; {variant.title} works with {geometry.channels}. It was made "
            "by another model's VAE: encode it with this model's."
        )
    if uneven := geometry.uneven(samples.shape[-1], samples.shape[-2]):
        raise SamplingError(uneven)
    frames = samples.shape[2] if samples.ndim == 5 else 1
    at_once = frames if window is None else min(frames, window)
    if max(at_once, *(side // geometry.patch for side in samples.shape[-2:])) > geometry.max_positions:
        raise SamplingError(
            f"The latent has {frames} frames of {samples.shape[-1]} x {samples.shape[-2]}; {variant.title} takes up to "
            f"{geometry.max_positions} frames and {geometry.max_positions * geometry.patch} a side (a video of "
            f"{geometry.max_frames} frames, {geometry.max_size} pixels a side)."
        )


def _check_sound(variant: Variant, samples: Any) -> None:
    _, *sounds = unbind(samples)
    if variant.sound is None:
        if sounds:
            raise SamplingError(
                f"The latent holds {shapes(samples)}; {variant.title} makes pictures only. Take the first one out with "
                "ComfyUI's Separate AV Latent, or make it with Empty Video Latent."
            )
        return
    if not sounds:
        if variant.sound.is_needed:
            raise SamplingError(
                f"The latent holds a picture only; {variant.title} makes picture and sound together. Make it with "
                "Empty Video Latent, or add the sound with ComfyUI's Concat AV Latent."
            )
        return
    defaults, shape = variant.defaults, tuple(sounds[0].shape[1:])
    expected = variant.sound.latent_shape(defaults.width, defaults.height, defaults.frames, defaults.fps)
    if len(sounds) != 1 or len(shape) != len(expected) or shape[0] != expected[0]:
        raise SamplingError(
            f"The latent holds {shapes(samples)}; {variant.title} makes a picture and a sound of {expected[0]} "
            f"channels ({len(expected) + 1} dimensions). Make it with Empty Video Latent."
        )
