"""Tiny VAEs and text encoders of MiniMax H3 for both loaders, core's and ours. In ComfyUI's Python."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.ldm.minimax.audio_vae as audio
import comfy.ldm.minimax.vae as video
import comfy.sd
import comfy.utils
import folder_paths
import torch
from boot import scratch
from safetensors.torch import save_file

from opent2v.host import host
from opent2v.loaders.single import load_sound_vae, load_vae, open_file
from opent2v.tests.tiny import minimax_h3_parts as tiny

FOLDER = scratch()
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
    return cores_video_vae(path), side.vae(load_vae(open_file(path), torch.float32))


@cache
def sound_vaes(side: Any = host) -> tuple[Any, Any]:
    path = sound_vae_file()
    return cores_sound_vae(path), side.vae(load_sound_vae(open_file(path), torch.float32))


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(frames: int, height: int = 64, width: int = 96, seed: int = 1) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))
