"""MODEL, CLIP and VAE of the embedded host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import TextEncoder, Variant, VideoModel, VideoVAE
from ...sampling import prediction
from ...sampling.caches import CacheRun, StepCache, cache_runs
from ..fingerprint import of_patches, of_weights
from ..leaves import dtype_keeping_norms, switch_leaves
from ..memory import or_in_tiles
from ..pieces import overlapped
from ..tags import PROMPT_FAMILY
from .changed import Patches, changed
from .place import check_interrupt

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class CastLinear(nn.Linear):
    """Computes in its input's dtype, whatever the weight is stored as."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight.to(input.dtype), _to(self.bias, input.dtype))


class CastConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), _to(self.bias, input.dtype))


class CastConv3d(nn.Conv3d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), _to(self.bias, input.dtype))


class CastLayerNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        weight, bias = _to(self.weight, input.dtype), _to(self.bias, input.dtype)
        return functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class CastGroupNorm(nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:
        weight, bias = _to(self.weight, input.dtype), _to(self.bias, input.dtype)
        return functional.group_norm(input, self.num_groups, weight, bias, self.eps)


class CastRMSNorm(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, _to(self.weight, x.dtype), self.eps)


def _to(weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if weight is None else weight.to(dtype)


LEAVES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: CastLinear,
    nn.Conv2d: CastConv2d,
    nn.Conv3d: CastConv3d,
    nn.LayerNorm: CastLayerNorm,
    nn.GroupNorm: CastGroupNorm,
    nn.RMSNorm: CastRMSNorm,
}


@dataclass(frozen=True)
class Model:
    part: VideoModel
    device: torch.device
    dtype: torch.dtype
    step_cache: Callable[[], CacheRun] | None = None
    patches: Patches = ()

    def changed(self) -> AbstractContextManager[None]:
        """Run with the LoRAs that were applied."""
        return changed({"": self.part.transformer}, self.patches, self.dtype)

    def denoised(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Expected clean latent for x [B, C, T, H, W] at sigma [B], both float32."""
        predicts = prediction(self.part.variant.prediction, self.part.variant.scheduler)
        inputs = predicts.model_input(x, sigma).to(self.dtype)
        output = self.part.predict(inputs, predicts.timestep(sigma), conditions)
        return predicts.clean(x, output.float(), sigma)

    def conditions(self, entry: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Tensor]:
        """The family's conditions, on the device, tensors of three and more dimensions in the computing dtype."""
        return {
            name: value.to(self.device, self.dtype if value.ndim > 2 and value.is_floating_point() else None)
            for name, value in self.part.conditions(entry, shape).items()
        }


@dataclass(frozen=True)
class Clip:
    part: TextEncoder
    device: torch.device
    patches: Patches = ()


@dataclass(frozen=True)
class Vae:
    part: VideoVAE
    device: torch.device
    dtype: torch.dtype


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_dtypes(
    asked: torch.dtype | None, stored: torch.dtype | None, numbers: int = 0
) -> dict[str, torch.dtype | None]:
    """Storage dtypes for the parts, from what the user asked for (None: automatic).

    A CPU computes half precision slowly, so automatic means fp32 there and bf16 on a GPU.
    """
    automatic = torch.float32 if device().type == "cpu" else torch.bfloat16
    return {"model_dtype": asked or automatic, "text_dtype": automatic, "vae_dtype": automatic}


def model(part: VideoModel) -> Model:
    switch_leaves(part.transformer, LEAVES | dtype_keeping_norms()).to(device())
    # The largest weight tells the storage dtype: small layers may be kept in fp32. A CPU computes in fp32 only.
    stored = max(part.transformer.parameters(), key=Tensor.numel).dtype
    computes = torch.bfloat16 if stored in FP8 else stored
    return Model(part, device(), torch.float32 if device().type == "cpu" else computes)


def apply_step_cache(model: Model, settings: StepCache) -> Model:
    """A MODEL whose runs are under a step cache, in place of one that it may have had.

    Raises:
        sampling.SamplingError: TeaCache is asked for and the model has no coefficients.
    """
    return replace(model, step_cache=cache_runs(settings, model.part.variant))


def clip(part: TextEncoder) -> Clip:
    for encoder in part.encoders.values():
        switch_leaves(encoder, LEAVES).to(device())
    return Clip(part, device())


def vae(part: VideoVAE) -> Vae:
    part.vae.to(device())
    return Vae(part, device(), next(part.vae.parameters()).dtype)


def variant(thing: Any) -> Variant | None:
    """What is known about a MODEL, CLIP or VAE."""
    return getattr(getattr(thing, "part", None), "variant", None)


def title(thing: Any) -> str:
    """What a MODEL of the host's own loaders is called: there are none here."""
    return ""


def fingerprint(model: Model) -> tuple[str, str]:
    """(its weights', its LoRAs', "" without)."""
    patches = {
        (n, patch.key, patch.rows): (strength, patch.kind, patch.scale, list(patch.tensors.values()))
        for n, (lora, strength) in enumerate(model.patches)
        for patch in lora
    }
    return of_weights(dict(model.part.transformer.named_parameters())), of_patches(patches)


def latent_channels(vae: Vae) -> int:
    """How many channels the latents have that this VAE decodes."""
    return vae.part.variant.geometry.channels


def clip_frames(vae: Vae, latent: Tensor) -> int:
    """How many frames each clip of LATENT samples decodes to."""
    return vae.part.variant.geometry.frames(latent.shape[2]) if latent.ndim == 5 else 1


def tokens(clip: Clip, text: str) -> tuple[int, int] | None:
    """(tokens that count, tokens in the whole prompt)."""
    ids, whole = clip.part.tokens(text)
    return len(ids[clip.part.variant.prompts[0].slot]), whole


@torch.inference_mode()
def embed(clip: Clip, text: str) -> list[list[Any]]:
    """CONDITIONING for a prompt."""
    ids, _ = clip.part.tokens(text)
    with changed(clip.part.encoders, clip.patches, torch.float32):
        context, further = clip.part.embed(ids, clip.device)
    further = {name: value.cpu() for name, value in further.items()}
    return [[context.cpu(), {"pooled_output": None, **further, PROMPT_FAMILY: clip.part.variant.family.id}]]


@torch.inference_mode()
def decode(vae: Vae, latent: Tensor) -> Tensor:
    """LATENT samples [B, C, T, h, w] -> IMAGE [B * F, H, W, 3] in 0..1, in tiles where memory is short."""
    part = vae.part
    if latent.ndim == 4:
        latent = latent.unsqueeze(2)  # one picture
    needed = part.variant.decode_memory((1, *latent.shape[1:]), vae.dtype.itemsize)
    tiled = needed > free_memory(vae.device)
    return torch.cat([_images(_run(part, part.decode, one[None].to(vae.device, vae.dtype), tiled)) for one in latent])


def _run(part: VideoVAE, run: Callable[[Tensor], Tensor], tensor: Tensor, tiled: bool = False) -> Tensor:
    """Encode or decode one clip; in tiles if asked for, or where memory runs out, and the VAE can."""
    of: Any = part.vae
    if not hasattr(of, "enable_tiling"):
        return run(tensor)

    def pieces(tiled: bool) -> Iterator[Tensor]:
        if tiled:
            of.enable_tiling()
        try:
            yield run(tensor)
        finally:
            of.disable_tiling()

    ((_, made),) = or_in_tiles(pieces, tiled)
    return made


@torch.inference_mode()
def decode_stream(vae: Vae, latent: Tensor, on_progress: Callable[[int], None] | None = None) -> Iterator[Tensor]:
    """LATENT samples -> pieces of what `decode` returns, [n, H, W, 3] in 0..1; one piece is in memory at a time.

    Args:
        on_progress: called with the latent frames decoded so far, over all clips of a batch.
    """
    part, done = vae.part, 0
    for clip in (latent.unsqueeze(2) if latent.ndim == 4 else latent).split(1):
        if part.streams:
            needed = part.variant.decode_memory((*clip.shape[:2], 1, *clip.shape[3:]), vae.dtype.itemsize)
            frames = partial(part.decode_frames, clip.to(vae.device, vae.dtype))
            videos = or_in_tiles(frames, needed > free_memory(vae.device))
            pieces = ((n, _images(video)) for n, video in videos)
        else:
            pieces = overlapped(lambda stretch: decode(vae, stretch), clip, part.variant.geometry.frames)
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
    """A VIDEO that is read from its file when it is asked for."""
    return VideoFromFile(path)


@torch.inference_mode()
def encode(vae: Vae, images: Tensor) -> Tensor:
    """IMAGE [F, H, W, 3] in 0..1, one video -> LATENT samples [1, C, T, h, w]."""
    video = (images[..., :3] * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)
    return _run(vae.part, vae.part.encode, video.to(vae.device, vae.dtype)).float().cpu()


def free_memory(device: torch.device) -> float:
    """Free bytes on the device; infinite where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import os

    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return float("inf")
