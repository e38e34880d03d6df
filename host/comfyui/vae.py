"""VAE: the host's class around a family's video VAE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.sd
import torch
from torch import Tensor, nn

from ...base import SoundVAE, Variant, VideoVAE
from ...base.packed import PackedTensor, unpacked
from ..memory import is_out_of_memory, or_in_tiles
from ..pieces import overlapped
from ..watch import interruptible, watched
from .first_stage import FirstStage, SoundStage, StreamedStage
from .ops import move_orphans_on_load
from .patcher import make_reloadable
from .place import blocks_bar, check_interrupt

Vae = comfy.sd.VAE


# With this config the host's constructor does not detect the VAE from a state dict. It builds 0.1 million values, which
# are replaced.
_SMALLEST = {
    "embed_dim": 1,
    "ddconfig": {
        "double_z": True, "z_channels": 1, "resolution": 1, "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1],
        "num_res_blocks": 0, "attn_resolutions": [], "dropout": 0.0,
    },
}  # fmt: skip


class OpenT2VVAE(comfy.sd.VAE):
    """The host's VAE, made by its own constructor, so that attributes of newer hosts are there as well.

    The constructor sets defaults, then `first_stage_model`, then devices, dtype and patcher by what it finds: there the
    family's VAE and geometry take the place of the module that the host would have built.
    """

    def stage(self) -> FirstStage:
        return StreamedStage(self.opent2v) if self.opent2v.streams else FirstStage(self.opent2v)

    def __init__(self, part: VideoVAE | SoundVAE):
        self.__dict__["opent2v"] = part
        super().__init__(sd={}, config={"params": _SMALLEST}, dtype=next(part.vae.parameters()).dtype)

    @property
    def first_stage_model(self) -> nn.Module:
        return self.__dict__["first_stage_model"]

    @first_stage_model.setter
    def first_stage_model(self, module: nn.Module) -> None:
        if "first_stage_model" not in self.__dict__:
            module = self.stage()
            self._fit(self.opent2v.variant)
        self.__dict__["first_stage_model"] = module  # compile nodes of other packs set their module here

    def get_sd(self) -> dict[str, Tensor]:
        """Weights for the host's saving nodes, in diffusers' names, which Load Video VAE reads, dequantised."""
        state = self.opent2v.vae.state_dict()
        return {name: unpacked(w, w.dtype) if isinstance(w, PackedTensor) else w for name, w in state.items()}

    def _fit(self, variant: Variant) -> None:
        """Replace the host's defaults by the family's geometry and memory."""
        geometry = variant.geometry
        spatial, temporal = geometry.spatial, geometry.temporal
        self.handles_tiling = self.opent2v.tiles_itself
        self.memory_used_encode = lambda shape, dtype: variant.encode_memory(shape, mm.dtype_size(dtype))
        self.memory_used_decode = lambda shape, dtype: variant.decode_memory(shape, mm.dtype_size(dtype))
        self.downscale_ratio = (lambda frames: max(0, geometry.latent_frames(frames)), spatial, spatial)
        self.upscale_ratio = (lambda frames: max(0, geometry.frames(frames)), spatial, spatial)
        self.downscale_index_formula = self.upscale_index_formula = (temporal, spatial, spatial)
        self.latent_channels, self.latent_dim, self.output_channels = geometry.channels, 3, 3
        self.conv_out_channels = 3  # as the host sets it for its own Wan VAE
        self.process_input = lambda image: image * 2 - 1
        self.process_output = _unit_range
        # Its layers are not casting layers, so it must be loaded whole.
        self.disable_offload = True


def _unit_range(image: Tensor) -> Tensor:
    """-1..1 -> 0..1, in place and returned: hosts before 0.18 use the returned value, later ones the tensor itself."""
    if image.is_inference() and not torch.is_inference_mode_enabled():
        image = image.clone()  # torch forbids writing to an inference tensor outside of inference mode
    return image.add_(1).div_(2).clamp_(0, 1)


class OpenT2VAudioVAE(OpenT2VVAE):
    """The host's VAE around a family's audio VAE."""

    def stage(self) -> FirstStage:
        return SoundStage(self.opent2v)

    def decode_tiled(self, *args: Any, **kwargs: Any) -> Tensor:
        """The whole sound: a sound is small, and the host's tiles would cut some latents across their frequencies."""
        return self.decode(args[0] if args else kwargs["samples"])

    def _fit(self, variant: Variant) -> None:
        part = self.opent2v
        # A guess, without a measurement; the clips are short.
        self.memory_used_encode = self.memory_used_decode = lambda shape, dtype: (
            1000 * math.prod(shape) * mm.dtype_size(dtype)
        )
        self.latent_channels, self.latent_dim, self.output_channels = part.channels, 2, 2
        self.audio_sample_rate, self.audio_sample_rate_output = part.input_rate, part.rate
        shape = part.latent_shape(variant.defaults.frames, variant.defaults.fps)
        self.extra_1d_channel = shape[2] if len(shape) > 2 else None
        self.process_input = self.process_output = lambda waveform: waveform
        self.crop_input = False  # the host would cut a sound to a multiple of eight samples
        self.disable_offload = True


def vae(part: VideoVAE | SoundVAE) -> comfy.sd.VAE:
    new_vae = OpenT2VVAE(part) if isinstance(part, VideoVAE) else OpenT2VAudioVAE(part)
    make_reloadable(new_vae.patcher, lambda part, _: vae(part).patcher, part.again)
    move_orphans_on_load(new_vae.patcher)
    return new_vae


def latent_channels(vae: comfy.sd.VAE) -> int:
    return vae.latent_channels


def clip_frames(vae: comfy.sd.VAE, latent: Tensor) -> int:
    if latent.ndim == 4:
        return 1
    return vae.upscale_ratio[0](latent.shape[2]) if isinstance(vae.upscale_ratio, tuple) else latent.shape[2]


def decode(vae: comfy.sd.VAE, latent: Tensor) -> Tensor:
    """In tiles of space and time where memory is short."""
    return _decode(vae, latent, blocks_bar("Decoding"))


def _decode(
    vae: comfy.sd.VAE, latent: Tensor, on_block: Callable[[int, int], None] = lambda *_: check_interrupt()
) -> Tensor:
    if latent.ndim == 4 and vae.latent_dim == 3:
        latent = latent.unsqueeze(2)  # one picture
    if latent.ndim == 5 and vae.latent_dim == 2:
        latent = latent.transpose(1, 2).flatten(0, 1)  # a VAE for pictures decodes each frame as a picture
    # memory of one frame; the host batches as many as fit
    needed = vae.memory_used_decode((1, *latent.shape[1:]), vae.vae_dtype)
    can_cut = latent.ndim == 5 and not getattr(vae, "handles_tiling", False)
    part = getattr(vae.first_stage_model, "opent2v", None)
    # A VAE that goes on where the piece before stopped computes all blocks for each latent frame.
    times = latent.shape[2] if part is not None and part.streams and latent.ndim == 5 else 1
    with watched([vae.first_stage_model], on_block, times * len(latent)):
        if can_cut and needed > mm.get_total_memory(vae.device) * 0.9:
            tile = max(4, 256 // vae.spacial_compression_decode())
            images = vae.decode_tiled(latent, tile_x=tile, tile_y=tile, overlap=tile // 4, tile_t=16, overlap_t=4)
        else:
            images = vae.decode(latent)
    return images.flatten(0, 1) if images.ndim == 5 else images


def encode(vae: comfy.sd.VAE, images: Tensor) -> Tensor:
    with watched([vae.first_stage_model], blocks_bar("Encoding")):
        latent = vae.encode(images[..., :3])
    return latent.transpose(0, 1).unsqueeze(0) if vae.latent_dim == 2 else latent


def decode_stream(
    vae: comfy.sd.VAE, latent: Tensor, on_progress: Callable[[int], None] | None = None
) -> Iterator[Tensor]:
    done = 0
    for clip in latent.split(1):
        for count, images in _pieces(vae, clip):
            check_interrupt()
            if on_progress:
                on_progress(done + count)
            yield images
        done += clip.shape[2] if clip.ndim == 5 else 1


def _pieces(vae: comfy.sd.VAE, clip: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(latent frames done, images) of one clip."""
    part = getattr(vae.first_stage_model, "opent2v", None)
    if clip.ndim == 5 and part is not None and part.streams:
        yield from _own_pieces(vae, part, clip)
    elif clip.ndim == 5 and vae.latent_dim == 2:
        for count, frame in enumerate(clip.unbind(2), 1):
            yield count, _decode(vae, frame)
    elif clip.ndim == 5 and isinstance(vae.upscale_ratio, tuple):
        yield from overlapped(lambda stretch: _decode(vae, stretch), clip, vae.upscale_ratio[0])
    else:
        yield 1, _decode(vae, clip)


@torch.inference_mode()
def _own_pieces(vae: comfy.sd.VAE, part: VideoVAE, clip: Tensor) -> Iterator[tuple[int, Tensor]]:
    needed = part.variant.piece_memory(tuple(clip.shape), mm.dtype_size(vae.vae_dtype))
    tiled = needed > mm.get_total_memory(vae.device) * 0.9
    mm.load_models_gpu([vae.patcher], memory_required=needed, force_full_load=vae.disable_offload)
    latent = clip.to(vae.device, vae.vae_dtype)
    with interruptible(part.vae, check_interrupt):
        for done, piece in or_in_tiles(lambda tiled: part.decode_frames(latent, tiled), tiled, _is_out_of_memory):
            # A copy, because the VAE may still need this piece for the next, and the host's function works in place.
            images = piece[0].to(device=vae.output_device, dtype=torch.float32, copy=True)
            yield done, vae.process_output(images).movedim(0, -1)


def _is_out_of_memory(error: Exception) -> bool:
    """The host's own check where it has one (0.17 and newer), which also clears the driver's error."""
    return getattr(mm, "is_oom", is_out_of_memory)(error)


def video(path: Path) -> Any:
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path))
