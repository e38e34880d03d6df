"""Facts of each published LTX-2 checkpoint.

Source: Lightricks/LTX-2 @d5b526ed; diffusers 0.42.1, pipelines/ltx2; the settings of ComfyUI's own templates
(comfyui-workflow-templates 0.1.123) and nodes (LTXVScheduler, LTXVEmptyLatentAudio of 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...base import Defaults, Family, Geometry, Prompt, SoundStream, Variant, VideoStream
from ..ltx_video.versions import sigmas as ltx_video_sigmas
from .network import MAKERS, TEXT_TOKENS

# The audio VAE's latent channels, frequency bins, and latents per second.
SOUND_CHANNELS, SOUND_BINS, SOUND_RATE = 8, 16, 25
# ComfyUI's default frame rate for LTX-2, used where no LTXVConditioning sets another.
FPS = 25.0
# The only noise levels that distilled checkpoints were trained for, from the templates of 2.0, 2.3 and 2.5.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
NEGATIVE = "blurry, out of focus, overexposed, low contrast, washed out, distorted, jittery, static, watermark, text"
# Settings of LTXVScheduler, for all other checkpoints.
_SCHEDULE = {
    "use_dynamic_shifting": True,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "shift_terminal": 0.1,
}


def sound_shape(frames: int, fps: float) -> tuple[int, int, int]:
    """(channels, latents, frequency bins) of the sound of so many video frames."""
    return SOUND_CHANNELS, round(frames / fps * SOUND_RATE), SOUND_BINS


def make_variant(
    family: Family, config: Mapping[str, Any], connectors: Mapping[str, Mapping[str, Any]], name: str = ""
) -> Variant:
    """The variant of a transformer.

    Args:
        config: of diffusers' transformer.
        connectors: of diffusers' connectors, by the attribute of the transformer that holds each; empty where they are
            in no file.
        name: of the file, which may tell a distilled checkpoint from a full one.
    """
    version = "2.0" if config["use_prompt_embeddings"] else "2.3"
    if config["use_keyframes_abs_pos_embedding"]:
        version = "2.5"
    is_distilled = "distilled" in name.lower()
    is_full = not is_distilled and ("dev" in name.lower() or version == "2.0")
    steps, guidance = len(DISTILLED), 1.0
    sound = None
    if is_full:
        steps, guidance, sound = (20, 4.0, None) if version == "2.0" else (30, 3.0, 7.0)
    caption = config["caption_channels"]
    blocks = config["cross_attention_dim"], config["audio_cross_attention_dim"]
    is_first = version == "2.0"
    # What the CLIP makes: in 2.0 both streams share one text, which the connectors make twice as wide; later versions
    # have one for each stream, whose width does not change.
    widths = (caption, 2 * caption) if is_first else (sum(blocks),)
    title = f"{version} distilled" if is_distilled else version
    return Variant(
        family=family,
        name=title,
        streams=(
            VideoStream(Geometry(channels=config["in_channels"], temporal=8, spatial=32, patch=1)),
            SoundStream(sound_shape, is_needed=False),
        ),
        defaults=Defaults(
            768, 512, 97, FPS, steps, guidance, negative=NEGATIVE if guidance != 1 else "", sound_guidance=sound
        ),
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000},
        prompts=(Prompt(TEXT_TOKENS, slot="text_encoder_gemma4" if version == "2.5" else "text_encoder"),),
        keeps_clean=True,
        latent_format="LTXAV",
        context_width=widths[0],
        longer_context_widths=widths[1:],
        memory_factor=0.077 * config["in_channels"],  # comfy/supported_models.py, LTXAV
        # comfy/sd.py, VAE of LTX-Video: 900 values per latent pixel and 8 x 8 x 8, 70 per pixel of the video.
        decode_floats=900 * 8 * 8 * 8 / 32**2,
        encode_floats=70,
        whole_clip=True,
        # Tensors of the published decoders piece by piece, counted on the meta device: 1263 (2.0) and 1248 (2.3, 2.5).
        piece_floats=1265,
        pairs={
            "text_encoders": "a Gemma 3 12B (gemma_3_12B_it_...), and the checkpoint or text projection file in file_2"
            if version != "2.5"
            else "the Gemma 4 12B with LTX-2.5's projection inside (gemma4-12b-with-proj-ltx-2.5-...)",
            "vae": "the checkpoint's own video VAE and audio VAE, or their files (ltx-2...-video-vae, ...-audio-vae)",
        },
        facts={
            "version": version,
            "is_causal": True,
            "is_distilled": is_distilled,
            "schedule": _SCHEDULE,
            "arithmetic": MAKERS,
            "connectors": connectors,
            "shares_text": is_first,
            "context_widths": (caption, caption) if is_first else blocks,
            "marks_first": version == "2.5",
            "sound_shape": (SOUND_CHANNELS, 1, config["audio_in_channels"] // SOUND_CHANNELS),
        },
    )


def of_vae(family: Family) -> Variant:
    """What is known of a model by its VAEs, which all versions share."""
    config = {
        "use_prompt_embeddings": True, "use_keyframes_abs_pos_embedding": False, "caption_channels": 3840,
        "in_channels": 128, "audio_in_channels": SOUND_CHANNELS * SOUND_BINS, "cross_attention_dim": 4096,
        "audio_cross_attention_dim": 2048,
    }  # fmt: skip
    return replace(make_variant(family, config, {}), name="")


def sigmas(variant: Variant, steps: int, shift: float | None, shape: Sequence[int]) -> list[float]:
    """[steps] noise levels, falling, without the final 0: LTXVScheduler's, in 8 steps the distilled checkpoints' own.

    A checkpoint does not tell whether it is distilled, and nobody walks a full one in 8 steps.
    """
    if steps == len(DISTILLED) and shift is None:
        return list(DISTILLED)
    return ltx_video_sigmas(variant, steps, shift, shape)
