"""Models whose sound has noise levels of its own: the shift of both streams, set as ComfyUI's own node sets it.

Source: ComfyUI 0.33.0, comfy/model_sampling.py (ModelSamplingAV) and comfy_extras/nodes_minimax_h3.py
(MiniMaxH3SigmaShift).
"""

from __future__ import annotations

from typing import Any

import comfy.model_sampling

from ...base import Variant


class _Flow(getattr(comfy.model_sampling, "ModelSamplingAV", comfy.model_sampling.ModelSamplingDiscreteFlow)):
    """ComfyUI's where it has one (since 0.30)."""


class TwoShifts(_Flow, comfy.model_sampling.CONST):
    """The sampling space of a flow whose sound has a shift of its own.

    Attributes:
        audio_shift: the sound's.
    """

    audio_shift: float | None

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.audio_shift = None if config is None else config.sampling_settings.get("audio_shift")

    @property
    def audio_scale(self) -> float:
        """See `SoundStream.ratio`; ComfyUI's own model reads it."""
        return self.shift / self.audio_shift if self.audio_shift else 1.0


def has_two_shifts(variant: Variant) -> bool:
    return variant.sound is not None and variant.sound.shift > 0


def in_force(variant: Variant, sampling: Any) -> Variant:
    """The variant at the shift of a MODEL's "model_sampling", which nodes may have set."""
    if not has_two_shifts(variant):
        return variant
    return variant.at_shift(getattr(sampling, "shift", 0.0), getattr(sampling, "audio_shift", None) or 0.0)


def at_shift(model: Any, variant: Variant | None, shift: float) -> Any:
    """A clone of a MODEL, whose sound has noise levels of its own, with this shift of the video's; 0: the MODEL."""
    if not shift or variant is None or not has_two_shifts(variant):
        return model
    assert variant.sound is not None
    sampling = TwoShifts(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1000)
    sampling.audio_shift = variant.sound.shift
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    options = clone.model_options["transformer_options"] = dict(clone.model_options.get("transformer_options", {}))
    options.update(minimax_h3_sigma_shift_video=shift, minimax_h3_sigma_shift_audio=variant.sound.shift)
    return clone
