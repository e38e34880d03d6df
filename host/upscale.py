"""What both sides say of a VAE whose latents no network makes larger."""

from __future__ import annotations

from ..base import FamilyError


def no_statistics() -> FamilyError:
    return FamilyError(
        "This VAE does not tell how it normalises its latents, which a latent upscaler needs. Connect the VAE of LTX-2 "
        "or LTX-Video, whose latents have upscalers."
    )
