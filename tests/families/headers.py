"""Headers of every family's files in every layout: the names and shapes of networks with one or two blocks."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from opent2v.families import cogvideox, hunyuan_video, ltx_video, mochi, open_sora, videocrafter, wan
from opent2v.families.wan.variants import VAES
from opent2v.loaders.weights import build, extension
from opent2v.tests.families.layouts import cogvideox as cog
from opent2v.tests.families.layouts import hunyuan_video as hunyuan
from opent2v.tests.families.layouts import ltx_video as ltx
from opent2v.tests.families.layouts import mochi as genmo
from opent2v.tests.families.layouts import open_sora as sora
from opent2v.tests.families.layouts import videocrafter as lvdm
from opent2v.tests.families.layouts import wan as alibaba
from opent2v.tests.tiny import videocrafter as tiny_videocrafter

Shapes = dict[str, tuple[int, ...]]
PREFIX = "model.diffusion_model."
_WAN = {
    "Wan 2.1 T2V 1.3B": alibaba.SMALL, "Wan 2.1 I2V 14B": alibaba.PICTURE,
    "Wan 2.1 FLF2V 14B": alibaba.PICTURE | {"pos_embed_seq_len": 514}, "Wan 2.2 TI2V 5B": alibaba.FIVE,
    "Wan 2.2 I2V A14B": alibaba.LARGE | {"in_channels": 36},
}  # fmt: skip
_HUNYUAN: dict[str, dict[str, Any]] = {
    "HunyuanVideo T2V": {},
    "HunyuanVideo I2V": {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
}


def shapes_of(module: torch.nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@cache
def networks() -> dict[str, Shapes]:
    """Title -> what diffusers' class holds, two blocks of each kind."""
    made = {n: shapes_of(build("WanTransformer3DModel", c | {"num_layers": 2})) for n, c in _WAN.items()}
    few = {"num_layers": 2, "num_single_layers": 2}
    for title, changes in _HUNYUAN.items():
        made[title] = shapes_of(build(hunyuan.CLASS, hunyuan_video.files.transformer_config(**few, **changes)))
    for size, config in ltx.SIZES.items():
        made[f"LTX-Video {size}"] = shapes_of(build("LTXVideoTransformer3DModel", config | {"num_layers": 2}))
    made["Mochi 1"] = shapes_of(build("MochiTransformer3DModel", {"num_layers": 2}))
    made["Open-Sora 2.0"] = shapes_of(build(sora.CLASS, open_sora.files.transformer_config(**few)))
    for name, (config, _) in cog.PUBLISHED.items():
        made[f"CogVideoX {name}"] = shapes_of(build("CogVideoXTransformer3DModel", config | {"num_layers": 2}))
    variant = videocrafter.describe(lvdm.CONFIG, videocrafter.files.SCALE)
    made["VideoCrafter2"] = shapes_of(build("UNet3DConditionModel", lvdm.CONFIG, extension(variant)))
    return made


@cache
def layouts() -> dict[str, tuple[str, Shapes]]:
    """ "title, layout" -> (family's id, the file's names and shapes)."""
    made: dict[str, tuple[str, Shapes]] = {}
    for title, shapes in networks().items():
        family = next(f for f in FAMILIES if title.startswith(f.title))
        made[f"{title}, diffusers"] = family.id, shapes
        if family.id == "wan":
            made[f"{title}, original"] = family.id, {alibaba.original(name): s for name, s in shapes.items()}
        elif family.id == "ltx_video":
            made[f"{title}, original"] = family.id, {ltx.original_transformer(n): s for n, s in shapes.items()}
        elif family.id == "cogvideox":
            state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
            for layout, convert in (("original", cog.original), ("ComfyUI", cog.comfyui)):
                converted = {name.removeprefix(PREFIX): tuple(t.shape) for name, t in convert(state).items()}
                made[f"{title}, {layout}"] = family.id, converted
    for title, further in (("T2V", {}), ("I2V", {"channels": 33, "tells": False})):
        shapes = hunyuan.original(double=2, single=2, **further)
        in_comfyui = hunyuan.in_comfyui(shapes)
        made[f"HunyuanVideo {title}, original"] = "hunyuan_video", shapes
        made[f"HunyuanVideo {title}, ComfyUI before 0.14"] = "hunyuan_video", in_comfyui
        made[f"HunyuanVideo {title}, ComfyUI"] = "hunyuan_video", renamed_norms(in_comfyui)
    made["Mochi 1, original"] = "mochi", genmo.original_transformer(2)
    for fused in (False, True):
        shapes = sora.original(fused, double=2, single=2)
        made[f"Open-Sora 2.0, original{', fused' * fused}"] = "open_sora", shapes
        made[f"Open-Sora 2.0, norms renamed{', fused' * fused}"] = "open_sora", renamed_norms(shapes)
    made["VideoCrafter2, original"] = (
        "videocrafter",
        {
            tiny_videocrafter.original_unet_name(name, 2, 4): tiny_videocrafter.original_unet_shape(
                tiny_videocrafter.original_unet_name(name, 2, 4), shape
            )
            for name, shape in networks()["VideoCrafter2"].items()
        },
    )
    return made


def renamed_norms(shapes: Shapes) -> Shapes:
    """As ComfyUI 0.14 and newer have them."""
    return {name.replace("_norm.scale", "_norm.weight"): shape for name, shape in shapes.items()}


@cache
def vaes() -> dict[str, tuple[str, Shapes]]:
    """ "VAE, layout" -> (family's id, the file's names and shapes)."""
    made: dict[str, tuple[str, Shapes]] = {}
    for channels, config in VAES.items():
        shapes = alibaba.meta_shapes("AutoencoderKLWan", config)
        made[f"Wan {channels}, diffusers"] = "wan", shapes
        made[f"Wan {channels}, original"] = (
            "wan",
            {alibaba.original_vae(n, channels == 48): s for n, s in shapes.items()},
        )
    for version in ltx.VAES:
        for layout in ("diffusers", "original"):
            made[f"LTX-Video {version}, {layout}"] = (
                "ltx_video",
                ltx.written(ltx.vae_shapes(version), layout, version=version),
            )
    made["HunyuanVideo, diffusers"] = "hunyuan_video", shapes_of(build("AutoencoderKLHunyuanVideo", {}))
    made["Mochi 1, diffusers"] = "mochi", shapes_of(build("AutoencoderKLMochi", {}))
    shapes = shapes_of(build("AutoencoderKLCogVideoX", {}))
    made["CogVideoX, diffusers"] = "cogvideox", shapes
    made["CogVideoX, original"] = "cogvideox", {cog.original_vae(name): shape for name, shape in shapes.items()}
    return made


FAMILIES = [m.FAMILY for m in (wan, hunyuan_video, ltx_video, mochi, open_sora, cogvideox, videocrafter)]
