"""VAE and VIDEO of the embedded host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from ...base import SoundVAE, VideoVAE
from ..memory import or_in_tiles
from ..pieces import overlapped
from ..upscale import no_statistics
from ..watch import interruptible
from . import machine
from .place import check_interrupt


@dataclass(frozen=True)
class Vae:
    part: VideoVAE
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class AudioVae:
    part: SoundVAE
    device: torch.device
    dtype: torch.dtype


@overload
def vae(part: VideoVAE) -> Vae: ...
@overload
def vae(part: SoundVAE) -> AudioVae: ...
def vae(part: VideoVAE | SoundVAE) -> Vae | AudioVae:
    device, dtype = machine.device(), next(part.vae.parameters()).dtype
    part.vae.to(device)
    return Vae(part, device, dtype) if isinstance(part, VideoVAE) else AudioVae(part, device, dtype)


def latent_channels(vae: Vae) -> int:
    return vae.part.variant.geometry.channels


def clip_frames(vae: Vae, latent: Tensor) -> int:
    return vae.part.variant.geometry.frames(latent.shape[2]) if latent.ndim == 5 else 1


@torch.inference_mode()
def decode(vae: Vae, latent: Tensor) -> Tensor:
    part = vae.part
    if latent.ndim == 4:
        latent = latent.unsqueeze(2)  # one picture
    needed = part.variant.decode_memory((1, *latent.shape[1:]), vae.dtype.itemsize)
    tiled = needed > machine.free_memory(vae.device)
    return torch.cat([_images(_run(part, part.decode, clip[None].to(vae.device, vae.dtype), tiled)) for clip in latent])


def _run(part: VideoVAE, run: Callable[[Tensor], Tensor], tensor: Tensor, tiled: bool = False) -> Tensor:
    """Encode or decode one clip; in tiles if asked for, or where memory runs out, and the VAE can."""
    with interruptible(part.vae, check_interrupt):
        return _run_or_tile(part, run, tensor, tiled)


def _run_or_tile(part: VideoVAE, run: Callable[[Tensor], Tensor], tensor: Tensor, tiled: bool) -> Tensor:
    of: Any = part.vae
    if part.tiles_itself or not hasattr(of, "enable_tiling"):
        return run(tensor)

    def pieces(tiled: bool) -> Iterator[Tensor]:
        if tiled:
            of.enable_tiling()
        try:
            yield run(tensor)
        finally:
            of.disable_tiling()

    ((_, result),) = or_in_tiles(pieces, tiled)
    return result


@torch.inference_mode()
def decode_stream(vae: Vae, latent: Tensor, on_progress: Callable[[int], None] | None = None) -> Iterator[Tensor]:
    part, done = vae.part, 0
    for clip in (latent.unsqueeze(2) if latent.ndim == 4 else latent).split(1):
        if part.streams:
            needed = part.variant.piece_memory(tuple(clip.shape), vae.dtype.itemsize)
            frames = partial(part.decode_frames, clip.to(vae.device, vae.dtype))
            videos = or_in_tiles(frames, needed > machine.free_memory(vae.device))
            pieces = ((n, _images(video)) for n, video in videos)
        else:
            pieces = overlapped(lambda stretch: decode(vae, stretch), clip, part.variant.geometry.frames)
        with interruptible(part.vae, check_interrupt):
            for count, images in pieces:
                check_interrupt()
                if on_progress:
                    on_progress(done + count)
                yield images
        done += clip.shape[2]


def _images(video: Tensor) -> Tensor:
    """[B, 3, F, H, W] in -1..1 -> IMAGE [B * F, H, W, 3] in 0..1, on the CPU."""
    return video.float().cpu().add(1).div_(2).clamp_(0, 1).permute(0, 2, 3, 4, 1).flatten(0, 1)


@dataclass(frozen=True)
class VideoFromFile:
    """VIDEO of the embedded host: a file, named as in ComfyUI."""

    path: Path

    def get_stream_source(self) -> str:
        return str(self.path)


def video(path: Path) -> VideoFromFile:
    return VideoFromFile(path)


@torch.inference_mode()
def encode(vae: Vae, images: Tensor) -> Tensor:
    video = (images[..., :3] * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)
    return _run(vae.part, vae.part.encode, video.to(vae.device, vae.dtype)).float().cpu()


@torch.inference_mode()
def upscale(vae: Vae, network: nn.Module, latent: Tensor) -> Tensor:
    video = vae.part.variant.family.video
    if video is None or video.statistics is None:
        raise no_statistics()
    network.to(vae.device)
    latent = latent.to(vae.device, next(network.parameters()).dtype)
    mean, std = video.statistics(vae.part.vae, latent)
    return ((network(latent * std + mean) - mean) / std).float().cpu()
