"""Tiny VAEs and text encoders of MiniMax H3 for both loaders, core's and ours. In ComfyUI's Python."""

from __future__ import annotations

import importlib.util
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.sd
import comfy.utils
import folder_paths
import torch
from boot import scratch
from safetensors.torch import save_file

from opent2v.base import VideoModel
from opent2v.families.minimax_h3 import FAMILY
from opent2v.families.minimax_h3.versions import of_parts
from opent2v.host import host
from opent2v.loaders import load_text, open_text_files
from opent2v.loaders.single import load_sound_vae, load_vae, open_file
from opent2v.nodes.load_text import find_tokenizer
from opent2v.tests.tiny import minimax_h3_parts as tiny
from opent2v.tests.tiny import packed

FOLDER = scratch()
HAS_H3 = importlib.util.find_spec("comfy.ldm.minimax") is not None  # not in ComfyUI 0.8.0
for kind in ("diffusion_models", "vae", "text_encoders"):
    folder_paths.add_model_folder_path(kind, str(FOLDER))
folder_paths.set_output_directory(str(FOLDER / "output"))


def saved(name: str, weights: dict[str, torch.Tensor]) -> Path:
    path = FOLDER / name
    if not path.exists():
        save_file({n: w.contiguous() for n, w in weights.items()}, path)
    return path


def video_vae_file() -> Path:
    return saved("video_vae.safetensors", tiny.original_video_vae(tiny.video_vae()))


def sound_vae_file() -> Path:
    return saved("audio_vae.safetensors", tiny.plain_sound_vae())


def cores_video_vae(path: Path) -> Any:
    """The VAE of core's Load VAE, whose classes are built in this size."""
    import comfy.ldm.minimax.vae as video

    sizes, widths = tiny.VIDEO_VAE, tiny.VIDEO_VAE["block_out_channels"]
    decoder = partial(
        video.ViT3DDecoder, num_layers=sizes["decoder_num_layers"], heads=sizes["decoder_num_attention_heads"]
    )
    whole = partial(
        video.MiniMaxH3VideoVAE, ch=widths[0], ch_mult=[width // widths[0] for width in widths],
        num_res_blocks=sizes["layers_per_block"],
    )  # fmt: skip
    with patch.object(video, "ViT3DDecoder", decoder), patch.object(video, "MiniMaxH3VideoVAE", whole):
        return comfy.sd.VAE(comfy.utils.load_torch_file(str(path)), dtype=torch.float32)


def cores_sound_vae(path: Path) -> Any:
    import comfy.ldm.minimax.audio_vae as audio

    sizes = tiny.SOUND_VAE
    whole = partial(
        audio.MiniMaxH3AudioVAE, encoder_dim=sizes["encoder_dim"], latent_dim=sizes["latent_dim"],
        decoder_dim=sizes["decoder_dim"],
    )  # fmt: skip
    with patch.object(audio, "MiniMaxH3AudioVAE", whole):
        return comfy.sd.VAE(comfy.utils.load_torch_file(str(path)), dtype=torch.float32)


@cache
def video_vaes(side: Any = host) -> tuple[Any, Any]:
    """(core's, ours)"""
    path = video_vae_file()
    return (cores_video_vae(path) if HAS_H3 else None), side.vae(load_vae(open_file(path), torch.float32))


@cache
def sound_vaes(side: Any = host) -> tuple[Any, Any]:
    path = sound_vae_file()
    return (cores_sound_vae(path) if HAS_H3 else None), side.vae(load_sound_vae(open_file(path), torch.float32))


def packed_file(name: str, weights: dict[str, torch.Tensor], kind: str, inside: str) -> Path:
    """A file whose layers with `inside` in their names are stored in a format, and one of the numbers it stands for."""
    path = FOLDER / f"{name}-{kind}.safetensors"
    if not path.exists():
        exact = packed.write(path, weights, lambda layer: kind if inside in layer else "")
        saved(f"{name}-{kind}-exact.safetensors", exact)
    return path


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(frames: int, height: int = 64, width: int = 96, seed: int = 1) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def encoder_file() -> Path:
    return saved("encoder.safetensors", tiny.encoder())


def variant() -> Any:
    """MiniMax H3 of this width."""
    return of_parts(FAMILY, tiny.WIDTH)


@cache
def our_model() -> Any:
    """A MODEL that tells its variant; these cases never sample it."""
    return host.model(VideoModel(variant(), torch.nn.Linear(1, 1), FOLDER))


@cache
def our_clip(side: Any = host) -> Any:
    part = load_text(open_text_files(encoder_file()), variant(), torch.float32, find_tokenizer)
    return side.clip(part)


@cache
def cores_clip() -> Any:
    """The CLIP of core's Load CLIP, whose classes are built in this size."""
    from comfy.text_encoders import qwen3vl

    published = qwen3vl.Qwen3VL_32BConfig
    small = partial(published, vocab_size=tiny.VOCABULARY, **tiny.LANGUAGE)
    tower = {**qwen3vl.QWEN3VL_VISION["qwen3vl_32b"], **tiny.VISION}
    weights = comfy.utils.load_torch_file(str(encoder_file()))
    with (
        patch.dict(qwen3vl.QWEN3VL_CONFIGS, {"qwen3vl_32b": small}),
        patch.dict(qwen3vl.QWEN3VL_VISION, {"qwen3vl_32b": tower}),
        patch.object(comfy.sd, "detect_te_model", lambda *_, **__: comfy.sd.TEModel.QWEN3VL_32B),
    ):
        return comfy.sd.load_text_encoder_state_dicts(
            [weights], clip_type=comfy.sd.CLIPType.MINIMAX, model_options={"dtype": torch.float32}
        )
