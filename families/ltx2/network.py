"""The network of LTX-2: diffusers' transformer with the connectors of the text inside, and the three terms of its
arithmetic in which the published implementations differ.

Source: Lightricks/LTX-2 @d5b526ed (LTX-2 Community License; facts, no code); diffusers 0.42.1,
models/transformers/transformer_ltx2.py; ComfyUI 0.33.0, comfy/ldm/lightricks/av_model.py and comfy/model_base.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import FamilyError, Variant
from .guides import weigh

REGISTERS = 128  # the connectors fill up their text to a multiple of this many tokens
_SOUND_SECONDS = 0.04  # of one latent of sound: 160 samples of 16 kHz, four times
TEXT_TOKENS = 1024  # at least this many tokens leave the connectors


@dataclass(frozen=True)
class Arithmetic:
    """The terms in which implementations of LTX-2 differ.

    Attributes:
        v2a_after_a2v: the sound attends to the picture as it is after it has attended to the sound, not before.
        gate: what opens the attention between the streams: "sigma", the noise level of the run; "max", the highest
            timestep of all tokens of the other stream.
        cross_timestep: the other stream's noise level modulates the attention between the streams, in place of the
            stream's own timesteps.
        qk_eps: added to the mean square of queries and keys where they are normalised.
    """

    v2a_after_a2v: bool = False
    gate: str = "sigma"
    cross_timestep: bool = False
    qk_eps: float = 1e-6


# The code that the weights were trained with (ltx_core: RMSNorm with 1e-6, gates and prompts by the run's noise level);
# ComfyUI 0.33.0's; diffusers 0.42.1's pipelines', which differ from the makers' where a part is kept, and mark no first
# frame for 2.5. On tiny random models ComfyUI's sampled latents differ from the makers' by 2 to 6 % (picture) and 7 to
# 14 % (sound) of their spread, in the root of the mean square.
MAKERS = Arithmetic()
COMFYUI = Arithmetic(v2a_after_a2v=True, gate="max", qk_eps=1e-5)
DIFFUSERS = Arithmetic(cross_timestep=True)


def extend(variant: Variant, transformer: nn.Module) -> None:
    """Add the connectors to diffusers' transformer, and set the arithmetic.

    Raises:
        FamilyError: diffusers is too old to have this version of LTX-2.
    """
    try:
        from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

        for name, config in variant.facts["connectors"].items():
            setattr(transformer, name, LTX2ConnectorTransformer1d(**config))
    except (ImportError, TypeError) as error:
        raise FamilyError(
            f"This diffusers does not know {variant.title} ({error}). LTX-2 needs diffusers 0.37 or newer, 2.3 needs "
            "0.38 and 2.5 needs 0.40: update it."
        ) from error
    weigh(transformer)
    transformer.variant_of_text = lambda: variant  # pyright: ignore  # a copy of the module shares it
    arithmetic: Arithmetic = variant.facts["arithmetic"]
    for module in transformer.modules():
        if hasattr(module, "norm_q") and hasattr(module, "norm_k"):
            module.norm_q.eps = module.norm_k.eps = arithmetic.qk_eps  # pyright: ignore
    for name in ("av_cross_attn_video_a2v_gate", "av_cross_attn_audio_v2a_gate"):
        gate = getattr(transformer, name)
        gate.__class__ = _gate_class(type(gate))
    if arithmetic.v2a_after_a2v:
        for block in transformer.transformer_blocks:  # pyright: ignore
            _attend_after(block)


def _gate_class(plain: type) -> type:
    class GateBySigma(plain):
        """Opens the attention to another stream by that stream's noise level, whatever timesteps the tokens have."""

        timestep: Tensor | None = None  # [B] in 0..1000; None: as called

        def forward(self, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
            return super().forward(timestep if self.timestep is None else self.timestep, *args, **kwargs)

    return GateBySigma


def _attend_after(block: Any) -> None:
    """The sound's keys and values of the picture are made of the picture's state after its attention to the sound."""
    state: dict[str, Any] = {}

    def enter(_: nn.Module, args: Any, inputs: dict[str, Any]) -> None:
        state.clear()
        state.update(
            shift=inputs["temb_ca_scale_shift"], gate=inputs["temb_ca_gate"], rows=len(inputs["hidden_states"])
        )

    def attend(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        table, video = block.video_a2v_cross_attn_scale_shift_table, state["video"]
        if "a2v" in state:
            video = video + block.get_mod_params(table[4:], state["gate"], state["rows"])[0].squeeze(2) * state["a2v"]
        params = block.get_mod_params(table[:4], state["shift"], state["rows"])
        normed = functional.rms_norm(video, (video.shape[-1],), eps=block.audio_to_video_norm.eps)
        seen = normed * (1 + params[2].squeeze(2)) + params[3].squeeze(2)
        return args, {**inputs, "encoder_hidden_states": seen}

    block.register_forward_pre_hook(enter, with_kwargs=True)
    block.audio_to_video_norm.register_forward_pre_hook(lambda _, args: state.update(video=args[0]))
    block.audio_to_video_attn.register_forward_hook(lambda _, args, output: state.update(a2v=output))
    block.video_to_audio_attn.register_forward_pre_hook(attend, with_kwargs=True)


def prepare(variant: Variant, transformer: Any, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text as the blocks read it, [B, at least 1024, video width + sound width], from what the CLIP made.

    Raises:
        FamilyError: the transformer has no connectors, and the text has not been through any.
    """
    prepared, count = dict(conditions), conditions["text_tokens"]
    if not bool(count.any()):
        return prepared
    if not hasattr(transformer, "video_connector"):
        raise FamilyError(f"This MODEL of {variant.title} has no connectors, through which its text goes.")
    context = conditions["context"]
    places = torch.arange(context.shape[1], device=context.device)
    unused = (places >= count.to(context.device)).expand(len(context), -1)  # [B, tokens]
    mask = torch.zeros(unused.shape, dtype=context.dtype, device=context.device)
    mask = mask.masked_fill(unused, torch.finfo(context.dtype).min)[:, None, None]
    is_shared = variant.facts["shares_text"]
    halves = (context, context) if is_shared else context.split(variant.facts["context_widths"], -1)
    connectors = transformer.video_connector, transformer.audio_connector
    outputs = [connector(half, mask)[0] for connector, half in zip(connectors, halves, strict=True)]
    return {**prepared, "context": torch.cat(outputs, -1)}


def predict(variant: Variant, transformer: Any, x: Any, t: Tensor, conditions: Mapping[str, Tensor]) -> Any:
    """Flow (noise minus clean) of both streams at timestep t = sigma * 1000; every token has a timestep of its own.

    A LATENT of the picture alone is computed beside one token of silence that it cannot hear.
    """
    video, *others = x
    is_alone = not others
    sound = video.new_zeros(len(video), *variant.facts["sound_shape"]) if is_alone else others[0]
    arithmetic: Arithmetic = variant.facts["arithmetic"]
    rows, (height, width) = len(video), video.shape[3:]
    places = video_places(variant, video)
    times, sound_times = (
        t[:, None] * conditions[name].to(t) if name in conditions else t[:, None]
        for name in ("denoise_mask", "sound_mask")
    )
    tokens, kept = video.flatten(2).transpose(1, 2), None
    guides, strengths = 0, None
    if "keyframe_idxs" in conditions:
        placed = conditions["keyframe_idxs"].unflatten(1, (3, -1, 2))
        kept = ~(conditions["denoise_mask"][0] < 0)  # tokens that a guide does not fill
        guides = int(kept[-placed.shape[2] :].sum())
        places[:, :, len(kept) - placed.shape[2] :] = placed
        if "guide_strengths" in conditions:
            strengths = conditions["guide_strengths"][0].to(t)[kept[-placed.shape[2] :]]
        tokens, places, times = tokens[:, kept], places[:, :, kept], times[:, kept]
    transformer.weighing.set(strengths, tokens.shape[1])
    marker = None
    if variant.facts["marks_first"]:
        marker = (places[:, 0, :, 0] == 0).to(video.dtype).unsqueeze(-1)
        if guides:
            marker[:, -guides:] = 0
        if "generated_keyframes" in conditions:
            first, count = (int(n) * height * width for n in conditions["generated_keyframes"][0])
            slots = torch.zeros(video.shape[2] * height * width, dtype=torch.bool, device=video.device)
            slots[first : first + count] = True
            marker[:, slots if kept is None else slots[kept]] = 1
    places[:, 0] *= 1 / conditions["frame_rate"].to(places)[:, :1, None]
    sounds = sound.transpose(1, 2).flatten(2)
    sound_places = transformer.audio_rope.prepare_audio_coords(rows, sound.shape[2], sound.device)
    reference = 0
    if "ref_audio" in conditions and not is_alone:
        heard = conditions["ref_audio"].to(sounds).expand(rows, -1, -1)
        reference = heard.shape[1]
        sounds = torch.cat([heard, sounds], 1)
        sound_places = torch.cat(
            [_before(transformer, rows, reference, sound.device).to(sound_places), sound_places], 2
        )
        sound_times = sound_times.expand(rows, sound.shape[2])
        sound_times = torch.cat([sound_times.new_zeros(rows, reference), sound_times], 1)
    levels = (times.amax(1), sound_times.amax(1)) if arithmetic.gate == "max" else (t, t)
    _open_gates(transformer, arithmetic, times, sound_times, t)
    outputs = transformer(
        hidden_states=tokens,
        audio_hidden_states=sounds,
        **_text(variant, conditions["context"]),
        timestep=times,
        audio_timestep=sound_times,
        sigma=levels[0],
        audio_sigma=levels[1],
        video_coords=places,
        audio_coords=sound_places,
        isolate_modalities=is_alone,
        use_cross_timestep=arithmetic.cross_timestep,
        **({} if marker is None else {"video_keyframes_mask": marker}),
        return_dict=False,
    )
    flow = outputs[0]
    if kept is not None:
        whole = flow.new_zeros(rows, len(kept), flow.shape[2])
        whole[:, kept] = flow
        flow = whole
    flow = flow.transpose(1, 2).unflatten(2, (video.shape[2], height, width))
    return [flow] if is_alone else [flow, outputs[1][:, reference:].unflatten(2, (sound.shape[1], -1)).transpose(1, 2)]


def _before(transformer: Any, rows: int, count: int, device: torch.device) -> Tensor:
    """[B, 1, count, 2]: the seconds of a voice that is heard before the video begins, one latent's length before it."""
    places = transformer.audio_rope.prepare_audio_coords(rows, count, device)
    return places - (places[0, 0, -1, 1].item() + _SOUND_SECONDS)


def _text(variant: Variant, context: Tensor) -> dict[str, Tensor]:
    video, sound = context.split(variant.facts["context_widths"], -1)
    return {"encoder_hidden_states": video, "audio_encoder_hidden_states": sound}


def _open_gates(transformer: Any, arithmetic: Arithmetic, times: Tensor, sound_times: Tensor, t: Tensor) -> None:
    """Tell the gates of the attention between the streams by which noise level they open."""
    by_sound, by_video = t, t
    if arithmetic.gate == "max":
        by_sound, by_video = (of.max().expand(len(t)) for of in (sound_times, times))
    transformer.av_cross_attn_video_a2v_gate.timestep = by_sound
    transformer.av_cross_attn_audio_v2a_gate.timestep = by_video


def video_places(variant: Variant, video: Tensor) -> Tensor:
    """[B, 3, T * h * w, 2]: first and last frame, row and column of each token in the video, counted in its pixels.

    The first latent frame covers one frame, each later one eight.
    """
    geometry = variant.geometry
    sides = []
    for axis, count in enumerate(video.shape[2:]):
        scale = geometry.temporal if axis == 0 else geometry.spatial
        edges = torch.arange(count + 1, device=video.device, dtype=torch.float32) * scale
        if axis == 0:
            edges = (edges + 1 - scale).clamp(min=0)
        sides.append(torch.stack([edges[:-1], edges[1:]], -1))
    shape = tuple(video.shape[2:])
    grid = [
        side.view(*(-1 if n == axis else 1 for n in range(3)), 2).expand(*shape, 2) for axis, side in enumerate(sides)
    ]
    return torch.stack(grid).flatten(1, 3).repeat(len(video), 1, 1, 1)
