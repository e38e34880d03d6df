"""A latent or a prompt of another family is refused, even where its shape would fit; others' are taken as they are."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import wan as tiny


def sample(model, clip, latent=None, **given):
    positive, negative = embedded.embed(clip, "a star"), embedded.embed(clip, "")
    latent = latent or call("OpenT2VEmptyLatent", model=model)[0][0]
    given = {"positive": positive, "negative": negative, "latent": latent, "steps": 1} | given
    return call("OpenT2VSampler", model=model, **given)[0][0]


def test_a_latent_tells_who_made_it_and_stays_itself():
    model, clip, vae = tiny.shared()
    latent = sample(model, clip)
    assert latent["opent2v"]["family"] == "wan" and latent["opent2v"]["model"] == "Wan tiny"
    assert "wan_2.1_vae" in latent["opent2v"]["vae"]
    assert call("OpenT2VDecode", vae=vae, latent=latent)[0][0].shape == (9, 32, 32, 3)
    assert sample(model, clip, latent, denoise=0.5)["samples"].shape == latent["samples"].shape


@pytest.mark.parametrize("node", ["OpenT2VDecode", "OpenT2VDecodeToVideo"])
def test_a_vae_of_another_family_with_as_many_channels(node, tmp_path):
    embedded.configure(output=tmp_path)
    latent = sample(*tiny.shared()[:2])
    with pytest.raises(FamilyError) as error:
        call(node, vae=tiny_hunyuan.hosted()[2], latent=latent)
    assert str(error.value) == (
        "The latent was made by Wan tiny. This VAE is of HunyuanVideo tiny, whose latents mean something else even "
        "where they have the same shape. Use wan_2.1_vae.safetensors."
    )
    assert not list(tmp_path.iterdir())


def test_a_start_latent_of_another_family():
    latent = sample(*tiny.shared()[:2])
    with pytest.raises(
        FamilyError, match=r"made by Wan tiny\. This model is of HunyuanVideo tiny.*Use what belongs to that"
    ):
        sample(*tiny_hunyuan.hosted()[:2], latent, denoise=0.5)


def test_a_prompt_of_another_family_of_the_same_width():
    wrong = embedded.embed(tiny_mochi.hosted()[1], "a star")
    assert wrong[0][0].shape[-1] == tiny.shared()[0].part.variant.context_width
    for name in ("positive", "negative"):
        with pytest.raises(FamilyError) as error:
            sample(*tiny.shared()[:2], **{name: wrong})
        assert str(error.value) == (
            f"The {name} conditioning was encoded for Mochi; Wan tiny reads prompts another way. Encode the prompt "
            "with the CLIP that belongs to this model."
        )


def test_what_other_nodes_made_is_taken_as_it_is():
    model, clip, vae = tiny.shared()
    plain = [[embedded.embed(clip, "a star")[0][0], {}]]
    latent = sample(model, clip, {"samples": torch.zeros(1, 16, 3, 4, 4)}, positive=plain, negative=plain)
    del latent["opent2v"]
    assert call("OpenT2VDecode", vae=vae, latent=latent)[0][0].shape == (9, 32, 32, 3)
