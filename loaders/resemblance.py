"""A guess at the kind of a file that no family recognises, so that the error can say where it belongs."""

from __future__ import annotations

from ..base import Shapes

# (marker inside a tensor's name, kind of file and the folder for it); the first marker that occurs counts.
_OWN = "which this version does not know; use ComfyUI's own Load Diffusion Model"
_LOOKS = (
    (("lora_down", "lora_up", "lora_A", "lora_B", ".hada_w", ".lokr_w"), "a LoRA; it belongs in models/loras"),
    (("audio_adaln_single", "audio_patchify_proj"), f"LTX-2, {_OWN}"),
    (("visual_transformer_blocks.",), f"Kandinsky 5, {_OWN}"),
    (
        ("SelfAttention.relative_attention_bias", "pos_embedding.embedding"),
        "a T5 text encoder; choose it in Load Video Text Encoder",
    ),
    (("text_model.encoder.layers",), "a CLIP text encoder; choose it in Load Video Text Encoder"),
    (("vision_model.encoder.layers",), "a CLIP vision encoder; it belongs in models/clip_vision"),
    (
        ("layers.0.self_attn.q_proj", "blk.0.attn_q."),
        "a language model, used as a text encoder; choose it in Load Video Text Encoder",
    ),
    (("input_blocks.", "down_blocks.0.attentions"), "an image model of the Stable Diffusion family"),
    (("double_blocks.0.img_attn",), "an image model of the Flux family; use ComfyUI's own Load Diffusion Model"),
    (
        ("decoder.conv_in", "decoder.up_blocks", "decoder.upsamples", "decoder.conv1"),
        "a VAE; choose it in Load Video VAE",
    ),
    (("input_hint_block", "control_"), "a ControlNet; it belongs in models/controlnet"),
)


def resembles(shapes: Shapes) -> str:
    """ "a LoRA; it belongs in models/loras" or the like; "" where nothing is known."""
    for markers, meaning in _LOOKS:
        if any(marker in name for marker in markers for name in shapes):
            return meaning
    return ""
