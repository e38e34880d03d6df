"""The model that a LATENT or a CONDITIONING was made for: many have the same shape and fit only that model.

A LATENT carries {"opent2v": {"family", "model", "vae"}}, and every entry of a CONDITIONING {"opent2v_family"}. Those of
other nodes carry neither and are accepted.
"""

from __future__ import annotations

from typing import Any

from ..base import Family, FamilyError, Variant
from ..families import families
from ..host import PROMPT_FAMILY


def latent_record(variant: Variant) -> dict[str, Any]:
    """The record of its model that a LATENT carries."""
    vae = variant.pairs.get("vae", "")
    return {"family": variant.family.id, "model": variant.title, **({"vae": vae} if vae else {})}


def check_latent_model(variant: Variant | None, latent: dict[str, Any], what: str) -> None:
    """
    Args:
        what: name of the taker, for the message: "This VAE", "This model".
    Raises:
        FamilyError: another family made it.
    """
    source = latent.get("opent2v") or {}
    if variant is None or "family" not in source:
        return
    family = families().get(source["family"])
    if family is not None and same_latents(family, variant.family):
        return
    right = f"Use {source['vae']}." if source.get("vae") and what == "This VAE" else "Use what belongs to that model."
    raise FamilyError(
        f"The latent was made by {source['model']}. {what} is of {variant.title}, whose latents mean something else "
        f"even where they have the same shape. {right}"
    )


def same_latents(first: Family, second: Family) -> bool:
    """Whether the VAE of one family decodes latents of the other."""
    return _latents(first) == _latents(second)


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
    for _, entries in conditioning:
        family_id = entries.get(PROMPT_FAMILY, variant.family.id)
        if family_id != variant.family.id:
            title = families()[family_id].title if family_id in families() else family_id
            raise FamilyError(
                f"The {name} conditioning was encoded for {title}; {variant.title} reads prompts another way. Encode "
                "the prompt with the CLIP that belongs to this model."
            )
