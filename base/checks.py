"""Checks that the parts of a folder belong together, by their configs."""

from __future__ import annotations

from .errors import FamilyError


def check_encoder(width: int, expected: int, *, encoder: str = "text encoder", network: str = "transformer") -> None:
    """
    Args:
        width: of the embedding that the encoder makes; expected: of the embedding that the network reads.
        encoder, network: their names in the message; "text encoder" is in the folder text_encoder.
    Raises:
        FamilyError: they differ.
    """
    if width != expected:
        raise FamilyError(
            f"The {encoder} is {width} wide and the {network} expects {expected}. Use the "
            f"{encoder.replace(' ', '_')} folder that came with this {network}."
        )


def check_vae(
    channels: int, expected: int, network: str = "transformer", advice: str = "", *, is_made: bool = False
) -> None:
    """
    Args:
        channels: latent channels of the VAE; expected: latent channels that the network takes or returns.
        network: its name in the message.
        advice: for the user; "" says that the two belong to different models.
        is_made: `expected` is what the network returns.
    Raises:
        FamilyError: they differ.
    """
    if channels != expected:
        advice = advice or f"They belong to different models: use the vae folder that came with this {network}."
        verb = "returns" if is_made else "takes"
        raise FamilyError(f"The VAE makes {channels} latent channels and the {network} {verb} {expected}. {advice}")
