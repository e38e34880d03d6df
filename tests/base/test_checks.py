"""What is said of parts that do not belong together."""

from __future__ import annotations

import pytest

from opent2v.base import FamilyError
from opent2v.base.checks import check_encoder, check_vae


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: check_encoder(768, 4096),
            "The text encoder is 768 wide and the transformer expects 4096. Use the text_encoder folder that came with "
            "this transformer.",
        ),
        (
            lambda: check_encoder(768, 1280, encoder="image encoder"),
            "The image encoder is 768 wide and the transformer expects 1280. Use the image_encoder folder that came "
            "with this transformer.",
        ),
        (
            lambda: check_vae(16, 4, "UNet"),
            "The VAE makes 16 latent channels and the UNet takes 4. They belong to different models: use the vae "
            "folder that came with this UNet.",
        ),
        (
            lambda: check_vae(16, 12, advice="Use another.", is_made=True),
            "The VAE makes 16 latent channels and the transformer returns 12. Use another.",
        ),
    ],
)
def test_parts_of_different_models_are_refused(check, message):
    with pytest.raises(FamilyError) as error:
        check()
    assert str(error.value) == message


def test_parts_of_one_model_pass():
    check_encoder(4096, 4096)
    check_vae(16, 16)
