"""Tiny LTX-2 files for both loaders, core's and ours. In ComfyUI's Python."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.nested_tensor
import folder_paths
import torch
from boot import call, scratch
from safetensors.torch import save_file

from opent2v.families.ltx2.network import Arithmetic
from opent2v.host import host
from opent2v.loaders import load_text, open_text_files
from opent2v.loaders.single import load_model, load_sound_vae, load_vae, open_file
from opent2v.tests.tiny import ltx2 as tiny

FOLDER = scratch()
for kind in ("diffusion_models", "checkpoints", "vae", "text_encoders", "loras", "latent_upscale_models"):
    folder_paths.add_model_folder_path(kind, str(FOLDER))
folder_paths.set_output_directory(str(FOLDER / "output"))


def core_config(version: str) -> dict[str, Any]:
    """What a published file's metadata say of the transformer, in this size."""
    config, variant = tiny.variant_of(version)
    connectors = variant.facts["connectors"]
    video, sound = connectors["video_connector"], connectors["audio_connector"]
    return {
        **{
            name: config[name]
            for name in (
                "in_channels", "audio_in_channels", "num_attention_heads", "attention_head_dim", "cross_attention_dim",
                "audio_num_attention_heads", "audio_attention_head_dim", "audio_cross_attention_dim", "num_layers",
            )
        },
        "caption_channels": tiny.CAPTION, "positional_embedding_theta": 10000.0,
        "positional_embedding_max_pos": [20, 2048, 2048], "audio_positional_embedding_max_pos": [20],
        "causal_temporal_positioning": True, "use_middle_indices_grid": True, "timestep_scale_multiplier": 1000,
        "av_ca_timestep_scale_multiplier": 1000.0, "rope_type": "split", "frequencies_precision": "float64",
        "connector_num_attention_heads": video["num_attention_heads"],
        "connector_attention_head_dim": video["attention_head_dim"], "connector_num_layers": video["num_layers"],
        **({} if version == "2.0" else {
            "audio_connector_num_attention_heads": sound["num_attention_heads"],
            "audio_connector_attention_head_dim": sound["attention_head_dim"], "apply_gated_attention": True,
            "cross_attention_adaln": True, "caption_proj_before_connector": True,
            "caption_projection_first_linear": False, "connector_apply_gated_attention": True,
        }),
        **({} if version != "2.5" else {
            "ff_bias": False, "audio_ff_bias": True, "use_keyframes_abs_pos_embedding": True,
        }),
    }  # fmt: skip


@functools.cache
def transformer_file(version: str) -> Path:
    path = FOLDER / f"ltx-{version}.safetensors"
    weights = tiny.originals(tiny.transformer(version), tiny.PREFIX)
    save_file(weights, path, {"config": json.dumps({"transformer": core_config(version)})})
    return path


@functools.cache
def cores(version: str) -> Any:
    """The MODEL of core's Load Diffusion Model."""
    return call("UNETLoader", unet_name=transformer_file(version).name, weight_dtype="default")


@functools.cache
def ours(version: str, arithmetic: Arithmetic, side: Any = host) -> Any:
    """The MODEL of our loader, with one of the published implementations' arithmetic."""
    file = open_file(transformer_file(version))
    part = file.parts["transformer"]
    variant = replace(part.variant, facts={**part.variant.facts, "arithmetic": arithmetic})
    return side.model(load_model(replace(file, parts={"transformer": replace(part, variant=variant)}), torch.float32))


def width(version: str) -> int:
    return tiny.variant_of(version)[1].context_width


def conditioning(version: str, tokens: int, seed: int, **further: Any) -> list[list[Any]]:
    """A CONDITIONING as core's CLIP makes it."""
    context = torch.randn(1, tokens, width(version), generator=torch.Generator().manual_seed(seed))
    return [[context, {"unprocessed_ltxav_embeds": True, "frame_rate": 24.0, **further}]]


def nested(*streams: torch.Tensor) -> Any:
    return comfy.nested_tensor.NestedTensor(streams)


def saved(name: str, weights: dict[str, torch.Tensor], **config: Any) -> Path:
    """A file in all of ComfyUI's folders."""
    path = FOLDER / name
    if not path.exists():
        save_file({n: w.contiguous() for n, w in weights.items()}, path, {"config": json.dumps(config)})
    return path


def text_files(version: str) -> tuple[Path, ...]:
    """Gemma and projection, in one file or in two."""
    if version == "2.5":
        return (saved("gemma4.safetensors", tiny.gemma4()),)
    gemma = saved("gemma.safetensors", tiny.gemma())
    return gemma, saved(f"projection-{version}.safetensors", tiny.projection(version))


@functools.cache
def our_clip(version: str, side: Any = host) -> Any:
    files = [file for path in text_files(version) for file in open_text_files(path)]
    return side.clip(load_text(files, tiny.variant_of(version)[1], torch.float32, lambda _: None))


def cores_embedding(version: str, ids: list[int]) -> tuple[torch.Tensor, dict[str, Any]]:
    """What core's CLIP makes of these tokens."""
    from comfy.text_encoders import llama, lt

    if version == "2.5":
        return _cores_gemma4(ids)
    plain = llama.Gemma3_12B_Config
    sizes = {name: value for name, value in tiny.GEMMA.items() if name != "head_dim"}

    def config(**_: Any) -> Any:
        small = plain(**sizes)
        small.head_dim = tiny.GEMMA["head_dim"]
        return small

    projection = {name: tensor.clone() for name, tensor in tiny.projection(version).items()}
    with patch.object(llama, "Gemma3_12B_Config", config):
        model = lt.ltxav_te(torch.float32, **lt.sd_detect([projection]))(device="cpu", dtype=torch.float32)
    weights = {name: tensor for name, tensor in tiny.gemma().items() if name != "spiece_model"}
    missing, unexpected = model.load_sd({**weights, **projection})
    assert not unexpected and not [name for name in missing if "vision" not in name and "projector" not in name], (
        missing
    )
    padded = [0] * (1024 - len(ids)) + ids
    model.set_clip_options({"execution_device": torch.device("cpu")})
    with torch.no_grad():
        context, _, further = model.encode_token_weights({"gemma3_12b": [[(token, 1.0) for token in padded]]})
    return context, further


def cores_tokens(text: str) -> list[int]:
    """The ids of a prompt by core's tokenizer of 2.5, without its padding."""
    from comfy.text_encoders import gemma4, lt

    kind = lt.ltxav_gemma4_tokenizer(gemma4.Gemma4_12B.tokenizer)
    tokenizer = kind(tokenizer_data={"tokenizer_json": tiny.gemma4()["tokenizer_json"]})
    (row,) = tokenizer.tokenize_with_weights(text)["gemma4"]
    assert len(row) == 1024
    return [int(token) for token, *_ in row if token != 0]


def _cores_gemma4(ids: list[int]) -> tuple[torch.Tensor, dict[str, Any]]:
    from comfy.text_encoders import gemma4, lt

    kept = "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"
    plain, sizes = gemma4.Gemma4_12B_Config, {**{name: tiny.GEMMA4[name] for name in kept}, "num_key_value_heads": 2}

    def config(**_: Any) -> Any:
        small = plain(**sizes)
        for name in ("head_dim", "num_global_key_value_heads"):
            setattr(small, name, tiny.GEMMA4[name])
        small.global_head_dim = tiny.GEMMA4["global_head_dim"]
        return small

    weights = {name: tensor.clone() for name, tensor in tiny.gemma4().items() if name != "tokenizer_json"}
    kind = gemma4.gemma4_text_encoder_model(gemma4.Gemma4_12B)
    with patch.object(gemma4, "Gemma4_12B_Config", config):
        make = lt.ltxav_te(torch.float32, **lt.sd_detect([weights]), text_encoder_model=kind, text_encoder_key="gemma4")
        model = make(device="cpu", dtype=torch.float32)
    left_out = ("vision_model", "multi_modal_projector", "audio_projector")
    missing, _ = model.load_sd({name: tensor for name, tensor in weights.items() if not name.startswith(left_out)})
    assert not [name for name in missing if not name.startswith(left_out) and "suppress" not in name], missing
    padded = [0] * (1024 - len(ids)) + ids
    model.set_clip_options({"execution_device": torch.device("cpu")})
    with torch.no_grad():
        context, _, further = model.encode_token_weights({"gemma4": [[(token, 1.0) for token in padded]]})
    return context, further


@functools.cache
def cores_upscaler(kind: str) -> Any:
    """The LATENT_UPSCALE_MODEL of core's loader; the file serves our node too."""
    plain = tiny.UPSCALER | tiny.UPSCALERS[kind]
    ratio, rational = plain.pop("rational_spatial_scale", 2.0), plain.pop("use_rational_resampler")
    settings = plain | {"spatial_scale": ratio, "rational_resampler": rational}
    path = FOLDER / f"{kind}.safetensors"
    save_file({n: w.contiguous() for n, w in tiny.upscaler(kind).items()}, path, {"config": json.dumps(settings)})
    return call("LatentUpscaleModelLoader", model_name=path.name)


def _blocks(*names: tuple[str, dict[str, Any]]) -> list[Any]:
    """Blocks of a decoder with layers between the up- or downsamplers."""
    blocks: list[Any] = [["res_x", {"num_layers": 1}]]
    for n, (name, settings) in enumerate(names):
        blocks += [[name, settings], ["res_x", {"num_layers": 2 if n == 0 else 1}]]
    return blocks


_VIDEO = {
    "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 128, "norm_layer": "pixel_norm",
    "patch_size": 4, "latent_log_var": "uniform", "causal_decoder": False, "timestep_conditioning": False,
    "decoder_base_channels": 16, "encoder_base_channels": 128,
    "encoder_blocks": _blocks(
        ("compress_space_res", {"multiplier": 1}), ("compress_time_res", {"multiplier": 1}),
        ("compress_all_res", {"multiplier": 2}), ("compress_all_res", {"multiplier": 1}),
    ),
}  # fmt: skip
VIDEO_VAES = {
    "2.0": _VIDEO | {"decoder_blocks": _blocks(*[("compress_all", {"residual": True, "multiplier": 2})] * 3)},
    "2.3": _VIDEO | {
        "decoder_blocks": _blocks(
            ("compress_space", {"multiplier": 2}), ("compress_time", {"multiplier": 2}),
            ("compress_all", {"multiplier": 1}), ("compress_all", {"multiplier": 2}),
        ),
        "spatial_padding_mode": "zeros",
    },
}  # fmt: skip
_SOUND = {
    "model": {"params": {"sampling_rate": 16000, "ddconfig": {
        "double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "downsample_time": False,
        "in_channels": 2, "out_ch": 2, "ch": 128, "ch_mult": [1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0, "mid_block_add_attention": False, "norm_type": "pixel", "causality_axis": "height",
    }}},
    "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160}},
}  # fmt: skip
_PASS = {"resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3, "stereo": True}
_WIDE = _PASS | {
    "resblock": "AMP1", "activation": "snakebeta", "use_bias_at_final": False, "use_tanh_at_final": False,
}  # fmt: skip
VOCODERS = {
    "2.0": _PASS | {
        "upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [16, 15, 8, 4, 4], "upsample_initial_channel": 64,
        "resblock": "1", "output_sample_rate": 24000,
    },
    "2.3": {
        "vocoder": _WIDE | {
            "upsample_rates": [5, 2, 2, 2, 2, 2], "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4],
            "upsample_initial_channel": 128,
        },
        "bwe": _WIDE | {
            "upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [12, 11, 4, 4, 4],
            "upsample_initial_channel": 64, "input_sampling_rate": 16000, "output_sampling_rate": 48000,
            "hop_length": 80, "n_fft": 512, "num_mels": 64,
        },
    },
}  # fmt: skip


def _drawn(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights for a VAE of core's, drawn so that nothing explodes; filters stay."""
    generator = torch.Generator().manual_seed(4)
    weights = {}
    for name, weight in module.state_dict().items():
        leaf = name.rsplit(".", 1)[-1]
        if "std-of-means" in name or "mel_basis" in leaf:
            weights[name] = torch.rand(weight.shape, generator=generator) * (0.05 if "mel" in leaf else 1) + (
                0.0 if "mel" in leaf else 0.5
            )
        elif "filter" in leaf:
            weights[name] = weight
        else:
            noise = torch.randn(weight.shape, generator=generator)
            weights[name] = noise / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1 * noise
    return {name: weight.nan_to_num(0.01).contiguous() for name, weight in weights.items()}


@functools.cache
def video_vae_file(kind: str) -> Path:
    from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

    return saved(f"video-{kind}.safetensors", _drawn(VideoVAE(config=VIDEO_VAES[kind])), vae=VIDEO_VAES[kind])


@functools.cache
def sound_vae_file(kind: str) -> Path:
    from comfy.ldm.lightricks.vae.audio_vae import AudioVAE

    config = {"audio_vae": _SOUND, "vocoder": VOCODERS[kind]}
    weights = {n.replace("autoencoder.", "audio_vae.", 1): w for n, w in _drawn(AudioVAE({"config": config})).items()}
    return saved(f"sound-{kind}.safetensors", weights, **config)


@functools.cache
def cores_vae(path: Path) -> Any:
    """The VAE of core's loaders."""
    loader = "LTXVAudioVAELoader" if path.name.startswith("sound") else "VAELoader"
    return call(loader, **{"ckpt_name" if loader.startswith("LTX") else "vae_name": path.name})


@functools.cache
def our_vae(path: Path, side: Any = host) -> Any:
    load = load_sound_vae if path.name.startswith("sound") else load_vae
    return side.vae(load(open_file(path), torch.float32))
