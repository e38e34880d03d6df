"""Small V1 nodes with every kind of input, for tests of the workflow reader and the runner.

The page recordings in `page_cases/` were made with these very classes loaded into ComfyUI.
"""

from __future__ import annotations

from typing import Any


class FakeLoad:
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": (["first", "second"],), "dtype": (["auto", "fp32"], {"default": "auto"})}}

    def load(self, name: str, dtype: str) -> tuple[Any, ...]:
        return f"model {name}", f"clip {name}", f"vae {name}"


class FakeText:
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip": ("CLIP",), "text": ("STRING", {"multiline": True, "default": "a circle"})}}

    def encode(self, clip: str, text: str) -> dict[str, Any]:
        return {"ui": {"text": [f"{len(text)} letters"]}, "result": (f"{clip}: {text}",)}


class FakePatch:
    """Two inputs of one type and outputs in another order: what bypassing has to get right."""

    RETURN_TYPES = ("CLIP", "MODEL", "MODEL")
    FUNCTION = "patch"
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "strength": ("FLOAT", {"default": 1.0}),
                "model": ("MODEL",),
                "other": ("MODEL",),
                "clip": ("CLIP",),
            }
        }

    def patch(self, strength: float, model: str, other: str, clip: str) -> tuple[Any, ...]:
        return clip, f"{model} * {strength}", other


class FakeSampler:
    RETURN_TYPES = ("LATENT", "INT")
    FUNCTION = "sample"
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "positive": ("CONDITIONING",),
                "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}),
                "steps": ("INT", {"default": 20, "min": 1, "max": 100}),
                "cfg": ("FLOAT", {"default": 4.0, "min": 0.0, "max": 30.0, "step": 0.1}),
                "solver": (["reference", "euler"], {"default": "reference"}),
            },
            "optional": {
                "noise_seed": ("INT", {"default": 3, "min": 0, "max": 10}),
                "tiled": ("BOOLEAN", {"default": True}),
                "image": ("IMAGE",),
                "label": ("STRING", {"default": "none"}),
            },
        }

    def sample(self, **inputs: Any) -> tuple[Any, ...]:
        return ", ".join(f"{name}={value}" for name, value in sorted(inputs.items())), inputs["seed"]


class FakeForced:
    """An input that is a socket although its type has a widget, between widgets; old pages saved a value for it."""

    RETURN_TYPES = ("INT", "FLOAT")
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "name": (["a", "b"], {"control_after_generate": True}),
                "forced": ("INT", {"forceInput": True}),
                "size": ("FLOAT", {"default": 0.5}),
                "flag": ("BOOLEAN", {"default": False}),
            },
            "optional": {"late": ("STRING", {"defaultInput": True, "default": "x"})},
        }

    def run(self, **inputs: Any) -> tuple[Any, ...]:
        return inputs["forced"], inputs["size"]


class FakeSave:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "save"
    OUTPUT_NODE = True
    CATEGORY = "fake"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"latent": ("LATENT",), "prefix": ("STRING", {"default": "fake"})},
            "optional": {"number": ("INT", {"default": 1, "min": 0, "max": 10})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"},
        }

    def save(self, latent: str, prefix: str, number: int = 1, **hidden: Any) -> dict[str, Any]:
        image = {"filename": f"{prefix}_{number}.mp4", "subfolder": "", "type": "output"}
        return {"ui": {"images": [image], "hidden": [hidden]}, "result": (latent,)}


CLASSES = {
    "FakeLoad": FakeLoad,
    "FakeText": FakeText,
    "FakePatch": FakePatch,
    "FakeSampler": FakeSampler,
    "FakeForced": FakeForced,
    "FakeSave": FakeSave,
}
TITLES = {"FakeSampler": "Fake Sampler"}
# What ComfyUI looks for, written so that the Manager's static scan does not take these for nodes of the pack.
NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = CLASSES, TITLES
