"""The decoders of LTX-Video's and LTX-2's VAEs, one latent frame at a time, in memory that does not grow with length.

Their convolutions see a frame on either side. Each layer holds the frames that it will need again, and passes a frame
on as soon as it has seen the one behind it. So the frames are those of a decode of the whole clip.

Layers, weights and their order are those of diffusers 0.42.1, models/autoencoders/autoencoder_kl_ltx.py and
autoencoder_kl_ltx2.py, whose forward takes whole clips only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class _Layer(Protocol):
    scale: int  # frames of what the layer passes on, for each latent frame

    def push(self, frames: Tensor, is_end: bool) -> Tensor | None:
        """What can be told of the clip by the frames so far and was not passed on yet, [B, C, f, h, w]; None: nothing.

        Args:
            frames: the next ones, at least one.
            is_end: they are the last ones.
        """
        ...


class _Convolution:
    """A convolution over time; at the clip's ends the first and last frame are repeated."""

    def __init__(self, layer: Any, is_causal: bool, scale: int):
        size = layer.kernel_size[0]
        self._convolve, self.scale = layer.conv, scale
        self._behind = 0 if is_causal else (size - 1) // 2
        self._before = size - 1 - self._behind
        self._held: Tensor | None = None

    def push(self, frames: Tensor, is_end: bool) -> Tensor | None:
        held = _repeated(frames[:, :, :1], self._before) if self._held is None else self._held
        parts = [held, frames, *([_repeated(frames[:, :, -1:], self._behind)] if is_end else [])]
        frames = torch.cat(parts, 2)
        reach = self._before + self._behind
        # A copy, because a view would keep all frames alive.
        self._held = frames[:, :, max(0, frames.shape[2] - reach) :].clone()
        return self._convolve(frames) if frames.shape[2] > reach else None


class _Delay:
    """Frames that wait until a block's convolutions have caught up with them."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def push(self, frames: Tensor) -> None:
        self._held = frames if self._held is None else torch.cat([self._held, frames], 2)

    def pull(self, count: int) -> Tensor:
        assert self._held is not None
        frames, self._held = self._held[:, :, :count], self._held[:, :, count:].clone()
        return frames


class _Residual:
    """A residual block of two convolutions."""

    def __init__(self, block: Any, embedded: Tensor | None, is_causal: bool, scale: int, dice: torch.Generator):
        self._block, self.scale, self._dice = block, scale, dice
        self._convolutions = [_Convolution(layer, is_causal, scale) for layer in (block.conv1, block.conv2)]
        self._waiting = _Delay()
        self._noises: list[Tensor | None] = [None, None]
        self._modulation: list[tuple[Tensor, Tensor] | None] = [None, None]
        if block.scale_shift_table is not None and embedded is not None:
            table = block.scale_shift_table[None, ..., None, None, None]
            shift, scale_by, second_shift, second_scale = (embedded.unflatten(1, (4, -1)) + table).unbind(1)
            self._modulation = [(shift, scale_by), (second_shift, second_scale)]

    def push(self, frames: Tensor, is_end: bool) -> Tensor | None:
        block = self._block
        self._waiting.push(frames)
        for n, norm in enumerate((block.norm1, block.norm2)):
            hidden = _normalised(norm, frames)
            modulation = self._modulation[n]
            if modulation is not None:
                hidden = hidden * (1 + modulation[1]) + modulation[0]
            passed = self._convolutions[n].push(block.nonlinearity(hidden), is_end)
            if passed is None:
                return None
            frames = self._noisy(n, passed)
        residual = self._waiting.pull(frames.shape[2])
        if block.norm3 is not None:
            residual = _normalised(block.norm3, residual)
        if block.conv_shortcut is not None:
            residual = block.conv_shortcut(residual)
        return frames + residual

    def _noisy(self, n: int, frames: Tensor) -> Tensor:
        """With the block's noise, where it has any; all frames get the same."""
        strength = (self._block.per_channel_scale1, self._block.per_channel_scale2)[n]
        if strength is None:
            return frames
        noise = self._noises[n]
        if noise is None:
            plane = torch.randn(frames.shape[-2:], generator=self._dice, device=frames.device, dtype=frames.dtype)
            noise = self._noises[n] = (plane[None] * strength)[None, :, None]
        return frames + noise


class _Upsampler:
    """Channels to frames, rows and columns; of the clip's first frame only the last one of its frames is kept."""

    def __init__(self, layer: Any, is_causal: bool, scale: int):
        self._layer, self.scale = layer, scale * layer.stride[0]
        self._convolution, self._waiting = _Convolution(layer.conv, is_causal, scale), _Delay()
        self._surplus = layer.stride[0] - 1

    def push(self, frames: Tensor, is_end: bool) -> Tensor | None:
        layer = self._layer
        if layer.residual:
            self._waiting.push(frames)
        passed = self._convolution.push(frames, is_end)
        if passed is None:
            return None
        larger = _unfolded(passed, layer.stride)
        if layer.residual:
            residual = _unfolded(self._waiting.pull(passed.shape[2]), layer.stride)
            larger = larger + residual.repeat(1, larger.shape[1] // residual.shape[1], 1, 1, 1)
        larger, self._surplus = larger[:, :, self._surplus :], 0
        return larger


class _Output:
    """The last layers: channels to the pixels of the video."""

    def __init__(self, decoder: Any, timestep: Tensor | None, is_causal: bool, scale: int):
        self._decoder, self.scale = decoder, scale
        self._convolution = _Convolution(decoder.conv_out, is_causal, scale)
        self._modulation: tuple[Tensor, Tensor] | None = None
        if decoder.time_embedder is not None and timestep is not None:
            table = decoder.scale_shift_table[None, ..., None, None, None]
            embedded = _embedded(decoder.time_embedder, timestep, decoder.conv_out.conv.weight.dtype)
            shift, scale_by = (embedded.unflatten(1, (2, -1)) + table).unbind(1)
            self._modulation = shift, scale_by

    def push(self, frames: Tensor, is_end: bool) -> Tensor | None:
        decoder = self._decoder
        hidden = _normalised(decoder.norm_out, frames)
        if self._modulation is not None:
            hidden = hidden * (1 + self._modulation[1]) + self._modulation[0]
        passed = self._convolution.push(decoder.conv_act(hidden), is_end)
        if passed is None:
            return None
        side = decoder.patch_size
        # In these channels the columns of a patch come before its rows.
        parts = passed.unflatten(1, (-1, decoder.patch_size_t, side, side)).transpose(3, 4)
        return _unfolded(parts.flatten(1, 4), (decoder.patch_size_t, side, side))


def decode_frames(
    vae: Any, latent: Tensor, tiled: bool, timestep: Tensor | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """The clip of a VAE's own latent [B, C, T, h, w], in T pieces [B, 3, f, H, W] in -1..1.

    Args:
        vae: diffusers' AutoencoderKLLTXVideo or AutoencoderKLLTX2Video.
        tiled: in the tiles of space, and with the blending, of the VAE's `tiled_decode`, but for its last tiles that
            lie within others.
        timestep: [B], of a VAE that takes a noise level.
        seed: of the noise that some versions' layers add.
    """
    if not tiled:
        yield from _pieces(vae, latent, timestep, seed)
        return
    ratio, (height, width) = vae.spatial_compression_ratio, latent.shape[3:]
    tall, wide, down, right = (
        getattr(vae, f"tile_sample_{name}") for name in ("min_height", "min_width", "stride_height", "stride_width")
    )
    rows, columns = _tiles(height, tall // ratio, down // ratio), _tiles(width, wide // ratio, right // ratio)
    places = [(y, x) for y in rows for x in columns]
    streams = [_pieces(vae, latent[..., y, x], timestep, seed + n) for n, (y, x) in enumerate(places)]
    for tiles in zip(*streams, strict=True):
        lines = [tiles[n : n + len(columns)] for n in range(0, len(tiles), len(columns))]
        blended_lines = []
        for i, line in enumerate(lines):
            blended = []
            for j, tile in enumerate(line):
                if i > 0:
                    tile = vae.blend_v(lines[i - 1][j], tile, tall - down)
                if j > 0:
                    tile = vae.blend_h(line[j - 1], tile, wide - right)
                # The last tile of a line is kept to its end, because no other one begins there.
                is_lowest, is_last = i == len(rows) - 1, j == len(columns) - 1
                blended.append(tile[..., : None if is_lowest else down, : None if is_last else right])
            blended_lines.append(torch.cat(blended, -1))
        yield torch.cat(blended_lines, -2)


def _tiles(size: int, tile: int, stride: int) -> list[slice]:
    """Places of overlapping tiles in one direction; the last one has more than the overlap."""
    return [slice(start, start + tile) for start in range(0, max(1, size - (tile - stride)), stride)]


def _pieces(vae: Any, latent: Tensor, timestep: Tensor | None, seed: int) -> Iterator[Tensor]:
    """One piece for each latent frame: its first frame, then as many frames for each as the VAE makes of one."""
    layers = _layers(vae, timestep, torch.Generator(latent.device).manual_seed(seed))
    waiting, count = _Delay(), 0
    length, is_first = layers[-1].scale * vae.decoder.patch_size_t, True
    for n, frame in enumerate(latent.split(1, 2), 1):
        for piece in _through(layers, frame, n == latent.shape[2]):
            waiting.push(piece)
            count += piece.shape[2]
            while count >= (1 if is_first else length):
                yield waiting.pull(1 if is_first else length)
                count -= 1 if is_first else length
                is_first = False


def _layers(vae: Any, timestep: Tensor | None, dice: torch.Generator) -> list[_Layer]:
    """The decoder's layers in their order, none of which has seen a frame."""
    decoder, causal, scale = vae.decoder, vae.config.decoder_causal, 1
    if decoder.timestep_scale_multiplier is not None and timestep is not None:
        timestep = timestep * decoder.timestep_scale_multiplier
    layers: list[_Layer] = [_Convolution(decoder.conv_in, causal, scale)]
    for block in (decoder.mid_block, *decoder.up_blocks):
        embedded = None
        if block.time_embedder is not None and timestep is not None:
            embedded = _embedded(block.time_embedder, timestep, decoder.conv_in.conv.weight.dtype)
        if getattr(block, "conv_in", None) is not None:
            layers.append(_Residual(block.conv_in, embedded, causal, scale, dice))
        for upsampler in getattr(block, "upsamplers", None) or ():
            layers.append(_Upsampler(upsampler, causal, scale))
            scale = layers[-1].scale
        layers += [_Residual(resnet, embedded, causal, scale, dice) for resnet in block.resnets]
    return [*layers, _Output(decoder, timestep, causal, scale)]


def _through(layers: Sequence[_Layer], frames: Tensor, is_end: bool) -> Iterator[Tensor]:
    """What the last layer passes on when the first is pushed; one latent frame at a time is between layers."""
    for n, layer in enumerate(layers):
        passed = layer.push(frames, is_end)
        if passed is None:
            return
        frames = passed
        if frames.shape[2] > layer.scale:
            *others, last = frames.split(layer.scale, 2)
            for piece in others:
                yield from _through(layers[n + 1 :], piece, False)
            yield from _through(layers[n + 1 :], last, is_end)
            return
    yield frames


def _embedded(embedder: Any, timestep: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, D, 1, 1, 1]."""
    rows = timestep.flatten()
    embedded = embedder(timestep=rows, resolution=None, aspect_ratio=None, batch_size=len(rows), hidden_dtype=dtype)
    return embedded.view(len(rows), -1, 1, 1, 1)


def _normalised(norm: Any, frames: Tensor) -> Tensor:
    """LTX-2's layers normalise the channels where they are, LTX-Video's expect them last."""
    return norm(frames) if hasattr(norm, "channel_dim") else norm(frames.movedim(1, -1)).movedim(-1, 1)


def _repeated(frame: Tensor, count: int) -> Tensor:
    return frame.expand(-1, -1, count, -1, -1)


def _unfolded(frames: Tensor, stride: Sequence[int]) -> Tensor:
    """[B, C * a * b * c, f, h, w] -> [B, C, a * f, b * h, c * w]."""
    parts = frames.unflatten(1, (-1, *stride)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.flatten(6, 7).flatten(4, 5).flatten(2, 3)
