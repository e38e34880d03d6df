"""LTX-Video: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

from functools import cache

from opent2v.loaders.weights import build

SIZES = {"2B": {"attention_head_dim": 64, "num_layers": 28, "cross_attention_dim": 2048},
         "13B": {"attention_head_dim": 128, "num_layers": 48, "cross_attention_dim": 4096}}  # fmt: skip
# As scripts/convert_ltx_to_diffusers.py and the published folders have them.
VAES = {
    "0.9.0": {
        "block_out_channels": [128, 256, 512, 512], "decoder_block_out_channels": [128, 256, 512, 512],
        "layers_per_block": [4, 3, 3, 3, 4], "decoder_layers_per_block": [4, 3, 3, 3, 4],
        "spatio_temporal_scaling": [True, True, True, False],
        "decoder_spatio_temporal_scaling": [True, True, True, False], "decoder_inject_noise": [False] * 5,
        "upsample_residual": [False] * 4, "upsample_factor": [1] * 4, "timestep_conditioning": False,
    },
    "0.9.1": {
        "block_out_channels": [128, 256, 512, 512], "decoder_block_out_channels": [256, 512, 1024],
        "layers_per_block": [4, 3, 3, 3, 4], "decoder_layers_per_block": [5, 6, 7, 8],
        "spatio_temporal_scaling": [True, True, True, False], "decoder_spatio_temporal_scaling": [True] * 3,
        "decoder_inject_noise": [True, True, True, False], "upsample_residual": [True] * 3,
        "upsample_factor": [2] * 3, "timestep_conditioning": True,
    },
    "0.9.5": {
        "block_out_channels": [128, 256, 512, 1024, 2048], "decoder_block_out_channels": [256, 512, 1024],
        "down_block_types": ["LTXVideo095DownBlock3D"] * 4, "layers_per_block": [4, 6, 6, 2, 2],
        "decoder_layers_per_block": [5, 5, 5, 5], "spatio_temporal_scaling": [True] * 4,
        "decoder_spatio_temporal_scaling": [True] * 3, "decoder_inject_noise": [False] * 4,
        "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
        "upsample_residual": [True] * 3, "upsample_factor": [2] * 3, "timestep_conditioning": True,
        "spatial_compression_ratio": 32, "temporal_compression_ratio": 8,
    },
}  # fmt: skip


@cache
def vae_shapes(version: str) -> dict[str, tuple[int, ...]]:
    return shapes_of(build("AutoencoderKLLTXVideo", VAES[version]))


def shapes_of(module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def original_transformer(name: str) -> str:
    for theirs, ours in (("proj_in", "patchify_proj"), ("time_embed", "adaln_single")):
        name = ours + name[len(theirs) :] if name.startswith(theirs + ".") else name
    return name.replace(".norm_q.", ".q_norm.").replace(".norm_k.", ".k_norm.")


def original_vae(name: str, version: str) -> str:
    """A diffusers name as Lightricks' files have it: one flat list of blocks."""
    parts = name.replace("resnets.", "res_blocks.").replace("conv_shortcut.conv", "conv_shortcut").split(".")
    if name.startswith("latents_"):
        return f"per_channel_statistics.{name.removeprefix('latents_')}-of-means"
    if parts[1] in ("time_embedder", "scale_shift_table"):
        return ".".join([parts[0], f"last_{parts[1]}", *parts[2:]])
    if parts[1] not in ("down_blocks", "up_blocks", "mid_block"):
        return name
    blocks = "down_blocks" if parts[0] == "encoder" else "up_blocks"
    block = -1 if parts[1] == "mid_block" else int(parts[2])
    rest = parts[2:] if parts[1] == "mid_block" else parts[3:]
    inner = {"downsamplers": "sampler", "upsamplers": "sampler", "conv_out": "widen", "conv_in": "widen"}.get(
        rest[0], ""
    )
    if inner:
        rest = rest[2:] if inner == "sampler" else rest[1:]
    if parts[0] == "encoder" and version == "0.9.5":
        place = 8 if block == -1 else 2 * block + bool(inner)
    elif parts[0] == "encoder":
        place = {-1: 9, 3: 8}.get(block, 3 * block + {"": 0, "sampler": 1, "widen": 2}[inner])
    elif version == "0.9.0":
        place = {-1: 0, 0: 1}.get(block, 3 * block + {"widen": -2, "sampler": -1, "": 0}[inner])
    else:
        place = 0 if block == -1 else 2 * block + (1 if inner else 2)
    if "norm3" in rest:
        rest.insert(rest.index("norm3") + 1, "norm")
    return ".".join([parts[0], blocks, str(place), *rest])


def written(shapes, layout: str, prefix: str = "", version: str = "") -> dict[str, tuple[int, ...]]:
    def name(one: str) -> str:
        if layout == "diffusers":
            return one
        return original_vae(one, version) if version else original_transformer(one)

    return {prefix + name(one): shape for one, shape in shapes.items()}
