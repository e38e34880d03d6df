"""Windows over time in the host's runs: its own context windows, with the pack's settings and conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.context_windows
import torch
from comfy.patcher_extension import WrappersMP, add_callback_with_key
from torch import Tensor

from ...base import Variant
from ...sampling import SamplingError
from ...sampling.travel import AT, Place, check_travel, mixed, mixture, moment_of
from ...sampling.windows import LOOPED, STATIC, UNIFORM, Window, Windows
from .model import OpenT2VModel, variant

_SCHEDULES = {STATIC: "standard_static", UNIFORM: "standard_uniform", LOOPED: "looped_uniform"}
_KEY = "opent2v_windows"
# Keys of the wrappers that the host's own nodes add, so that these windows replace theirs.
_WRAPPERS = {
    WrappersMP.PREPARE_SAMPLING: "ContextWindows_prepare_sampling",
    WrappersMP.SAMPLER_SAMPLE: "ContextWindows_sampler_sample",
}


@dataclass(frozen=True)
class _Uncut:
    """What a prompt that travels brings to the host's own models, which would average it with the others."""

    def process_cond(self, *args: Any, **kwargs: Any) -> Any:
        """The host's question in each step for what the model reads; windows over time leave this entry out."""
        check_travel(True, 1)


def travelling(place: Place) -> dict[str, Any]:
    return {AT: place, "model_conds": {AT: _Uncut()}}


def apply_windows(model: Any, windows: Windows) -> Any:
    known = variant(model)
    if known is not None:
        resolved, temporal = windows.for_model(known), known.geometry.temporal
    else:
        temporal = getattr(model.model.latent_format, "temporal_downscale_ratio", None)  # newer hosts have it
        if temporal is None:
            raise SamplingError(
                "No family here recognises this MODEL, and this ComfyUI does not say how many frames one of its "
                "latent frames holds. Update ComfyUI, or use its own Context Windows (Manual)."
            )
        resolved = windows.resolved(temporal, 0)
    is_ours = isinstance(model.model, OpenT2VModel)
    model = model.clone()
    model.model_options["context_handler"] = _Handler(resolved, known if is_ours else None, temporal)
    for kind, key in _WRAPPERS.items():
        model.remove_wrappers_with_key(kind, key)
    comfy.context_windows.create_prepare_sampling_wrapper(model)
    if resolved.freenoise:
        comfy.context_windows.create_sampler_sample_wrapper(model)
    return model


class _Handler(comfy.context_windows.IndexListContextHandler):
    """
    Args:
        windows: resolved.
        known: the variant of a MODEL of ours, whose conditions its family cuts; None: the host cuts them.
        temporal: video frames per latent frame.
    """

    def __init__(self, windows: Windows, known: Variant | None, temporal: int):
        core = comfy.context_windows
        options: dict[str, Any] = {}
        if "causal_window_fix" in inspect.signature(core.IndexListContextHandler).parameters:  # of newer hosts
            options["causal_window_fix"] = windows.lead_in
        elif windows.lead_in:
            raise SamplingError("This ComfyUI has no lead_in for windows over time. Switch it off, or update ComfyUI.")
        super().__init__(
            context_schedule=core.get_matching_context_schedule(_SCHEDULES[windows.schedule]),
            fuse_method=core.get_matching_fuse_method(windows.blending),
            context_length=windows.length,
            context_overlap=windows.overlap,
            closed_loop=windows.schedule == LOOPED,
            dim=2,
            freenoise=windows.freenoise,
            cond_retain_index_list="0" if windows.keep_picture else "",
            **options,
        )
        self.windows, self.known, self.temporal = windows, known, temporal
        if known is not None:
            add_callback_with_key(core.IndexListCallbacks.RESIZE_COND_ITEM, _KEY, self._cut, self.callbacks)

    def should_use_context(self, model: Any, conds: Any, x_in: Tensor, timestep: Tensor, model_options: Any) -> bool:
        if x_in.ndim == 4:
            raise SamplingError("Video Windows is for videos; this latent is of pictures. Take Video Windows out.")
        if x_in.ndim == 3:
            self._check_streams(model)
        return super().should_use_context(model, conds, x_in, timestep, model_options)

    def execute(
        self,
        calc_cond_batch: Callable[..., Any],
        model: Any,
        conds: Any,
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Any:
        """As the host does, for batches too: it would take timesteps of the batch by the frames of a window."""

        def batch(model: Any, conds: Any, x: Tensor, _: Tensor, options: dict[str, Any]) -> Any:
            return calc_cond_batch(model, conds, x, timestep, options)

        return super().execute(batch, model, conds, x_in, timestep[:1], model_options)

    def _check_streams(self, model: Any) -> None:
        """Refuse a latent of several streams that this host cannot cut."""
        if not hasattr(comfy.context_windows, "WindowingState"):
            raise SamplingError(
                "This ComfyUI cuts no latents of picture and sound into windows over time. Update it to 0.33 or newer, "
                "or take Video Windows out."
            )
        self.windows.check_streams(2)
        if not hasattr(model, "map_context_window_to_modalities"):
            raise SamplingError(
                f"{type(model).__name__} makes picture and sound together, and ComfyUI does not say how its sound is "
                "cut to windows over time. Take Video Windows out; LTX-2 can."
            )

    def get_resized_cond(self, cond_in: Any, x_in: Tensor, window: Any, device: Any = None) -> Any:
        """As the host does; of prompts that travel, those of the window's moment as one."""
        if cond_in and all(AT in cond for cond in cond_in):
            cond_in = [self._at(cond_in, x_in.shape[self.dim], window.index_list)]
        return super().get_resized_cond(cond_in, x_in, window, device)

    def _at(self, conds: list[dict[str, Any]], count: int, span: list[int]) -> dict[str, Any]:
        frames = (count - 1) * self.temporal + 1
        stops = [cond[AT].frame(frames) for cond in conds]
        before, behind, share = mixture(stops, moment_of(span, count, self.temporal))
        values = [
            {name: getattr(value, "cond", value) for name, value in conds[n]["model_conds"].items()}
            for n in (before, behind)
        ]
        between, nearer = mixed(values[0], values[1], share), conds[behind if share > 0.5 else before]
        changed = {
            name: value._copy_with(between[name]) if isinstance(between[name], Tensor) else value
            for name, value in nearer["model_conds"].items()
            if name != AT  # so that both prompts may share a call of the model
        }
        return {**nearer, "model_conds": changed}

    def set_step(self, timestep: Tensor, model_options: dict[str, Any]) -> None:
        """The step at the nearest noise level: some schedulers round it, and then the host's search has no match."""
        sigmas = model_options["transformer_options"]["sample_sigmas"]
        self._step = int((sigmas[:-1] - timestep[0].to(sigmas)).abs().argmin())

    def _cut(self, name: str, condition: Any, window: Any, x: Tensor, device: Any, conditions: dict[str, Any]) -> Any:
        """One of the conditions of a MODEL of ours, cut to a window; the host would guess by the size of its axes."""
        value = getattr(condition, "cond", None)
        if not isinstance(value, Tensor):
            return condition
        assert self.known is not None
        shapes = conditions.get("latent_shapes")
        shape = tuple(x.shape) if shapes is None else list(shapes.cond)
        others = getattr(window, "modality_windows", None) or {}
        frames = (tuple(window.index_list), *(tuple(others[n].index_list) for n in sorted(others)))
        lead = getattr(window, "causal_anchor_index", None)
        shown = Window(frames, (torch.empty(0),) * len(frames), lead, self.windows.keep_picture)
        key = "context" if name == "c_crossattn" else name
        return condition._copy_with(shown.conditions(self.known, {key: value}, shape)[key])
