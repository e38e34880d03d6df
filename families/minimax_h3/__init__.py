"""MiniMax H3: ComfyUI's own MODEL, which makes picture and sound together.

ComfyUI's loader builds it; the pack knows it by the names and shapes of its weights, its sizes, and the noise levels
that its makers walk. Guidance is distilled into it: one prompt, cfg 1.

Source: MiniMaxAI/MiniMax-H3 (MiniMax H3 Community License; facts, no code); ComfyUI 0.33.0, comfy/ldm/minimax and
comfy_extras/nodes_minimax_h3.py; diffusers 0.42.1, MiniMaxH3Scheduler; the settings of ComfyUI's template
video_minimax_h3_t2v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...base import (
    Defaults,
    Family,
    Geometry,
    HostNodes,
    PicturedText,
    Prompt,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Sound,
    SoundStream,
    Text,
    Variant,
    Video,
    VideoStream,
)
from ...base.noise_levels import shifted, straight
from ...base.recognise import without_prefix
from ..text import qwen3_vl, qwen3_vl_vision
from . import references, sound, text, vae

FPS = 24.0
SHIFT = 12.0
PROMPT_TOKENS = 262144  # that Qwen3-VL reads
CHANNELS, TEXT_WIDTH = 24, 5120  # of the video's latents, of the text encoder that the makers chose
SOUND_CHANNELS, SOUND_SIDES, SOUND_RATE = 32, 2, 40  # of the audio VAE: latent channels, stereo, latents a second
# Video frames in each latent frame of one group. A clip is whole groups and the first two latent frames of another
# group.
GROUP = (1, 4, 4, 4, 4)
_FRAMES, _START = sum(GROUP), sum(GROUP[:2])
_MARKERS = (
    "video_patch_proj.weight",
    "audio_patch_proj.weight",
    "final_layer.video_out.weight",
    "condition_proj.weight",
)


@dataclass(frozen=True)
class GroupedGeometry(Geometry):
    """Lengths of 17n + 5 frames, which are 5n + 2 latent frames."""

    @property
    def frame_rule(self) -> str:
        return f"{_FRAMES}n + {_START}"

    def nearest(self, frames: int) -> int:
        return max(0, int((frames - _START) / _FRAMES + 0.5)) * _FRAMES + _START

    def latent_frames(self, frames: int) -> int:
        if frames < _START:  # a picture
            return 1
        return (frames - _START) // _FRAMES * len(GROUP) + 2

    def frames(self, latent_frames: int) -> int:
        whole, rest = divmod(latent_frames, len(GROUP))
        return whole * _FRAMES + sum(GROUP[:rest])


def make_variant(text: int, hidden: int, channels: int = CHANNELS) -> Variant:
    """
    Args:
        text: width of the prompt's embedding.
        hidden: width of the transformer, 0 where nothing tells it.
    """
    return Variant(
        family=FAMILY,
        name="",
        streams=(
            VideoStream(GroupedGeometry(channels=channels, temporal=4, spatial=16)),
            SoundStream(lambda frames, fps: (SOUND_CHANNELS, SOUND_SIDES, round(frames / FPS * SOUND_RATE)), 3),
        ),
        defaults=Defaults(1344, 768, 124, FPS, 20, 1.0),
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": SHIFT},
        prompts=(Prompt(PROMPT_TOKENS, prepare=str),),
        latent_format="MiniMaxH3AV",
        context_width=text,
        longer_context_widths=(hidden,) if hidden else (),
        memory_factor=0.114 * channels,  # comfy/supported_models.py, MiniMaxH3
        # comfy/sd.py counts 30 frames of 9.5 values and the weights of one tile; tiles are 256 pixels wide.
        decode_floats=560.0,
        encode_floats=1430.0,
        pairs={
            "text_encoders": "qwen3vl_32b_minimax_h3_bf16.safetensors, _int8_convrot or _nvfp4_awq"
            " (a GGUF file needs its mmproj as file_2 to see pictures)",
            "vae": "minimax_h3_video_vae_fp16.safetensors and minimax_h3_audio_vae_fp32.safetensors",
        },
    )


def of_vae() -> Variant:
    """What is known of a model by its VAE alone."""
    return make_variant(TEXT_WIDTH, 0)


def find(shapes: Shapes, name: str) -> Recognised | str:
    """The transformer, the video's VAE or the sound's."""
    transformer = _transformer(shapes)
    if isinstance(transformer, Recognised):
        return transformer
    return vae.video_vae(of_vae(), shapes) or sound.sound_vae(of_vae(), shapes) or transformer


def _transformer(shapes: Shapes) -> Recognised | str:
    stripped = without_prefix(shapes, _MARKERS[0])
    missing = [marker for marker in _MARKERS if stripped is None or marker not in stripped[1]]
    if stripped is None or missing:
        return f"no {', '.join(missing)}"
    prefix, inner = stripped
    hidden, text = inner["condition_proj.weight"]
    channels = inner["final_layer.video_out.weight"][0] // 4  # of a patch of 2 x 2
    return Recognised("transformer", "original", "", {}, make_variant(text, hidden, channels), prefix=prefix)


def sigmas(variant: Variant, steps: int, shift: float | None, shape: Sequence[int]) -> list[float]:
    """[steps] noise levels of the picture, falling, without the final 0; the model derives those of the sound."""
    return shifted(straight(steps), SHIFT if shift is None else shift)


FAMILY = Family(
    id="minimax_h3",
    title="MiniMax H3",
    recognition=Recognition(find),
    sampling=Sampling(sigmas),
    text=Text(
        {"text_encoder": qwen3_vl.KIND, "vision": qwen3_vl_vision.KIND},
        pictured=PicturedText(text.tokens, text.embed),
    ),
    video=Video(vae.decode, vae.encode, vae.decode_frames, tiles_itself=True),
    sound=Sound(sound.decode, sound.output_rate, sound.encode, sound.input_rate),
    references=references.REFERENCES,
    continuation=references.CONTINUATION,
    host_nodes=HostNodes("ComfyUI's Load Diffusion Model", "MiniMaxH3ImageToVideo"),
)
