"""The real models, at their real sizes and without memory, for the key lists of `real_keys.py`."""

from __future__ import annotations

import json
import re
import struct
from functools import cache
from pathlib import Path

import torch

from opent2v.families import families
from opent2v.families.open_sora import files as open_sora_files
from opent2v.host import embedded
from opent2v.loaders.weights import build
from opent2v.tests.loaders.lora import sites
from opent2v.tests.loaders.lora.real_keys import KeyList

WAN = {"attention_head_dim": 128, "freq_dim": 256, "text_dim": 4096, "out_channels": 16}
WAN_14B = WAN | {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
IMAGE = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
# name -> (family, its tiny sites' function with the real depth, class, config)
REAL = {
    "Wan 2.1 T2V 14B": ("wan", sites.wan(40), "WanTransformer3DModel", WAN_14B | {"in_channels": 16}),
    "Wan 2.1 I2V 14B": ("wan", sites.wan(40, pictures=True), "WanTransformer3DModel", WAN_14B | IMAGE),
    "Wan 2.1 T2V 1.3B": (
        "wan", sites.wan(30), "WanTransformer3DModel",
        WAN | {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "in_channels": 16},
    ),
    "Wan 2.2 TI2V 5B": (
        "wan", sites.wan(30), "WanTransformer3DModel",
        WAN | {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48},
    ),
    "HunyuanVideo": ("hunyuan_video", sites.hunyuan_video(20, 40), "HunyuanVideoTransformer3DModel", {
        "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 20, "num_single_layers": 40,
        "guidance_embeds": True, "text_embed_dim": 4096, "pooled_projection_dim": 768,
    }),
    "LTX-Video 2B": ("ltx_video", sites.ltx_video(28), "LTXVideoTransformer3DModel", {"num_layers": 28}),
    "CogVideoX 5B": ("cogvideox", sites.cogvideox(42), "CogVideoXTransformer3DModel", {
        "num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True,
    }),
    "Mochi 1": ("mochi", sites.mochi(48), "MochiTransformer3DModel", {}),
    "Open-Sora 2.0": (
        "open_sora", sites.open_sora(19, 38, 24, 128), "FluxTransformer2DModel", open_sora_files.transformer_config(),
    ),
    "VideoCrafter2": ("videocrafter", sites.videocrafter(2, 4), "UNet3DConditionModel", {
        "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 1024, "attention_head_dim": 64,
    }),
}  # fmt: skip


@cache
def model(name: str):
    """A MODEL of the embedded host at its real size, without memory."""
    from dataclasses import replace

    from opent2v.base import VideoModel
    from opent2v.tests.loaders.lora import models

    family, _, kind, config = REAL[name]
    tiny = models.loaded(family).variant
    with torch.device("meta"):
        module = build(kind, config)
        if extend := families()[family].network.extend:
            extend(tiny, module)
    variant = replace(
        tiny,
        family=families()[family],
        name=name.removeprefix(families()[family].title).strip(),
    )
    return embedded.Model(VideoModel(variant, module, Path(name)), torch.device("cpu"), torch.float32)


@cache
def meta_state(name: str):
    return {k: v.to("meta") for k, v in model(name).part.transformer.state_dict().items()}


@cache
def all_shapes(model_name: str) -> dict[str, tuple[int, ...]]:
    """Every layer's weight shape, by the original's names (ComfyUI's too) and by diffusers'."""
    _, table, *_ = REAL[model_name]
    state = meta_state(model_name)
    known = {k.removesuffix(".weight"): tuple(v.shape) for k, v in state.items() if k.endswith(".weight")}
    for site in (*table.matrices, *([table.conv] if table.conv else [])):
        known[site.original] = tuple(site.weight(state).shape)
    for original, own in table.norms:
        known.setdefault(original, tuple(state[f"{own}.weight"].shape))
    return known


def shapes(listed: KeyList) -> dict[str, tuple[int, ...]]:
    known = dict(all_shapes(listed.model))
    # ComfyUI writes a few of HunyuanVideo's names with points.
    for name, shape in list(known.items()):
        if "_blocks." in name:
            spelled = re.sub(r"_(attn|mod|mlp)[._](qkv|proj|linear|fc1|fc2)$", _with_points, name)
            known[spelled.replace("modulation.linear", "modulation.lin")] = shape
    known["guidance_in.in_layer"] = (3072, 256)
    return known


def _with_points(found: re.Match) -> str:
    return f"_{found[1]}." + {"linear": "lin", "fc1": "0", "fc2": "2"}.get(found[2], found[2])


def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> None:
    """A whole safetensors file whose data are a hole."""
    entries, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
