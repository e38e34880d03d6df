"""A guess at the kind of a file that no family recognises, so that the error can say where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..base import Shapes

# Beginning of what is added to a model and is none alone.
PART = "a part that is added to a Wan model"
_HOSTS = "ComfyUI's own Load Diffusion Model"
_UNKNOWN = f"which this version does not know; use {_HOSTS}"
LOAD_TEXT_ENCODER, LOAD_VAE = "Load Video Text Encoder", "Load Video VAE"
UPSCALE_LATENT = "Upscale Video Latent"


@dataclass(frozen=True)
class Look:
    """One kind of file.

    Attributes:
        markers: texts of which one is inside a tensor's name.
        meaning: the kind of file, in the user's words, and what to do.
        node: the pack's node for such files, "" where there is none. That node itself does not advise to use it.
        fits: what the shapes must be besides.
    """

    markers: tuple[str, ...]
    meaning: str
    node: str = ""
    fits: Callable[[Shapes], bool] = lambda _: True


def _is_picture_vae(shapes: Shapes) -> bool:
    return len(shapes.get("decoder.conv_in.weight", ())) == 4


# The first that fits counts.
_LOOKS = (
    Look(("lora_down", "lora_up", "lora_A", "lora_B", ".hada_w", ".lokr_w"), "a LoRA; it belongs in models/loras"),
    Look(
        ("audio_adaln_single", "audio_patchify_proj"),
        "LTX-2, which is here in part or under names that this version does not read; get the file again, or use "
        f"{_HOSTS}",
    ),
    Look(
        ("post_upsample_res_blocks.",),
        "a latent upscaler; it belongs in models/latent_upscale_models",
        UPSCALE_LATENT,
    ),
    Look(("visual_transformer_blocks.",), f"Kandinsky 5, {_UNKNOWN}"),
    Look(
        ("multitalk_audio_proj", "audio_cross_attn"),
        f"{PART} for audio (MultiTalk, InfiniteTalk) and no model alone; it is not supported",
    ),
    Look(("vace_blocks.",), f"{PART} for editing (VACE) and no model alone; it is not supported"),
    Look(
        ("dwpose_embedding", "randomref_embedding_pose"),
        f"{PART} for poses (UniAnimate) and no model alone; it is not supported",
    ),
    Look(("SelfAttention.relative_attention_bias", "pos_embedding.embedding"), "a T5 text encoder", LOAD_TEXT_ENCODER),
    Look(("text_model.encoder.layers",), "a CLIP text encoder", LOAD_TEXT_ENCODER),
    Look(("vision_model.encoder.layers",), "a CLIP vision encoder; it belongs in models/clip_vision"),
    Look(
        ("visual.blocks.0.mlp.gate_proj",),
        "Qwen2.5-VL, a text encoder; MiniMax H3 reads Qwen3-VL 32B (qwen3vl_32b_minimax_h3)",
    ),
    Look(("layers.0.self_attn.q_proj", "blk.0.attn_q."), "a language model, used as a text encoder", LOAD_TEXT_ENCODER),
    Look(("input_blocks.", "down_blocks.0.attentions"), "an image model of the Stable Diffusion family"),
    Look(("double_blocks.0.img_attn",), f"an image model of the Flux family; use {_HOSTS}"),
    Look(
        ("decoder.3.conv.0.weight", "decoder.layers.3.conv.0.weight", "encoder.2.conv.0.weight", "taesd_decoder."),
        "a tiny VAE (TAE), for previews and quick decoding. Put it into models/vae_approx and load it with ComfyUI's "
        "own Load VAE; Decode Video and Decode to Video File take that VAE",
    ),
    Look(
        ("decoder.conv_in.weight",),
        "the VAE of an image model (Flux, Stable Diffusion); a video model needs its own VAE",
        fits=_is_picture_vae,
    ),
    Look(("decoder.conv_in", "decoder.up_blocks", "decoder.upsamples", "decoder.conv1"), "a VAE", LOAD_VAE),
    Look(("input_hint_block", "control_"), "a ControlNet; it belongs in models/controlnet"),
)


def resembles(shapes: Shapes, node: str = "") -> str:
    """ "a LoRA; it belongs in models/loras" or the like; "" where nothing is known.

    Args:
        node: the pack's node that was to load the file, where one is known.
    """
    for look in _LOOKS:
        if any(marker in name for marker in look.markers for name in shapes) and look.fits(shapes):
            if not look.node:
                return look.meaning
            advice = f"choose it in {look.node}" if look.node != node else "of a model that this version does not know"
            return f"{look.meaning}{';' if look.node != node else ''} {advice}"
    return ""
