"""How pixels and frames fold into latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import FamilyError

# No machine has the memory for attention over more tokens; the 720p default of a 14 billion model is 75,600 tokens.
MAX_TOKENS = 2**22


@dataclass(frozen=True)
class Geometry:
    """How pixels fold into latents and tokens.

    Attributes:
        channels: latent channels.
        temporal: video frames per latent frame; the first latent frame holds one frame (temporal * n + 1 frames).
        spatial: pixels per latent pixel, along each side.
        patch: latent pixels per token, along each side.
        max_positions: longest axis the position embedding knows, in tokens (or latent frames).
        patch_frames: latent frames per token. If the length is no multiple of it, padding frames are put in front
            while sampling and removed afterwards: LATENTs never hold them.
        group: latent frames that the VAE was trained to decode at once: lengths are temporal * group * n + 1.
        only: the only (width, height, frames) the model can make, or None.
    """

    channels: int
    temporal: int
    spatial: int
    patch: int = 2
    max_positions: int = 1024
    patch_frames: int = 1
    group: int = 1
    only: tuple[int, int, int] | None = None

    @property
    def multiple(self) -> int:
        """Width and height are multiples of this many pixels."""
        return self.spatial * self.patch

    @property
    def frame_step(self) -> int:
        """Lengths are multiples of this many frames, and 1."""
        return self.temporal * self.group

    @property
    def max_size(self) -> int:
        """Largest width or height in pixels."""
        return self.max_positions * self.multiple

    @property
    def frame_rule(self) -> str:
        """The legal lengths, in the user's words; "" where every length is legal."""
        return f"{self.frame_step}n + 1" if self.frame_step > 1 else ""

    @property
    def max_frames(self) -> int:
        return self.frames(self.max_positions)

    def nearest(self, frames: int) -> int:
        """The nearest length that the model can make; halves go up."""
        return int((frames - 1) / self.frame_step + 0.5) * self.frame_step + 1

    def legal(self, width: int, height: int, frames: int) -> tuple[int, int, int]:
        """The nearest (width, height, frames) the model can make; halves round up.

        Raises:
            FamilyError: a side or the frame count is not positive or beyond the position embedding, all of it together
                is more than `MAX_TOKENS`, or the model makes one size only and this is another.
        """
        if self.only is not None and (width, height, frames) != self.only:
            asked, only = (f"{w} x {h} pixels with {n} frames" for w, h, n in ((width, height, frames), self.only))
            raise FamilyError(f"{asked} are asked for; this model makes only {only}. 0 means the model's own.")
        for name, value, limit, unit in (
            ("width", width, self.max_size, "pixels"),
            ("height", height, self.max_size, "pixels"),
            ("frames", frames, self.max_frames, "frames"),
        ):
            if not 1 <= value <= limit:
                raise FamilyError(f"{name} is {value}; this model takes 1 to {limit} {unit}. 0 means the model's own.")

        def side(pixels: int) -> int:
            return max(1, int(pixels / self.multiple + 0.5)) * self.multiple

        legal = side(width), side(height), self.nearest(frames)
        _, latent_frames, rows, columns = self.latent_shape(*legal)
        tokens = latent_frames * (rows // self.patch) * (columns // self.patch)
        if tokens > MAX_TOKENS:
            raise FamilyError(
                f"{legal[0]} x {legal[1]} pixels with {legal[2]} frames are {tokens:,} tokens; at most {MAX_TOKENS:,} "
                "can be computed at once. Choose a smaller size or fewer frames."
            )
        return legal

    def uneven(self, columns: int, rows: int) -> str:
        """Why a latent of these sides cannot be cut into tokens, found, expected and what to do; "" where it can."""
        if columns % self.patch == rows % self.patch == 0:
            return ""
        return (
            f"The latent is {columns} x {rows}; this model needs multiples of {self.patch} (pictures in multiples of "
            f"{self.multiple} pixels). Make it with Empty Video Latent."
        )

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int]:
        """(channels, latent frames, latent height, latent width) of a legal size."""
        return self.channels, self.latent_frames(frames), height // self.spatial, width // self.spatial

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a legal length."""
        return (frames - 1) // self.temporal + 1

    def frames(self, latent_frames: int) -> int:
        """Number of video frames that this many latent frames decode to."""
        return (latent_frames - 1) * self.temporal + 1

    def front_padding(self, latent_frames: int) -> int:
        """Number of padding frames that a run puts in front of this many latent frames, see `patch_frames`."""
        return -latent_frames % self.patch_frames

    def pad_front(self, latent: Tensor) -> Tensor:
        """[B, C, T, h, w] with padding frames in front, which are copies of its first frame."""
        padding = self.front_padding(latent.shape[2])
        return torch.cat([latent[:, :, :1]] * padding + [latent], dim=2) if padding else latent
