"""The VAE: its AutoencoderKLWan configuration, and passes over whole clips that training can use.

diffusers encodes and decodes one latent frame at a time and clamps the picture, which stops gradients. The passes
here give the same values in one go, without the clamp.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import latents

PATCH = 3  # pixels that are folded into channels; two halvings make the rest of `latents.BLOCK`
VAE = dict(
    base_dim=28,
    decoder_base_dim=16,
    z_dim=latents.CHANNELS,
    dim_mult=[2, 3, 3],
    num_res_blocks=1,
    temperal_downsample=[True, True],
    is_residual=False,
    in_channels=3 * PATCH**2,
    out_channels=3 * PATCH**2,
    patch_size=PATCH,
    scale_factor_temporal=latents.STRIDE,
    scale_factor_spatial=latents.BLOCK,
)


def new_vae():
    """A fresh AutoencoderKLWan whose attention and residual branches start as identities."""
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan(**VAE)
    for part in (vae.encoder, vae.decoder):
        # One attention over all pixels would tie the model to the size it was trained at: it stays switched off.
        for attention in part.mid_block.attentions:
            nn.init.zeros_(attention.proj.weight)
            nn.init.zeros_(attention.proj.bias)
            attention.requires_grad_(False)
        for name, module in part.named_modules():
            if name.endswith(".conv2"):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
    return vae


def draw(decoder: nn.Module, z: Tensor) -> Tensor:
    """Decode a whole clip at once, not clamped; equal to diffusers' loop over latent frames with its cache.

    Args:
        z: latents of about unit variance, [B, 16, n + 1, H, W].
    Returns:
        [B, 3, 4n + 1, 12H, 12W], about -1..1.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    x = decoder.conv_in(z)
    for block in decoder.mid_block.resnets:
        x = block(x)
    for stage in decoder.up_blocks:
        for block in stage.resnets:
            x = block(x)
        if stage.upsamplers is not None:
            x = _upsample(stage.upsamplers[0], x)
    return unpatchify(decoder.conv_out(functional.silu(decoder.norm_out(x))), PATCH)


def _upsample(layer: nn.Module, x: Tensor) -> Tensor:
    """Double height and width, and the frames behind the first, which stays single."""
    if x.shape[2] > 1:
        later = layer.time_conv(x[:, :, 1:])
        b, c, t, h, w = later.shape
        later = later.view(b, 2, c // 2, t, h, w).permute(0, 2, 3, 1, 4, 5).reshape(b, c // 2, 2 * t, h, w)
        x = torch.cat([x[:, :, :1], later], 2)
    x = functional.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
    convolution = layer.resample[1]
    return functional.conv3d(x, convolution.weight.unsqueeze(2), convolution.bias, padding=(0, 1, 1))
