"""Stand-ins for the nodes of ComfyUI itself that templates use, with its inputs and outputs."""

from __future__ import annotations

from typing import Any

import torch

from opent2v.headless.stand_ins import STAND_INS
from opent2v.host import embedded
from opent2v.tests.tiny import wan_variants as tiny_wan


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": (["example.png"], {"image_upload": True})}}

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        return tiny_wan.picture(1, 48, 40), torch.zeros(1, 64, 64)


class LoadAudio:
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"audio": ("COMBO", {"audio_upload": True})}}

    def load(self, audio: str) -> tuple[dict[str, Any]]:
        wave = 0.3 * torch.randn(1, 2, 16000, generator=torch.Generator().manual_seed(1))
        return ({"waveform": wave, "sample_rate": 16000},)


class CLIPVisionLoader:
    RETURN_TYPES = ("CLIP_VISION",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip_name": (sorted(embedded.model_files("clip_vision")),)}}

    def load_clip(self, clip_name: str) -> tuple[Any]:
        return (embedded.clip_vision(tiny_wan.image_encoder()),)


class CLIPVisionEncode:
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "crop": (["center", "none"],)},
        }

    def encode(self, clip_vision: Any, image: torch.Tensor, crop: str) -> tuple[Any]:
        return (clip_vision.encode_image(image, crop=crop == "center"),)


CORE_CLASSES = {
    cls.__name__: cls for cls in (LoadImage, LoadAudio, CLIPVisionLoader, CLIPVisionEncode, STAND_INS["SaveImage"])
}
# As ComfyUI's page calls them.
CORE_TITLES = {
    "LoadImage": "Load Image",
    "LoadAudio": "Load Audio",
    "SaveImage": "Save Image",
    "CLIPVisionLoader": "Load CLIP Vision",
    "CLIPVisionEncode": "CLIP Vision Encode",
}
