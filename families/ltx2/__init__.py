"""LTX-2, 2.3 and 2.5: video with its sound, from words and pictures.

The family follows the makers' own code, which the weights were trained with. The terms in which ComfyUI and diffusers
depart from it are named switches (`network.Arithmetic`), so that tests prove equality with both. ComfyUI's sound
answers the picture after that has heard the sound, its gates follow the highest timestep of a stream's tokens in place
of the run's noise level, and it adds 1e-5 in place of 1e-6 where queries and keys are normalised: on tiny random models
2 to 6 % of the picture's and 7 to 14 % of the sound's spread after a run, the last term 5e-6 in a call. diffusers'
pipelines modulate the attention between the streams by the other stream's noise level alone, which differs where a
picture is kept, and mark no first frame for 2.5. A MODEL of ComfyUI's own loaders stays ComfyUI's.

Source: Lightricks/LTX-2 @d5b526ed (LTX-2 Community License; facts, no code); diffusers 0.42.1, pipelines/ltx2; ComfyUI
0.33.0, comfy/ldm/lightricks and comfy_extras/nodes_lt.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...base import (
    Entry,
    Family,
    FamilyError,
    Files,
    Images,
    Network,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Sound,
    Text,
    Variant,
    Video,
)
from ...base.frames import appended_pictures
from ...base.stg import OwnStg
from ..ltx_video import statistics
from ..ltx_video.upscaler import recognise as recognise_upscaler
from ..text import gemma3, gemma4, ltx2_projection
from . import files, folders, vae
from .few_steps import FEW_STEPS
from .guides import strengths_of
from .lora import LORA
from .nag import JOINT
from .network import extend, predict, prepare
from .pictures import finish, image_to_video
from .text import embed, text_condition
from .versions import of_vae, sigmas


def condition(variant: Variant, entry: Entry, shape: Any) -> dict[str, Tensor]:
    """The text as the CLIP made it, padded for the connectors, and ComfyUI's own entries.

    These are "frame_rate", "keyframe_idxs", "guide_attention_entries", "ref_audio", "generated_keyframes" and
    "denoise_mask". Positions and masks stay
    two-dimensional: the hosts turn what has more dimensions into the computing dtype, and bf16 rounds pixel 1000 by up
    to 4.

    Raises:
        FamilyError: a mask that only ComfyUI's own MODEL reads, or text of another version.
    """
    strengths = strengths_of(entry)
    rate = entry.get("frame_rate") or variant.defaults.fps
    conditions = {**text_condition(variant, entry), "frame_rate": torch.tensor([[float(rate)]])}
    masks = entry.get("denoise_mask")
    if masks is not None:
        masks = [masks] if isinstance(masks, Tensor) else list(masks)
        conditions["denoise_mask"] = masks[0][:, :1].flatten(1)
        if len(masks) > 1:
            conditions["sound_mask"] = masks[1][:, :1, :, :1].flatten(1)
    guides = entry.get("keyframe_idxs")
    if guides is not None and guides.shape[2]:
        conditions["keyframe_idxs"] = guides.float().flatten(1)
        if strengths is not None:
            conditions["guide_strengths"] = strengths
    # The names are ComfyUI's own: its nodes take these conditions out again for a pass without them.
    if entry.get("ref_audio") is not None:
        conditions["ref_audio"] = entry["ref_audio"]["tokens"]
    if entry.get("generated_keyframes") is not None:
        conditions["generated_keyframes"] = _slots(entry["generated_keyframes"], shape)
    return conditions


def cut(variant: Variant, name: str, condition: Tensor, frames: Sequence[Sequence[int]], shape: Any) -> Tensor:
    """The masks [B, tokens], cut to the frames of their stream.

    Raises:
        FamilyError: pictures behind the latent's frames, whose places in the video no window knows.
    """
    if name in ("keyframe_idxs", "generated_keyframes"):
        raise appended_pictures(variant)
    stream = {"denoise_mask": 0, "sound_mask": 1}.get(name)
    if stream is None:
        return condition
    count = (shape[stream] if isinstance(shape, list) else shape)[2]
    by_frame = condition.unflatten(1, (count, -1))
    return by_frame[:, list(frames[stream])].flatten(1)


def _slots(generated: Mapping[str, int], shape: Any) -> Tensor:
    """[[first latent frame, number]] of the pictures that are generated with the video.

    Raises:
        FamilyError: they were made for a latent of another size.
    """
    height, width = shape[0][3:]
    if generated["tokens_per_frame"] != height * width:
        raise FamilyError(
            f"The generated keyframes were made for {generated['tokens_per_frame']} tokens in a frame; this latent has "
            f"{height * width}. Separate them before the latent is made larger."
        )
    return torch.tensor([[generated["first_latent_frame"], generated["num_keyframes"]]])


def find(shapes: Shapes, name: str) -> Recognised | str:
    """The transformer, the video's VAE or the sound's."""
    transformer = files.recognise(FAMILY, shapes, name)
    if isinstance(transformer, Recognised):
        return transformer
    variant = of_vae(FAMILY)
    return vae.video_vae(variant, shapes) or vae.sound_vae(variant, shapes) or transformer


def beside(shapes: Shapes, name: str) -> Recognised | None:
    """The VAE of the sound in an all-in-one file."""
    return vae.sound_vae(of_vae(FAMILY), shapes)


def stg(variant: Variant) -> OwnStg:
    """The blocks that the makers perturb, in both streams."""
    return OwnStg((29,) if variant.facts["version"] == "2.0" else (28,), attentions=("attn1", "audio_attn1"))


FAMILY = Family(
    id="ltx2",
    title="LTX-2",
    recognition=Recognition(find, files.tensors, stated=files.stated, complete=files.complete, beside=beside),
    network=Network(
        predict,
        condition,
        blocks="transformer_blocks",
        extend=extend,
        prepare=prepare,
        reads_rate=True,
        crossings=("audio_to_video_attn", "video_to_audio_attn"),
        joint=JOINT,
        cut=cut,
    ),
    files=Files(
        folders.PIPELINES, folders.COMPONENTS, lambda configs: folders.read(FAMILY, configs), parts=folders.PARTS
    ),
    sampling=Sampling(sigmas, stg=stg, rescales_clean=True, few_steps=FEW_STEPS),
    text=Text(
        {"text_encoder": gemma3.KIND, "text_encoder_gemma4": gemma4.KIND, "projection": ltx2_projection.KIND}, embed
    ),
    video=Video(vae.decode, vae.encode, vae.decode_frames, statistics=statistics),
    images=Images(image_to_video, finish=finish, at_any_frame=True),
    upscaler=recognise_upscaler,
    lora=LORA,
    sound=Sound(vae.decode_sound, vae.sound_rate, vae.encode_sound, vae.input_rate),
)
