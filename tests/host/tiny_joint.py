"""Tiny random LTX-2 and MiniMax H3, made through ComfyUI's own loaders. For `cases_joint.py`, in ComfyUI's Python."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.sd
import folder_paths
import torch
from boot import call, scratch
from comfy.ldm.lightricks.av_model import LTXAVModel
from safetensors.torch import save_file

FOLDER = scratch()
folder_paths.add_model_folder_path("diffusion_models", str(FOLDER))
folder_paths.add_model_folder_path("loras", str(FOLDER))
folder_paths.add_model_folder_path("checkpoints", str(FOLDER))
HEADS, DIM, SOUND_DIM, CAPTION = 4, 32, 16, 60
_BASE = {
    "in_channels": 128, "audio_in_channels": 128, "cross_attention_dim": HEADS * DIM,
    "audio_cross_attention_dim": HEADS * SOUND_DIM, "attention_head_dim": DIM, "audio_attention_head_dim": SOUND_DIM,
    "num_attention_heads": HEADS, "audio_num_attention_heads": HEADS, "num_layers": 3,
    "positional_embedding_theta": 10000.0, "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20], "causal_temporal_positioning": True, "use_middle_indices_grid": True,
    "timestep_scale_multiplier": 1000, "av_ca_timestep_scale_multiplier": 1000.0, "caption_channels": CAPTION,
}  # fmt: skip
_NEWER = {
    "rope_type": "split", "frequencies_precision": "float64", "connector_attention_head_dim": DIM,
    "connector_num_attention_heads": HEADS, "audio_connector_attention_head_dim": SOUND_DIM,
    "audio_connector_num_attention_heads": HEADS, "connector_num_layers": 3, "apply_gated_attention": True,
    "cross_attention_adaln": True, "caption_proj_before_connector": True, "caption_projection_first_linear": False,
    "connector_apply_gated_attention": True,
}  # fmt: skip
# The published flags of each version; 0.8.0 knows the first only, without connectors.
LTX2: dict[str, dict[str, Any]] = {
    "2.0": {
        **_BASE, "rope_type": "split", "frequencies_precision": "float64", "connector_attention_head_dim": 20,
        "connector_num_attention_heads": 3, "connector_num_layers": 2,
    },
    "2.3": {**_BASE, **_NEWER},
    "2.5": {**_BASE, **_NEWER, "ff_bias": False, "audio_ff_bias": True, "use_keyframes_abs_pos_embedding": True},
}  # fmt: skip
H3 = {
    "hidden_size": 48, "num_layers": 3, "token_refiner_num_layers": 1, "num_attention_heads": 4,
    "attention_head_dim": 32, "ffn_hidden_size": 64, "latents_dim": 24, "audio_latents_dim": 32, "text_dim": 40,
    "timestep_input_dim": 256, "time_embed_hidden_size": 32, "time_embed_dim": 24, "rope_inv_freq_len": 4,
}  # fmt: skip


def has_connectors() -> bool:
    """Whether this ComfyUI knows LTX-2 as of 2.3, with the connectors inside the MODEL."""
    return hasattr(LTXAVModel, "preprocess_text_embeds")


def versions() -> list[str]:
    return list(LTX2) if has_connectors() else ["2.0"]


def has_h3() -> bool:
    return hasattr(comfy.model_base, "MiniMaxH3")


def randomised(module: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Its weights, drawn so that nothing explodes or vanishes."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, weight: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(weight.shape, generator=generator)
        if name.endswith("norm.weight"):
            return 1 + 0.2 * noise
        is_matrix = weight.ndim > 1 and not any(word in name for word in ("table", "registers", "keyframes"))
        return noise / weight[0].numel() ** 0.5 if is_matrix else 0.3 * noise

    return {name: drawn(name, weight) for name, weight in module.state_dict().items()}


@functools.cache
def ltx2_file(version: str) -> Path:
    module = LTXAVModel(dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init, **LTX2[version])
    return _saved(f"ltx2_{version}", randomised(module), {"transformer": LTX2[version]})


@functools.cache
def h3_file() -> Path:
    from comfy.ldm.minimax.model import MiniMaxH3Model

    module = MiniMaxH3Model(dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init, **H3)
    weights = randomised(module)
    weights["rope.inv_freq"] = 10000 ** -(torch.arange(0, 8, 2).float() / 8)
    return _saved("minimax_h3", weights)


def _saved(name: str, weights: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    path = FOLDER / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path, {"config": json.dumps(config)} if config else None)
    return path


_BLOCKS = {
    "encoder_blocks": [
        ["res_x", {"num_layers": 1}], ["compress_space_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}],
        ["compress_time_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}],
    ],
    "decoder_blocks": [
        *[["res_x", {"num_layers": 1}], ["compress_all", {"residual": True, "multiplier": 2}]] * 3,
        ["res_x", {"num_layers": 1}],
    ],
}  # fmt: skip
_VIDEO_VAE = {
    **_BLOCKS, "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 128, "norm_layer": "pixel_norm",
    "patch_size": 4, "latent_log_var": "uniform", "causal_decoder": False, "timestep_conditioning": False,
    "decoder_base_channels": 16,
}  # fmt: skip
_AUDIO_VAE = {
    "model": {"params": {"sampling_rate": 16000, "ddconfig": {
        "double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "downsample_time": False,
        "in_channels": 2, "out_ch": 2, "ch": 128, "ch_mult": [1, 1, 1], "num_res_blocks": 1,
        "attn_resolutions": [], "dropout": 0.0, "mid_block_add_attention": False, "norm_type": "pixel",
        "causality_axis": "height",
    }}},
    "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160}},
}  # fmt: skip
_VOCODER = {
    "resblock_kernel_sizes": [3, 7, 11], "upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [16, 15, 8, 4, 4],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3, "upsample_initial_channel": 64, "stereo": True, "resblock": "1",
    "output_sample_rate": 24000,
}  # fmt: skip


def _vae_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    weights = randomised(module, 4)
    for name, weight in module.state_dict().items():
        if "std" in name.rsplit(".", 1)[-1]:
            weights[name] = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) + 0.5
        elif "filter" in name or "basis" in name:
            weights[name] = weight.clone().nan_to_num(0.01)
    return weights


@functools.cache
def video_vae() -> Any:
    """LTX-2's VAE for pictures, 8 frames and 32 x 32 pixels to a latent."""
    from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

    weights = _vae_weights(VideoVAE(config=_VIDEO_VAE))
    return comfy.sd.VAE(sd=weights, metadata={"config": json.dumps({"vae": _VIDEO_VAE})})


@functools.cache
def audio_vae() -> Any:
    """LTX-2's VAE for sound, as this ComfyUI's loader hands it out."""
    from comfy.ldm.lightricks.vae.audio_vae import AudioVAE

    config = {"audio_vae": _AUDIO_VAE, "vocoder": _VOCODER}
    if has_connectors():
        weights = _vae_weights(AudioVAE({"config": config}))
        weights = {name.replace("autoencoder.", "audio_vae.", 1): weight for name, weight in weights.items()}
    else:
        both = AudioVAE({}, {"config": json.dumps(config)})
        parts = {"audio_vae": both.autoencoder, "vocoder": both.vocoder}
        weights = {f"{part}.{n}": w for part, module in parts.items() for n, w in _vae_weights(module).items()}
    path = FOLDER / "ltx2_audio.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path, {"config": json.dumps(config)})
    return call("LTXVAudioVAELoader", ckpt_name=path.name)


@functools.cache
def h3_vae() -> Any:
    """MiniMax H3's VAE for pictures, with small layers in the place of its 2.6 billion weights."""
    import comfy.ldm.minimax.vae as source

    small = functools.partial(source.ViT3DDecoder, num_layers=1, heads=1)
    with patch.object(source, "ViT3DDecoder", small):
        build = functools.partial(source.MiniMaxH3VideoVAE, ch=32)
        with patch.object(source, "MiniMaxH3VideoVAE", build):
            return comfy.sd.VAE(sd=_vae_weights(build(operations=comfy.ops.disable_weight_init)))


@functools.cache
def h3_audio_vae() -> Any:
    import comfy.ldm.minimax.audio_vae as source

    build = functools.partial(source.MiniMaxH3AudioVAE, encoder_dim=8, latent_dim=64, decoder_dim=256)
    with patch.object(source, "MiniMaxH3AudioVAE", build):
        return comfy.sd.VAE(sd=_vae_weights(build()))


def model(kind: str) -> Any:
    """The MODEL of "2.0", "2.3", "2.5" or "h3", of ComfyUI's Load Diffusion Model, in fp32."""
    path = h3_file() if kind == "h3" else ltx2_file(kind)
    loaded = call("UNETLoader", unet_name=path.name, weight_dtype="default")
    assert next(loaded.model.diffusion_model.parameters()).dtype == torch.float32
    return loaded


def prompts(kind: str) -> list[Any]:
    """Positive and negative CONDITIONING of the model's own text encoder's width, of different lengths."""
    generator = torch.Generator().manual_seed(1)
    further: dict[str, Any] = {}
    width = {"2.0": CAPTION, "h3": H3["text_dim"]}.get(kind, HEADS * (DIM + SOUND_DIM))
    if kind == "2.0" and not has_connectors():
        width *= 2  # 0.8.0's CLIP prepares them
    elif kind != "h3":
        further = {"unprocessed_ltxav_embeds": True}
    lengths = (21, 21) if width == 2 * CAPTION else (21, 9)
    return [[[torch.randn(1, n, width, generator=generator), dict(further)]] for n in lengths]
