"""LTX-2, 2.3 and 2.5: ComfyUI's own MODELs, which make picture and sound together.

ComfyUI's loaders build them; the pack knows them by the names and shapes of their weights, their sizes, and the noise
levels that their makers walk.

Source: Lightricks/LTX-2 @d5b526ed (LTX-2 Community License; facts, no code); diffusers 0.42.1, pipelines/ltx2; the
settings of ComfyUI's own templates (comfyui-workflow-templates 0.1.123) and nodes (LTXVScheduler, LTXVEmptyLatentAudio
of 0.33.0).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..base import (
    Defaults,
    Family,
    Geometry,
    HostNodes,
    Network,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    SoundStream,
    Variant,
    VideoStream,
)
from ..base.recognise import without_prefix
from .ltx_video.versions import sigmas as ltx_video_sigmas

# The audio VAE's latent channels, frequency bins, and latents per second.
SOUND_CHANNELS, SOUND_BINS, SOUND_RATE = 8, 16, 25
# ComfyUI's default frame rate for LTX-2, used where no LTXVConditioning sets another.
FPS = 25.0
# The only noise levels that distilled checkpoints were trained for, from the templates of 2.0, 2.3 and 2.5.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
# Settings of LTXVScheduler, for all other checkpoints.
_SCHEDULE = {
    "use_dynamic_shifting": True,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "shift_terminal": 0.1,
}


def find(shapes: Shapes, name: str) -> Recognised | str:
    stripped = without_prefix(shapes, "audio_adaln_single.linear.weight")
    if stripped is None or "transformer_blocks.0.audio_attn1.to_q.weight" not in stripped[1]:
        return "no audio_adaln_single.linear.weight, transformer_blocks.0.audio_attn1.to_q.weight"
    prefix, inner = stripped
    version = "2.0"
    if "transformer_blocks.0.prompt_scale_shift_table" in inner:
        version = "2.5" if "keyframes_abs_pos_embedding" in inner else "2.3"
    return Recognised("transformer", "original", "", {}, _variant(version, inner), prefix=prefix)


def _variant(version: str, shapes: Shapes) -> Variant:
    channels = shapes["patchify_proj.weight"][1]
    # The prompt's embedding: in 2.0 both streams share one, which ComfyUI's connectors make twice as wide; later
    # versions have one for each stream, whose width does not change.
    caption = shapes.get("caption_projection.linear_1.weight")
    if caption is not None:
        widths = caption[1], 2 * caption[1]
    else:
        blocks = "transformer_blocks.0.attn2.to_k.weight", "transformer_blocks.0.audio_attn2.to_k.weight"
        widths = (sum(shapes[block][1] for block in blocks),)
    is_first = version == "2.0"
    return Variant(
        family=FAMILY,
        name=version,
        streams=(
            VideoStream(Geometry(channels=channels, temporal=8, spatial=32, patch=1)),
            SoundStream(
                lambda frames, fps: (SOUND_CHANNELS, round(frames / fps * SOUND_RATE), SOUND_BINS), is_needed=False
            ),
        ),
        # 2.0's template runs the full checkpoint; those of 2.3 and 2.5 a distilled one, or the full one with the
        # distilled LoRA.
        defaults=Defaults(768, 512, 97, FPS, 20 if is_first else len(DISTILLED), 4.0 if is_first else 1.0),
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000},
        keeps_clean=True,
        latent_format="LTXAV",
        context_width=widths[0],
        longer_context_widths=widths[1:],
        memory_factor=0.077 * channels,  # comfy/supported_models.py, LTXAV
        pairs={
            "text_encoders": "a Gemma 3 12B (2.5: Gemma 4 12B) in ComfyUI's Load LTXV Audio Text Encoder",
            "vae": "the checkpoint's own video VAE and audio VAE (ComfyUI's Load LTXV Audio VAE)",
        },
        facts={"is_causal": True, "schedule": _SCHEDULE},
    )


def sigmas(variant: Variant, steps: int, shift: float | None, shape: Sequence[int]) -> list[float]:
    """[steps] noise levels, falling, without the final 0: LTXVScheduler's, in 8 steps the distilled checkpoints' own.

    A checkpoint does not tell whether it is distilled, and nobody walks a full one in 8 steps.
    """
    if steps == len(DISTILLED) and shift is None:
        return list(DISTILLED)
    return ltx_video_sigmas(variant, steps, shift, shape)


FAMILY = Family(
    id="ltx2",
    title="LTX-2",
    recognition=Recognition(find),
    network=Network(blocks="transformer_blocks", reads_rate=True),
    sampling=Sampling(sigmas),
    host_nodes=HostNodes("ComfyUI's Load Checkpoint or Load Diffusion Model", "LTXVImgToVideoInplace"),
)
