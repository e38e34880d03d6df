"""LTX-2's text projection: one or two linear layers on the states of all of a Gemma's layers.

It lies in LTX-2's all-in-one files, beside the connectors or alone in split ones, and in the file of 2.5's Gemma 4. The
connectors of diffusers' class are no part of it: they are the transformer's here, as in ComfyUI.

Source: diffusers 0.42.1, pipelines/ltx2/connectors.py; ComfyUI 0.33.0, comfy/text_encoders/lt.py.
"""

from __future__ import annotations

from typing import Any

from ...base import Shapes
from ...base.keys import rename
from ...base.text import TextEncoderKind, TextLayout

_TITLE = "LTX-2's text projection"
_OTHERS = (
    "model", "vae", "audio_vae", "vocoder", "video_embeddings_connector", "audio_embeddings_connector", "text_encoders",
    "first_stage_model", "language_model", "lm_head", "tokenizer_json", "spiece_model", "blk", "token_embd",
    "output_norm", "output", "rope_freqs", "vision_tower", "vision_model", "vision_embedder", "audio_embedder",
    "multi_modal_projector", "audio_projector", "embed_vision", "embed_audio",
)  # fmt: skip
_STEM = "text_embedding_projection"


# Of diffusers' class, for a module without connectors.
NO_CONNECTORS = {
    f"{stream}_connector_{name}": value
    for stream in ("video", "audio")
    for name, value in (("num_layers", 0), ("num_learnable_registers", None))
}


def recognise(shapes: Shapes) -> TextLayout | None:
    rules = [rename(f"^{name}") for name in _OTHERS]
    video, audio = (f"{_STEM}.{stream}_aggregate_embed" for stream in ("video", "audio"))
    if f"{video}.weight" in shapes and f"{audio}.weight" in shapes:
        (width, into), (sound_width, _) = shapes[f"{video}.weight"], shapes[f"{audio}.weight"]
        config: dict[str, Any] = {
            **NO_CONNECTORS, "caption_channels": into, "text_proj_in_factor": 1, "per_modality_projections": True,
            "video_hidden_dim": width, "audio_hidden_dim": sound_width, "proj_bias": f"{video}.bias" in shapes,
        }  # fmt: skip
        rules += [rename(f"^{video}", "video_text_proj_in"), rename(f"^{audio}", "audio_text_proj_in")]
        return TextLayout(_TITLE, config, width + sound_width, tuple(rules))
    for name in (f"{_STEM}.aggregate_embed", _STEM):
        if f"{name}.weight" in shapes:
            width, into = shapes[f"{name}.weight"]
            config = {
                **NO_CONNECTORS, "caption_channels": width, "text_proj_in_factor": into // width,
                "proj_bias": f"{name}.bias" in shapes,
            }  # fmt: skip
            return TextLayout(_TITLE, config, width, (*rules, rename(f"^{name}", "text_proj_in")))
    return None


KIND = TextEncoderKind(
    class_name="pipelines.ltx2.LTX2TextConnectors",
    tokenizers=frozenset(),
    published=(_TITLE,),
    recognise=recognise,
    reads_prompts=False,
)
