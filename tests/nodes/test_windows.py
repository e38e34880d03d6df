"""Video Windows into Video Sampler, and what it gives where no MODEL is connected."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import SamplingError
from opent2v.sampling.windows import Windows
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny

SHORT = {"length": 13, "overlap": 4}


def sampled(frames=7, **inputs):
    positive, negative = tiny.conditioning()
    latent = {"samples": torch.zeros(1, 16, frames, 4, 4)}
    model = inputs.pop("model", None) or tiny.shared()[0]
    settings = {"steps": 2, "seed": 1, **inputs}
    return call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, **settings)


def test_the_setting_and_the_model_make_the_same_and_the_node_says_it():
    (windows, model), _ = call("OpenT2VWindows", model=tiny.shared()[0], **SHORT)
    (latent, report), _ = sampled(windows=windows)
    assert report.splitlines()[1] == "2 windows of 4 latent frames, overlapping by 1 (static, pyramid, FreeNoise)"
    (same, _), _ = sampled(model=model)
    assert torch.equal(latent["samples"], same["samples"])
    (plain, _), _ = sampled()
    assert not torch.equal(latent["samples"], plain["samples"])


def test_a_video_that_fits_is_sampled_as_without_the_node():
    (windows, _), _ = call("OpenT2VWindows", **SHORT)
    (latent, report), _ = sampled(frames=4, windows=windows)
    assert "one window: all 4 latent frames fit into 4" in report
    assert torch.equal(latent["samples"], sampled(frames=4)[0][0]["samples"])


def test_windows_may_be_longer_together_than_the_positions_that_a_model_knows():
    limit = tiny.shared()[0].part.variant.geometry.max_positions
    with pytest.raises(SamplingError, match=f"The latent has {limit + 1} frames"):
        sampled(frames=limit + 1)
    (windows, _), _ = call("OpenT2VWindows", length=253, overlap=0)
    (latent, _), _ = sampled(frames=limit + 1, windows=windows, steps=1, cfg=1.0)
    assert latent["samples"].shape[2] == limit + 1


def test_without_a_model_the_output_says_what_to_connect():
    windows, model = NODE_CLASS_MAPPINGS["OpenT2VWindows"]().choose(length=0, overlap=-1)
    assert windows == Windows()
    assert isinstance(model, embedded.Missing)


def test_bad_settings_are_refused_before_the_sampler():
    with pytest.raises(SamplingError, match="overlap of -3 frames"):
        call("OpenT2VWindows", length=9, overlap=-3)
