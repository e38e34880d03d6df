"""MODEL: the host's ModelPatcher around a BaseModel whose diffusion_model is the diffusers transformer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.patcher_extension
import comfy.supported_models_base
import torch
from torch import Tensor

from ...base import Masking, Variant, VideoModel
from ...base.packed import PackedTensor
from ...sampling import Discrete, SamplingError, own_shift, prediction
from ...sampling.travel import AT, check_travel
from ...sampling.windows import beside
from ..comfyui.clip import LateCLIP
from .attention import CallOptions, attend_through_host
from .finish_loading import finish_each_load
from .known import network_of
from .ops import move_orphans_on_load, switch_to_casting
from .patcher import make_reloadable, patcher
from .saving import refuse_saving
from .shift import TwoShifts, has_two_shifts, in_force
from .streams import by_stream, packing_of
from .unread import changed_as_asked, refuse_other_space, refuse_unread

COMPUTE_DTYPES = [torch.bfloat16, torch.float16, torch.float32]
Model = comfy.model_patcher.ModelPatcher


def device_dtypes(
    asked: torch.dtype | None, stored: torch.dtype | None, numbers: int = 0
) -> dict[str, torch.dtype | None]:
    automatic = mm.unet_dtype(
        device=mm.get_torch_device(), model_params=numbers, supported_dtypes=COMPUTE_DTYPES, weight_dtype=stored
    )
    text_device = mm.text_encoder_device()
    return {
        "model_dtype": asked or automatic,
        "text_dtype": torch.bfloat16 if mm.should_use_bf16(text_device) else torch.float32,
        "vae_dtype": mm.vae_dtype(mm.vae_device(), [torch.bfloat16, torch.float32]),
    }


class OpenT2VModel(comfy.model_base.BaseModel):
    """The host's base model, with the family's own way of calling its transformer."""

    opent2v: VideoModel
    call_options: CallOptions
    storage_dtype = torch.float32

    def get_dtype(self) -> torch.dtype:
        # The host looks at the first parameter, which may be one that is kept in fp32.
        return self.storage_dtype

    @property
    def variant(self) -> Variant:
        """The part's, at the shift that a node may have set."""
        return in_force(self.opent2v.variant, self.model_sampling)

    def memory_required(self, input_shape: Any, cond_shapes: Any = None, **_: Any) -> float:
        # Without an attention that saves memory, the host adds the size of the attention matrix; ours then processes as
        # many rows at a time as fit.
        dtype, variant = self.manual_cast_dtype or self.get_dtype(), self.opent2v.variant
        shape = tuple(input_shape)
        if len(shape) == 3:  # packed streams: count them as a video of the same number of values
            channels = variant.geometry.channels
            shape = shape[0], channels, 1, 1, shape[2] // channels
        return variant.sample_memory(shape, mm.dtype_size(dtype))

    def process_latent_in(self, latent: Any) -> Any:
        variant = self.variant
        if not variant.is_joint:
            return super().process_latent_in(latent)
        return by_stream(variant, getattr(self, "latent_shapes", None), latent, lambda stream, x: stream.normalise(x))

    def process_latent_out(self, latent: Any) -> Any:
        variant = self.variant
        if not variant.is_joint:
            return super().process_latent_out(latent)
        return by_stream(variant, getattr(self, "latent_shapes", None), latent, lambda stream, x: stream.denormalise(x))

    def scale_latent_inpaint(self, *args: Any, latent_image: Tensor, **kwargs: Any) -> Tensor:
        variant = self.variant
        masking = variant.family.network.masking
        if masking is not None:
            return self._kept(masking, variant, latent_image, **kwargs)
        if variant.keeps_clean:
            return latent_image
        return super().scale_latent_inpaint(*args, latent_image=latent_image, **kwargs)

    def _kept(
        self,
        masking: Masking,
        variant: Variant,
        latent_image: Tensor,
        sigma: Tensor,
        noise: Tensor,
        x: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """See `Masking`. The host blends with the mask itself, so what a larger mask lets through is added here."""
        packing = packing_of(self.latent_shapes)
        kept = packing.pack(masking.kept(variant, packing.unpack(latent_image), packing.unpack(noise), sigma))
        if x is None or denoise_mask is None:
            return kept
        larger = packing.pack(masking.grown(packing.unpack(denoise_mask)))
        share = ((larger - denoise_mask) / (1 - denoise_mask).clamp(min=1e-6)).clamp(0, 1)
        return kept + share.where(denoise_mask < 1, 0.0).to(kept) * (x - kept)

    def state_dict_for_saving(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        refuse_saving(self.diffusion_model.parameters(), "This MODEL's")
        return super().state_dict_for_saving(*args, **kwargs)

    def map_context_window_to_modalities(
        self, primary_indices: list[int], latent_shapes: list[tuple[int, ...]], dim: int
    ) -> list[list[int]]:
        """The host's question for the frames of each stream that go with these frames of the video."""
        video, *others = (shape[dim] for shape in latent_shapes)
        return [primary_indices, *(beside(primary_indices, video, count) for count in others)]

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        conds = super().extra_conds(**kwargs)
        entry = {"cross_attn": None, "denoise_mask": None, **kwargs}
        shape: Any = tuple(kwargs["noise"].shape)
        if self.opent2v.variant.is_joint:
            packing = packing_of(kwargs.get("latent_shapes"))
            shape, mask = list(packing.shapes), entry["denoise_mask"]
            entry["denoise_mask"] = None if mask is None else packing.unpack(mask)
            conds["latent_shapes"] = comfy.conds.CONDConstant(packing.shapes)
        if AT in kwargs:
            conds[AT] = comfy.conds.CONDConstant(None)
        inputs = self.opent2v.conditions(entry, shape) if entry["cross_attn"] is not None else {}
        if inputs and self.opent2v.variant.family.network.prepare is not None:
            inputs = self._prepared(inputs, kwargs["device"])
        for name, value in inputs.items():
            # CONDRegular, because CONDCrossAttn repeats prompts to a common length, which changes the input of a model
            # without a mask.
            conds["c_crossattn" if name == "context" else name] = comfy.conds.CONDRegular(value)
        return conds

    def _cast(self, conditions: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
        """The tensors among the conditions on the device, those of three and more dimensions in the computing dtype."""
        dtype = self.manual_cast_dtype or self.get_dtype()
        return {
            name: mm.cast_to_device(
                value, device, dtype if value.ndim > 2 and value.is_floating_point() else value.dtype
            )
            for name, value in conditions.items()
            if isinstance(value, Tensor)
        }

    def _prepared(self, conditions: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """See `Network.prepare`. The transformer is read at each call, because compile nodes replace it."""
        variant, cast = self.opent2v.variant, self._cast(conditions, device)
        prepare = variant.family.network.prepare
        return cast if prepare is None else prepare(variant, self.diffusion_model, cast)

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        options = transformer_options or {}
        refuse_unread(options, bool(self.opent2v.variant.family.network.crossings))
        if AT in kwargs:  # the pack's windows over time leave it out; the host's own would average prompts
            check_travel(True, 1)
        refuse_other_space(self.model_sampling, self.opent2v.variant.prediction)
        packing = packing_of(kwargs.get("latent_shapes")) if self.opent2v.variant.is_joint else None
        rows, columns = (x.shape if packing is None else packing.shapes[0])[-2:]
        if uneven := self.opent2v.variant.geometry.uneven(columns, rows):
            raise SamplingError(uneven)
        dtype = self.manual_cast_dtype or self.get_dtype()
        inputs = self.model_sampling.calculate_input(t, x).to(dtype)
        if inputs.data_ptr() == x.data_ptr():
            inputs = inputs.clone()  # the host's EasyCache adds to the model's input in place
        # Compute a flow model's timestep from sigma: shift nodes change the host's multiplier.
        is_flow = self.opent2v.variant.prediction == "flow"
        timestep = t.float() * 1000 if is_flow else self.model_sampling.timestep(t).float()
        conditions = self._cast({"context": c_crossattn, **kwargs}, inputs.device)

        def forward(x: Tensor, t: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            # Read at each call, because compile nodes replace diffusion_model.
            variant, predict = self.variant, self.opent2v.variant.family.network.predict
            assert predict is not None, "the pack builds no network that only the host calls"
            self.call_options.transformer_options = kwargs.get("transformer_options") or {}
            try:
                streams = x if packing is None else packing.unpack(x)
                with changed_as_asked(variant, self.diffusion_model, self.call_options.transformer_options):
                    output = predict(variant, self.diffusion_model, streams, t, {**conditions, "context": context})
                return output if packing is None else packing.pack(output)
            finally:
                self.call_options.transformer_options = {}

        output = comfy.patcher_extension.WrapperExecutor.new_class_executor(
            forward,
            self.diffusion_model,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options),
        ).execute(inputs, timestep, conditions.get("context"), transformer_options=options)
        return self.model_sampling.calculate_denoised(t, output.float(), x)


class ScaledSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    """The host's sampling space for eps models whose clean latent is also scaled, see `Discrete.signal`."""

    def __init__(self, config: Any, predicts: Discrete):
        super().__init__(config)
        self.predicts = predicts

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return self.predicts.model_input(noise, sigma)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        if max_denoise:  # the model's input is the noise itself, unscaled
            return self.predicts.host_input(noise, sigma) + latent_image
        return super().noise_scaling(sigma, noise, latent_image, max_denoise)


# Prediction of the transformer -> the host's name for it.
_MODEL_TYPES = {"flow": "FLOW", "v": "V_PREDICTION", "eps": "EPS"}


def model(part: VideoModel, disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """`disable_dynamic`: make no dynamic MODEL of the host; a part that cannot be loaded again never becomes one."""
    variant = part.variant
    device = mm.get_torch_device()
    # The dtype of the largest matrix is the storage dtype; some small layers are always kept in fp32.
    weight = max(part.transformer.parameters(), key=lambda p: p.numel())
    manual_cast = mm.unet_manual_cast(weight.dtype, device, COMPUTE_DTYPES)
    transformer = switch_to_casting(part.transformer, manual_cast or weight.dtype)

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config: dict[str, Any] = {}
        sampling_settings = {
            "shift": own_shift(variant.scheduler),
            "multiplier": 1000.0,
            **({"audio_shift": variant.sound.shift} if variant.sound is not None and variant.sound.shift else {}),
        }
        memory_usage_factor = variant.memory_factor
        supported_inference_dtypes = COMPUTE_DTYPES
        custom_operations = comfy.ops.manual_cast
        # Prefixes in the files of CheckpointSave, as in all-in-one files of video models.
        text_encoder_key_prefix = ("text_encoders.",)
        vae_key_prefix = ("vae.",)

        def process_clip_state_dict_for_saving(self, state_dict: dict[str, Any]) -> dict[str, Any]:
            plain = {name.removeprefix("transformer."): tensor for name, tensor in state_dict.items()}
            return super().process_clip_state_dict_for_saving(plain)

        @staticmethod
        def latent_format() -> Any:
            return _latent_format(variant)

    config = Config({"image_model": f"opent2v_{variant.family.id}"})
    config.set_inference_dtype(weight.dtype, manual_cast)
    kind = getattr(comfy.model_base.ModelType, _MODEL_TYPES[variant.prediction])
    base = OpenT2VModel(config, kind, device=mm.unet_offload_device(), unet_model=lambda **_: transformer)
    if has_two_shifts(variant):
        base.model_sampling = TwoShifts(config)
    predicts = prediction(variant.prediction, variant.scheduler)
    if isinstance(predicts, Discrete):
        if predicts.signal is not None:
            base.model_sampling = ScaledSampling(config, predicts)
        base.model_sampling.set_sigmas(predicts.sigmas.float())
    base.storage_dtype = weight.dtype
    base.call_options = attend_through_host(transformer)
    # Set past nn.Module, since the transformer is already a submodule as diffusion_model.
    object.__setattr__(base, "opent2v", part)
    # Dynamic loading copies weights into slots of the dequantised size, but for the host's own quantised tensors.
    is_packed = any(isinstance(weight, PackedTensor) for weight in transformer.parameters())
    if is_packed:
        # The compiler cannot look into a packed weight, and stops in the middle of a changed attention processor.
        transformer.forward = torch.compiler.disable(transformer.forward)
    is_dynamic = part.again is not None and not disable_dynamic and not is_packed
    new_patcher = patcher(base, device, mm.unet_offload_device(), is_dynamic)
    make_reloadable(new_patcher, model, part.again)
    move_orphans_on_load(new_patcher)
    finish_each_load(new_patcher)
    return new_patcher


def _part(thing: Any) -> Any:
    """The part in a MODEL, CLIP or VAE of ours, or None; nothing is loaded."""
    if isinstance(thing, LateCLIP):
        return thing.late
    for holder in ("model", "cond_stage_model", "first_stage_model"):
        part = getattr(getattr(thing, holder, None), "opent2v", None)
        if part is not None:
            return part
    return None


def path(thing: Any) -> Path | None:
    part = _part(thing)
    return None if part is None else part.path


def variant(thing: Any) -> Variant | None:
    part, base = _part(thing), getattr(thing, "model", None)
    if not isinstance(base, comfy.model_base.BaseModel):
        return None if part is None else part.variant
    if part is None:
        outcome = network_of(base)
        known = None if outcome is None else outcome.variant
    else:
        known = part.variant
    return None if known is None else in_force(known, thing.get_model_object("model_sampling"))


def _latent_format(variant: Variant) -> Any:
    """The host's latent format of the same name, with this checkpoint's numbers.

    Where the host has none, its plain format, since another family's factors would give wrong previews.
    """
    name = variant.latent_format
    base = getattr(comfy.latent_formats, name or "LatentFormat", comfy.latent_formats.LatentFormat)

    def __init__(self: Any) -> None:
        base.__init__(self)
        self.latent_channels = variant.geometry.channels
        self.latent_dimensions = 3
        self.spacial_downscale_ratio = variant.geometry.spatial
        self.temporal_downscale_ratio = variant.geometry.temporal
        if variant.rgb is not None or base.latent_dimensions == 2:
            self.taesd_decoder_name = None  # the host's tiny decoder is for another VAE's latents, or for pictures only
        if variant.rgb is not None:
            self.latent_rgb_factors, self.latent_rgb_factors_bias = (
                list(map(list, variant.rgb[0])),
                list(variant.rgb[1]),
            )

    def process_in(self: Any, latent: Tensor) -> Tensor:
        return variant.normalise(latent)

    def process_out(self: Any, latent: Tensor) -> Tensor:
        return variant.denormalise(latent)

    # The class keeps the host's name, because other packs choose their preview by it.
    members = {"__init__": __init__, "process_in": process_in, "process_out": process_out}
    return type(name or base.__name__, (base,), members)()
