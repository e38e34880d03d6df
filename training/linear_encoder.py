"""Write the fixed linear latent space into the weights of an AutoencoderKLWan encoder.

A latent is a linear map of a 4 x 12 x 12 block. The encoder can hold that map almost exactly, without any training:
its residual branches are zero, its strided convolutions reduce blocks by 2 x 2 x 2 in two steps, and its closing
RMS norm and SiLU are nearly linear where constant channels outweigh the signal. What is lost is what the 56 channels
between the two steps cannot carry.

The first frame is not reduced in time. So each step keeps means over time in channels that a lone frame fills by
itself, and differences over time in channels that a lone frame leaves out of use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import latents, world
from .vae import PATCH

SPATIAL = 40  # channels of the first step that hold means over time; the others hold differences
CONSTANT = 1000.0  # of the channels that keep the closing norm almost constant
HALF = latents.BLOCK // 2  # pixels that the first step reduces to one
FOLDED = 3 * PATCH**2  # channels of a folded pixel


@torch.no_grad()
def set_linear_encoder(encoder: nn.Module, space: latents.LatentSpace, spatial: int = SPATIAL) -> None:
    """Overwrite an encoder of `vae.VAE`; see the module's text."""
    wide, reduce_wide, deep, reduce_deep, last = encoder.down_blocks
    for block in (wide, deep, last, *encoder.mid_block.resnets):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
        if hasattr(block.conv_shortcut, "weight"):
            block.conv_shortcut.weight.zero_()
            block.conv_shortcut.weight[: block.in_dim, :, 0, 0, 0] = torch.eye(block.in_dim)
            block.conv_shortcut.bias.zero_()
    layers = [encoder.conv_in, encoder.conv_out]
    layers += [layer for step in (reduce_wide, reduce_deep) for layer in (step.resample[1], step.time_conv)]
    for layer in layers:
        layer.weight.zero_()
        layer.bias.zero_()
    middle, z = reduce_wide.dim, latents.CHANNELS
    features, differences, combine, offset = _steps(space, spatial, middle)
    encoder.conv_in.weight[:FOLDED, :, -1, 1, 1] = torch.eye(FOLDED)
    # patchify orders channels by colour, column, row; [o, 3, 6, 6] -> [o, 3, row tap, row, column tap, column].
    taps = features.view(-1, 3, 2, PATCH, 2, PATCH).permute(0, 1, 5, 3, 2, 4)
    reduce_wide.resample[1].weight[:spatial, :FOLDED, :2, :2] = taps.reshape(spatial, FOLDED, 2, 2)
    time = reduce_wide.time_conv.weight[..., 0, 0]
    time[:spatial, :spatial, 1] = time[:spatial, :spatial, 2] = torch.eye(spatial) / 2
    time[spatial:, :spatial, 1], time[spatial:, :spatial, 2] = -differences, differences
    reduce_deep.resample[1].weight[: 2 * z, :middle, :2, :2] = combine.view(2 * z, middle, 2, 2)
    reduce_deep.resample[1].bias[:z] = offset
    reduce_deep.resample[1].bias[2 * z :] = CONSTANT
    time = reduce_deep.time_conv.weight[..., 0, 0]
    for i in (*range(z), *range(2 * z, reduce_deep.dim)):
        time[i, i, 1] = time[i, i, 2] = 0.5
    for i in range(z):
        time[i, z + i, 1], time[i, z + i, 2] = -1.0, 1.0
    # After the norm the values are a few thousandths, where SiLU halves them.
    width, constants = reduce_deep.dim, reduce_deep.dim - 2 * z
    nn.init.ones_(encoder.norm_out.gamma)
    encoder.conv_out.weight[:z, :z, -1, 1, 1] = torch.eye(z) * 2 * CONSTANT * (constants / width) ** 0.5


def _steps(space: latents.LatentSpace, spatial: int, middle: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit the two steps on sample clips.

    Returns:
        Features of a 6 x 6 pixel block [spatial, 108], their differences over time [middle - spatial, spatial],
        weights of a 2 x 2 neighbourhood for mean and difference [2 * 16, middle * 4], offset [16].
    """
    dice, (scenes, _) = world.Dice(5), world.split()
    takes = [world.take(dice.pick(scenes), dice) for _ in range(100)]
    takes = [world.spoil(t, dice.pick(world.FLAWS), dice) if i % 20 == 0 else t for i, t in enumerate(takes)]
    weights = (space.basis / space.scale).T.double().view(-1, 3, 4, 2, HALF, 2, HALF)
    # [component, frame, block row, block column, colour and pixel of the half block]
    weights = weights.permute(0, 2, 3, 5, 1, 4, 6).flatten(4)
    blocks, targets = [], []
    for i in range(0, len(takes), 25):
        video = world.render(takes[i : i + 25], latents.SIZE, 9)
        targets.append(space.encode(video).permute(0, 2, 3, 4, 1).flatten(0, 3).double())
        video = torch.cat([video[:, :, :1].expand(-1, -1, 3, -1, -1), video], 2)
        b, h = len(video), latents.SIZE // latents.BLOCK
        parts = video.view(b, 3, 3, 4, h, 2, HALF, h, 2, HALF).permute(0, 2, 4, 7, 3, 5, 8, 1, 6, 9)
        blocks.append(parts.reshape(b * 3 * h * h, 4, 2, 2, 3 * HALF * HALF).double())
    block, target = torch.cat(blocks), torch.cat(targets)
    features = _principal(weights.flatten(0, 3), block.flatten(0, 3)[::7], spatial)
    seen = block @ features.T  # [N, 4, 2, 2, spatial]
    change = seen[:, 1::2] - seen[:, ::2]
    # What the target needs of a change, in terms of the features: least squares from pixels to features.
    pixels = block.flatten(0, 3)[::7]
    moment = (pixels @ features.T).T @ (pixels @ features.T)
    ridge = 1e-9 * moment.trace() * torch.eye(spatial, dtype=moment.dtype)
    back = torch.linalg.solve(moment + ridge, (pixels @ features.T).T @ pixels)
    needed = ((weights[:, 1::2] - weights[:, ::2]) / 2).flatten(0, 3) @ back.T
    differences = _principal(needed, change.flatten(0, 3)[::7], middle - spatial)
    pairs = torch.cat([(seen[:, 1::2] + seen[:, ::2]) / 2, change @ differences.T], -1)  # [N, 2, 2, 2, middle]
    pairs = pairs.permute(0, 1, 4, 2, 3).flatten(2)
    design = torch.cat([pairs.mean(1), pairs[:, 1] - pairs[:, 0], torch.ones(len(pairs), 1, dtype=pairs.dtype)], 1)
    ridge = 1e-6 * len(design) * torch.eye(design.shape[1], dtype=design.dtype)
    fit = torch.linalg.solve(design.T @ design + ridge, design.T @ target)  # [2 * middle * 4 + 1, 16]
    mean, difference, offset = fit[: middle * 4].T, fit[middle * 4 : -1].T, fit[-1]
    return features.float(), differences.float(), torch.cat([mean, difference]).float(), offset.float()


def _principal(weights: Tensor, samples: Tensor, count: int) -> Tensor:
    """The `count` combinations [count, d] of samples [N, d] that best predict all `weights` [m, d] times a sample."""
    moment = samples.T @ samples / len(samples)
    values, vectors = torch.linalg.eigh(moment + 1e-7 * moment.trace() * torch.eye(len(moment), dtype=moment.dtype))
    root, inverse = (vectors * values.sqrt()) @ vectors.T, (vectors / values.sqrt()) @ vectors.T
    return torch.linalg.svd(weights @ root, full_matrices=False).Vh[:count] @ inverse
