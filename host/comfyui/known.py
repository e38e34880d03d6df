"""ComfyUI's own models: those that are a family's network, and titles of the others."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...base import FamilyError, Recognised
from ...families import recognised

# Class in ComfyUI's comfy/supported_models.py -> the family whose network it is. Tensors are not enough: causal Wan,
# Animate 2 and FlowRVS have those of plain Wan, but are sampled in another way. Other classes are refused.
SERVED = {
    "CogVideoX_I2V": "cogvideox",
    "CogVideoX_T2V": "cogvideox",
    "GenmoMochi": "mochi",
    "HunyuanVideo": "hunyuan_video",
    "HunyuanVideoI2V": "hunyuan_video",
    "HunyuanVideoSkyreelsI2V": "hunyuan_video",
    "LTXAV": "ltx2",
    "LTXV": "ltx_video",
    "MiniMaxH3": "minimax_h3",
    "WAN21_I2V": "wan",
    "WAN21_T2V": "wan",
    "WAN22_T2V": "wan",
}
# Titles, for messages, of the other video models in that file.
TITLES = {
    "CogVideoX_Inpaint": "CogVideoX-Fun (inpainting)",
    "CosmosI2V": "Cosmos 1 video to world",
    "CosmosI2VPredict2": "Cosmos Predict2 video to world",
    "CosmosT2IPredict2": "Cosmos Predict2 text to image",
    "CosmosT2V": "Cosmos 1 text to world",
    "HunyuanImage21": "HunyuanImage 2.1",
    "HunyuanImage21Refiner": "HunyuanImage 2.1's refiner",
    "HunyuanVideo15": "HunyuanVideo 1.5",
    "HunyuanVideo15_SR_Distilled": "HunyuanVideo 1.5's upscaler",
    "Kandinsky5": "Kandinsky 5",
    "Kandinsky5Image": "Kandinsky 5 Image",
    "SVD_img2vid": "Stable Video Diffusion",
    "SV3D_p": "SV3D",
    "SV3D_u": "SV3D",
    "SeedVR2": "SeedVR2 (upscaling)",
    "WAN21_Camera": "Wan 2.1 Fun Camera",
    "WAN21_CausalAR_T2V": "causal Wan (Self-Forcing and others)",
    "WAN21_FlowRVS": "FlowRVS",
    "WAN21_FunControl2V": "Wan 2.1 Fun Control",
    "WAN21_HuMo": "HuMo",
    "WAN21_SCAIL": "SCAIL",
    "WAN21_SCAIL2": "SCAIL 2",
    "WAN21_Vace": "Wan VACE",
    "WAN22_Animate": "Wan 2.2 Animate",
    "WAN22_Camera": "Wan 2.2 Fun Camera",
    "WAN22_S2V": "Wan 2.2 S2V",
    "WAN22_WanDancer": "WanDancer",
    "WAN_Animate2": "Wan Animate 2",
}


def tensor_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a network's saved tensors: weights, and buffers such as learned positions.

    "_orig_mod", which compile nodes add to the names of compiled modules, is removed.
    """
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    for stem, module in network.named_modules():
        for leaf, buffer in module._buffers.items():
            if buffer is not None and leaf not in module._non_persistent_buffers_set:
                shapes[f"{stem}.{leaf}" if stem else leaf] = tuple(buffer.shape)
    return {name.replace("_orig_mod.", ""): shape for name, shape in shapes.items()}


def network_of(base: Any) -> Recognised | None:
    """The recognised network of a BaseModel from another loader; None where no family knows it.

    Raises:
        FamilyError: a family knows it, and our nodes cannot sample it as its makers do.
    """
    kind = _class(base)
    family = SERVED.get(kind)
    try:
        network = recognised(tensor_shapes(base.diffusion_model))
    except FamilyError as error:
        if kind and family is None:
            raise FamilyError(_not_served(kind)) from error
        raise
    if network is None:
        return None
    if kind and family != network.variant.family.id:
        raise FamilyError(_not_served(kind))
    if family == "cogvideox" and (network.variant.geometry.patch_frames == 1 or network.variant.task == "image"):
        is_first = network.variant.geometry.patch_frames == 1
        differs = "gives tokens other positions" if is_first else "scales the latents of pictures in another way"
        raise FamilyError(
            f"This MODEL is {network.variant.title} of ComfyUI's own loader, which {differs} than the model's makers: "
            "our nodes would make another video than theirs. Load the same file with Load Video Diffusion Model."
        )
    return network


def title(thing: Any) -> str:
    return _title(_class(getattr(thing, "model", None)))


def _not_served(kind: str) -> str:
    return (
        f"This MODEL is {_title(kind)}, and our nodes do not know how it is sampled. Sample it with ComfyUI's own "
        "nodes for it, or take a model from Load Video Model."
    )


def _title(kind: str) -> str:
    return TITLES.get(kind, kind)


def _class(base: Any) -> str:
    """The name of a model's class in comfy/supported_models.py; "" for a class of another module."""
    kind = type(getattr(base, "model_config", None))
    return kind.__name__ if kind.__module__ == "comfy.supported_models" else ""
