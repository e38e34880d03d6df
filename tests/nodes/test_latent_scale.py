"""Empty LATENTs of another model's scale: the size and length that were asked for, in every node that samples."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes.sizes import SCALES, in_models_scale
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny

# 32 x 64 pixels and 17 frames of LTX-Video's latents, which have 32 pixels and 8 frames each.
LTX = {"samples": torch.zeros(1, 128, 3, 1, 2), "downscale_ratio_spacial": 32, "downscale_ratio_temporal": 8}


def made(node: str, latent: dict, **further) -> dict:
    positive, negative = tiny.conditioning()
    model, _, vae = tiny.shared()
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": 2, "cfg": 1.0}
    further = further | ({"vae": vae} if "Sweep" in node else {})
    return next(one for one in call(node, **given, **further)[0] if isinstance(one, dict) and "samples" in one)


@pytest.mark.parametrize(
    ("latent", "shape"),
    [
        (LTX, (1, 16, 6, 4, 8)),
        ({key: value for key, value in LTX.items() if "temporal" not in key}, (1, 16, 3, 4, 8)),
        ({"samples": torch.zeros(2, 4, 4, 8), "downscale_ratio_spacial": 8}, (2, 16, 1, 4, 8)),
        ({"samples": torch.zeros(1, 4, 2, 4), "downscale_ratio_spacial": 16}, (1, 16, 1, 4, 8)),
        ({"samples": torch.zeros(1, 4, 2, 3, 7), "downscale_ratio_spacial": 8}, (1, 16, 2, 4, 8)),
        ({"samples": torch.zeros(1, 4, 1, 1, 1), "downscale_ratio_spacial": 2}, (1, 16, 1, 2, 2)),
        ({"samples": torch.zeros(1, 16, 1, 4, 4), "downscale_ratio_temporal": 1}, (1, 16, 1, 4, 4)),
        ({"samples": torch.zeros(1, 16, 3, 4, 4)}, (1, 16, 3, 4, 4)),
        ({"samples": torch.ones(1, 16, 1, 2, 2), "downscale_ratio_spacial": 32}, (1, 16, 1, 2, 2)),
    ],
    ids=[
        "LTX-Video",
        "in space only",
        "a picture",
        "a picture of 16",
        "uneven",
        "minute",
        "one frame",
        "no scale",
        "not empty",
    ],
)
def test_what_an_empty_latent_becomes(latent, shape):
    variant = tiny.shared()[0].part.variant
    fitted = in_models_scale(variant, latent | {"batch_index": [3]})
    assert tuple(fitted["samples"].shape) == shape and fitted["batch_index"] == [3]
    assert not fitted.keys() & set(SCALES) and torch.equal(fitted["samples"].any(), latent["samples"].any())


@pytest.mark.parametrize("node", ["OpenT2VSampler", "OpenT2VCalibrateCache", "OpenT2VSweepCache"])
def test_every_node_that_samples_makes_what_was_asked_for(node, tmp_path):
    embedded.configure(output=tmp_path)
    further = {"step_cache": call("OpenT2VStepCache")[0][0], "strengths": "0.1"} if "Sweep" in node else {}
    latent = made(node, LTX, **further)
    assert tuple(latent["samples"].shape) == (1, 16, 6, 4, 8) and not latent.keys() & set(SCALES)
    if node == "OpenT2VSampler":
        plain = made(node, {"samples": torch.zeros(1, 16, 6, 4, 8)})
        assert torch.equal(latent["samples"], plain["samples"])
