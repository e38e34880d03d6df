"""Facts of the published MiniMax H3 checkpoints.

Source: MiniMaxAI/MiniMax-H3 (MiniMax H3 Community License; facts, no code); ComfyUI 0.33.0, comfy/supported_models.py
and comfy_extras/nodes_minimax_h3.py; diffusers 0.42.1, MiniMaxH3Scheduler; the settings of ComfyUI's own templates
(comfyui-workflow-templates 0.1.123).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...base import Defaults, Family, Geometry, Prompt, SoundStream, Variant, VideoStream
from ...base.noise_levels import shifted, straight
from .layout import GROUP

FPS = 24.0
SHIFT, SOUND_SHIFT = 12.0, 3.0
CHANNELS, TEXT_WIDTH = 24, 5120  # of the video's latents, of the text encoder that the makers chose
STEPS = 20
PROMPT_TOKENS = 262144  # that Qwen3-VL reads
LONGEST = 362  # frames of the longest clips that it was trained with
SOUND_CHANNELS, SOUND_SIDES, SOUND_RATE = 32, 2, 40  # of the audio VAE: latent channels, stereo, latents a second
GROUP_FRAMES, SHORTEST = sum(GROUP), sum(GROUP[:2])  # frames of a group of latents, and of the shortest clip
LICENCE = (
    "MiniMax H3's licence gives no rights in the EU, the UK, South Korea and the USA without MiniMax's authorisation, "
    'to what it makes either, and asks for "Powered by MiniMax H3" to be shown. '
    "未经 MiniMax 授权，MiniMax H3 的许可证在欧盟、英国、韩国和美国不授予任何权利，生成的内容也包括在内；并要求标明"
    "“Powered by MiniMax H3”。"
)
_FAST = (
    "FastH3: sampled with dense attention, since this pack does not read its gate of sparse attention. It was made for "
    "8 steps at shift 10 (sound 3)."
)


@dataclass(frozen=True)
class GroupedGeometry(Geometry):
    """Lengths of 17n + 5 frames, which are 5n + 2 latent frames; a picture is one."""

    @property
    def frame_rule(self) -> str:
        return f"{GROUP_FRAMES}n + {SHORTEST}"

    def nearest(self, frames: int) -> int:
        return max(0, int((frames - SHORTEST) / GROUP_FRAMES + 0.5)) * GROUP_FRAMES + SHORTEST

    def latent_frames(self, frames: int) -> int:
        return max(1, (frames - SHORTEST) // GROUP_FRAMES * len(GROUP) + 2)

    def frames(self, latent_frames: int) -> int:
        whole, rest = divmod(latent_frames, len(GROUP))
        return whole * GROUP_FRAMES + sum(GROUP[:rest])


def lengths(longest: int) -> tuple[int, ...]:
    """All legal lengths up to this many frames.

    >>> lengths(40)
    (5, 22, 39)
    """
    return tuple(range(SHORTEST, longest + 1, GROUP_FRAMES))


def sound_shape(frames: int, fps: float) -> tuple[int, int, int]:
    """(channels, sides, latents) of the sound of so many video frames, which always play at 24 a second."""
    return SOUND_CHANNELS, SOUND_SIDES, round(frames / FPS * SOUND_RATE)


def make_variant(
    family: Family,
    config: Mapping[str, Any],
    table_rows: int,
    name: str = "",
    has_gate: bool = False,
    shifts: tuple[float, float] = (SHIFT, SOUND_SHIFT),
) -> Variant:
    """The variant of a transformer.

    Args:
        config: of diffusers' transformer.
        table_rows: of a pruned file's table of embedded timesteps; 0 for a full one.
        name: of the file, which alone tells whether it reads references.
        has_gate: it has FastH3's gate of sparse attention.
        shifts: of the noise levels of picture and sound.
    """
    task = "references" if "ref2va" in name.lower() else ""
    title = " ".join(word for word in ("FastH3" if has_gate else "", task, "pruned" if table_rows else "") if word)
    return Variant(
        family=family,
        name=title,
        streams=(
            VideoStream(GroupedGeometry(channels=config["in_channels"], temporal=4, spatial=16)),
            SoundStream(sound_shape, time_axis=3, shift=shifts[1], ratio=shifts[0] / shifts[1]),
        ),
        defaults=Defaults(1344, 768, 124, FPS, 8 if has_gate else STEPS, 1.0),
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shifts[0]},
        prompts=(Prompt(PROMPT_TOKENS, prepare=str),),
        latent_format="MiniMaxH3AV",
        context_width=config["text_dim"],
        memory_factor=0.114 * config["in_channels"],  # comfy/supported_models.py, MiniMaxH3
        # comfy/sd.py counts 30 frames of 9.5 values and the weights of one tile; tiles are 256 pixels wide.
        decode_floats=560.0,
        encode_floats=1430.0,
        pairs={
            "text_encoders": "qwen3vl_32b_minimax_h3_bf16.safetensors, _int8_convrot or _nvfp4_awq"
            " (a GGUF file needs its mmproj as file_2 to see pictures)",
            "vae": "minimax_h3_video_vae_fp16.safetensors (or _int8_convrot) and minimax_h3_audio_vae_fp32.safetensors",
        },
        facts={"table_rows": table_rows, "has_gate": has_gate, "task": task},
        remark=" ".join([LICENCE, *([_FAST] if has_gate else [])]),
    )


def of_parts(family: Family, text: int = TEXT_WIDTH) -> Variant:
    """What is known of a model by its text encoder of this width, or by its VAEs, which all its files share."""
    return replace(make_variant(family, {"in_channels": CHANNELS, "text_dim": text}, 0), remark="")


def sigmas(variant: Variant, steps: int, shift: float | None, shape: Sequence[int]) -> list[float]:
    """[steps] noise levels of the picture, falling, without the final 0; the model derives those of the sound."""
    return shifted(straight(steps), variant.scheduler["shift"] if shift is None else shift)
