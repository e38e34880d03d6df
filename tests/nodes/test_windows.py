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


def travelling(text="0 f: a red triangle / 24 f: a blue square"):
    return call("OpenT2VEncodePrompt", clip=tiny.shared()[1], positive=text)[0]


def test_a_prompt_travels_from_window_to_window():
    """Three windows of three latent frames each without overlap: the middle one has both prompts, half and half."""
    model, clip, _ = tiny.shared()
    positive, negative = travelling()
    assert len(positive) == 2 and len(negative) == 1
    seen = []
    handle = model.part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["encoder_hidden_states"].clone()), with_kwargs=True
    )
    (windows, _), _ = call("OpenT2VWindows", length=9, overlap=0)
    latent = {"samples": torch.zeros(1, 16, 9, 4, 4)}
    try:
        inputs = {"positive": positive, "negative": negative, "latent": latent, "windows": windows}
        call("OpenT2VSampler", model=model, steps=1, seed=1, cfg=1.0, **inputs)
    finally:
        handle.remove()
    first, last = (embedded.embed(clip, text)[0][0] for text in ("a red triangle", "a blue square"))
    # The windows' middles are at the frames 4, 16 and 28.
    assert len(seen) == 3
    for context, share in zip(seen, (4 / 24, 16 / 24, 1.0), strict=True):
        assert torch.allclose(context, torch.lerp(first, last, share), atol=1e-6)


def test_a_prompt_that_travels_needs_more_than_one_window():
    positive, negative = travelling()
    for inputs in ({}, {"windows": Windows(length=49)}):
        with pytest.raises(SamplingError, match="The prompt travels over time, and this run computes the whole video"):
            call("OpenT2VSampler", model=tiny.shared()[0], positive=positive, negative=negative,
                 latent={"samples": torch.zeros(1, 16, 9, 4, 4)}, **inputs)  # fmt: skip
