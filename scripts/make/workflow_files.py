"""Published model files by their public addresses, and what a template in workflows/ is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class File:
    """A published model file: `path` inside the repository `repository` of huggingface.co.

    Attributes:
        gigabytes: 0 where its size is not known here.
        converted: the name it gets from scripts/convert.py, for one that is published as a pickle only.
    """

    path: str
    directory: str
    repository: str
    gigabytes: float = 0.0
    converted: str = ""

    @property
    def name(self) -> str:
        return self.converted or self.path.rpartition("/")[2]

    def link(self) -> dict[str, str]:
        """What the page offers to download, in its own form."""
        url = f"https://huggingface.co/{self.repository}/resolve/main/{self.path}"
        return {"name": self.name, "url": url, "directory": self.directory}


def repackaged(repository: str, directory: str, name: str, gigabytes: float) -> File:
    """A file of Comfy-Org's, which all have one layout."""
    return File(f"split_files/{directory}/{name}", directory, f"Comfy-Org/{repository}", gigabytes)


WAN_21, WAN_22 = "Wan_2.1_ComfyUI_repackaged", "Wan_2.2_ComfyUI_Repackaged"
MOCHI, HUNYUAN, COG = "mochi_preview_repackaged", "HunyuanVideo_repackaged", "Kijai/CogVideoX-comfy"
UMT5 = repackaged(WAN_21, "text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", 6.7)
T5 = repackaged(MOCHI, "text_encoders", "t5xxl_fp8_e4m3fn_scaled.safetensors", 5.2)
WAN_VAE = repackaged(WAN_21, "vae", "wan_2.1_vae.safetensors", 0.25)
WAN_22_VAE = repackaged(WAN_22, "vae", "wan2.2_vae.safetensors", 1.4)
WAN_5B = repackaged(WAN_22, "diffusion_models", "wan2.2_ti2v_5B_fp16.safetensors", 10)
COG_VAE = File("cogvideox_vae_bf16.safetensors", "vae", COG, 0.43)
CLIP_L = repackaged(HUNYUAN, "text_encoders", "clip_l.safetensors", 0.25)
HUNYUAN_VAE = repackaged(HUNYUAN, "vae", "hunyuan_video_vae_bf16.safetensors", 0.5)
OPEN_SORA = File("Open_Sora_v2.safetensors", "diffusion_models", "hpcai-tech/Open-Sora-v2", 23.8)
OPEN_SORA_VALUES = {
    "OpenT2VEncodePrompt": {"fps": 24.0, "motion_score": 4.0},
    "OpenT2VGuidance": {"cfg_schedule": "auto"},
}
LTX_23 = File("ltx-2.3-22b-distilled-fp8.safetensors", "checkpoints", "Lightricks/LTX-2.3-fp8", 29)
GEMMA_3 = repackaged("ltx-2", "text_encoders", "gemma_3_12B_it_fp4_mixed.safetensors", 9.4)
LTX_25 = File(
    "diffusion_models/ltx-2.5-22b-distilled-transformer-comfy-int8-convrot.safetensors", "diffusion_models",
    "Lightricks/LTX-2.5", 21.5,
)  # fmt: skip
GEMMA_4 = File(
    "text_encoders/gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot.safetensors", "text_encoders", "Lightricks/LTX-2.5",
    15.4,
)  # fmt: skip
LTX_25_VAE = File("vae/ltx-2.5-video-vae-conv-bf16.safetensors", "vae", "Lightricks/LTX-2.5", 1.5)
LTX_25_SOUND = File("vae/ltx-2.5-audio-vae-bf16.safetensors", "vae", "Lightricks/LTX-2.5", 0.37)
H3 = "Comfy-Org/MiniMax-H3"
H3_MODEL = File("diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors", "diffusion_models", H3)
H3_REFERENCES = File("diffusion_models/minimax_h3_ref2va_pruned_int8_convrot.safetensors", "diffusion_models", H3)
QWEN_3_VL = File("text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "text_encoders", H3)
H3_VAE = File("vae/minimax_h3_video_vae_fp16.safetensors", "vae", H3)
H3_SOUND = File("vae/minimax_h3_audio_vae_fp32.safetensors", "vae", H3)
# Of every note of MiniMax H3.
H3_LICENCE = (
    "The licence gives no rights in the EU, the UK, South Korea and the USA without MiniMax's authorisation, outputs "
    'included; "Powered by MiniMax H3" must be shown.'
)
H3_LICENCE_ZH = (
    "许可证：未经 MiniMax 授权，在欧盟、英国、韩国和美国无任何权利，生成内容也包括在内；须标明“Powered by MiniMax H3”。"
)
LTX = File("ltx-video-2b-v0.9.5.safetensors", "checkpoints", "Lightricks/LTX-Video", 6.3)


# Start of a template's name -> the licence of the model's weights, as README's table of models has it.
LICENCES = {
    "wan": "Apache-2.0",
    "cogvideox": "CogVideoX License",
    "ltx_video": "Lightricks' own",
    "ltx2": "LTX-2 Community License",
    "minimax_h3": "MiniMax H3 Community License",
    "mochi": "Apache-2.0",
    "hunyuan": "Tencent Hunyuan Community License",
    "videocrafter": "personal, research and non-commercial use",
    "open_sora": "Apache-2.0",
}


@dataclass(frozen=True)
class Template:
    """A graph from text, from a picture, or from the end of a clip.

    Attributes:
        model: the transformer, or an all-in-one file; `low` is the low-noise expert of a model with two.
        vae: None where it is inside `model`.
        upscaler: makes the latent of a first run larger, for a second one at the noise levels `sigmas`.
        has_sound: makes a sound with the video; `sound` is its VAE, None where it is inside `model`.
        ends: goes to a last picture; hears: is made to a sound.
        starts: begins with a picture; `vision` is the image encoder that reads it, where the model has one.
        shows: the text encoder reads the picture too.
        refers: makes its video after a picture, in place of beginning with it.
        goes_on: goes on where a clip with sound ends.
        english, chinese: a hint at the end of the note.
        values: node -> widgets that do not keep their default.
    """

    name: str
    title: str
    model: File
    text: tuple[File, ...]
    vae: File | None
    prompt: str
    english: str
    chinese: str
    low: File | None = None
    starts: bool = False
    shows: bool = False
    refers: bool = False
    goes_on: bool = False
    ends: bool = False
    hears: bool = False
    has_sound: bool = False
    sound: File | None = None
    upscaler: File | None = None
    sigmas: str = ""
    vision: File | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """Of the model's weights; text encoders and VAEs of other makers have their own."""
        return next(licence for start, licence in LICENCES.items() if self.name.startswith(start))

    @property
    def files(self) -> list[File]:
        return [
            file
            for file in (self.model, self.low, *self.text, self.vae, self.sound, self.upscaler, self.vision)
            if file is not None
        ]
