"""Which model a LATENT or a CONDITIONING was made for: many have the same shape and fit only their own.

A LATENT carries {"opent2v": {"family", "model", "vae"}}, and every entry of a CONDITIONING {"opent2v_family"}. What
other nodes made carries neither and is taken as it is.
"""

from __future__ import annotations

from typing import Any

from ..base import Family, FamilyError, Variant
from ..families import families
from ..host import PROMPT_FAMILY


def made_by(variant: Variant) -> dict[str, Any]:
    """What a LATENT carries."""
    vae = variant.pairs.get("vae", "")
    return {"family": variant.family.id, "model": variant.title, **({"vae": vae} if vae else {})}


def check_made_for(variant: Variant | None, latent: dict[str, Any], what: str) -> None:
    """
    Args:
        what: who takes the latent, in the user's words: "This VAE", "This model".
    Raises:
        FamilyError: another family made it.
    """
    made = latent.get("opent2v") or {}
    if variant is None or "family" not in made:
        return
    other = families().get(made["family"])
    if other is not None and same_latents(other, variant.family):
        return
    right = f"Use {made['vae']}." if made.get("vae") and what == "This VAE" else "Use what belongs to that model."
    raise FamilyError(
        f"The latent was made by {made['model']}. {what} is of {variant.title}, whose latents mean something else even "
        f"where they have the same shape. {right}"
    )


def same_latents(one: Family, other: Family) -> bool:
    """Whether one's VAE can take what is made for the other's."""
    return _latents(one) == _latents(other)


def _latents(family: Family) -> str:
    """Id of the family whose VAE makes its latents."""
    return (family.video and family.video.latents) or family.id


def check_prompt(variant: Variant, name: str, conditioning: Any) -> None:
    """
    Args:
        name: "positive" or "negative".
    Raises:
        FamilyError: another family's text encoder made it.
    """
    for _, further in conditioning:
        made = further.get(PROMPT_FAMILY, variant.family.id)
        if made != variant.family.id:
            title = families()[made].title if made in families() else made
            raise FamilyError(
                f"The {name} conditioning was encoded for {title}; {variant.title} reads prompts another way. Encode "
                "the prompt with the CLIP that belongs to this model."
            )
