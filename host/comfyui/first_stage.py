"""The modules behind the host's VAE: a family's VAE of pictures or of sound, by the calls that the host makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from ...base import FamilyError, SoundVAE, VideoVAE
from ..watch import interruptible
from .place import check_interrupt
from .statistics import Statistics


class FirstStage(nn.Module):
    """The VAE behind the two calls the host makes."""

    opent2v: Any  # the part; a VideoVAE or a SoundVAE, by which calls the stage has

    def __init__(self, part: VideoVAE | SoundVAE):
        super().__init__()
        self.vae = part.vae
        object.__setattr__(self, "opent2v", part)
        family = part.variant.family.video
        if family is not None and family.statistics is not None and isinstance(part, VideoVAE):
            # Read by core's latent upsampler of LTX-2.
            self.per_channel_statistics = Statistics(part.vae, family.statistics)

    def interruptible(self) -> AbstractContextManager[None]:
        """Stops where the user interrupts, in core's nodes too; the host looks for that in its casting layers only."""
        return interruptible(self.vae, check_interrupt)

    def encode(self, video: Tensor, **options: Any) -> Tensor:
        """[B, 3, F, H, W] in -1..1 -> VAE latent; what is beyond the last whole latent pixel is cut off."""
        if isinstance(self.opent2v, VideoVAE):
            # The host's tiles are multiples of 64 pixels, which a VAE of 12 pixels to a latent cannot divide.
            block = self.opent2v.variant.geometry.spatial
            video = video[..., : video.shape[-2] // block * block, : video.shape[-1] // block * block]
        with self.interruptible():
            return self.opent2v.encode(video.to(options.get("device")))

    def decode(self, latent: Tensor, **options: Any) -> Tensor:
        """VAE latent -> [B, 3, F, H, W] in -1..1."""
        with self.interruptible():
            return self.opent2v.decode(latent, options.get("seed", 0))

    def decode_tiled(self, latent: Tensor, **options: Any) -> Tensor:
        """As `decode`, in tiles of its own; called for a VAE that `handles_tiling`."""
        return self.decode(latent)

    def encode_tiled(self, video: Tensor, **options: Any) -> Tensor:
        return self.encode(video)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As `nn.Module`'s; an empty state dict is accepted, because the weights are loaded already."""
        return super().load_state_dict(state_dict, *args, **kwargs) if state_dict else ([], [])


class StreamedStage(FirstStage):
    """A VAE that decodes piece by piece: the host lets it write each into the finished video, apart from the device."""

    comfy_has_chunked_io = True

    def decode_output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        geometry = self.opent2v.variant.geometry
        batch, _, frames, height, width = shape
        return batch, 3, geometry.frames(frames), height * geometry.spatial, width * geometry.spatial

    def decode(self, latent: Tensor, **options: Any) -> Tensor:
        buffer = options.get("output_buffer")
        if buffer is None:
            return super().decode(latent, **options)
        done = 0
        with self.interruptible():
            for piece in self.opent2v.decode_frames(latent):
                buffer[:, :, done : done + piece.shape[2]].copy_(piece)
                done += piece.shape[2]
        return buffer


class SoundStage(FirstStage):
    """An audio VAE behind the calls that the host and core's nodes make."""

    def encode(self, video: Tensor, **options: Any) -> Tensor:
        """Waveform [B, channels, samples] in -1..1 -> VAE latent.

        Raises:
            FamilyError: the family's sounds are not encoded.
        """
        part = self.opent2v
        if not part.encodes:
            raise FamilyError(f"The audio VAE of {part.variant.title} does not encode sounds; it decodes only.")
        with self.interruptible():
            return part.encode(video, options.get("sample_rate", part.input_rate))

    def decode(self, latent: Tensor, **options: Any) -> Tensor:
        """VAE latent -> waveform [B, channels, samples] in -1..1."""
        with self.interruptible():
            return self.opent2v.decode(latent)

    @property
    def output_sample_rate(self) -> int:
        return self.opent2v.rate

    @property
    def latent_frequency_bins(self) -> int:
        """Core's node for an empty latent of LTX-2's sound asks for it; other sounds have no such bins."""
        if self.opent2v.time_axis != 2:
            raise AttributeError("latent_frequency_bins")
        return self.opent2v.latent_shape(1, 1.0)[-1]

    def num_of_latents_from_frames(self, frames_number: int, frame_rate: float) -> int:
        return self.opent2v.latent_shape(frames_number, frame_rate)[self.opent2v.time_axis - 1]
