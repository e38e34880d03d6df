"""The prompt node: what it encodes and what it tells."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.sampling import SamplingError
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny


def encode(**given):
    _, clip, _ = tiny.shared()
    results, ui = call("OpenT2VEncodePrompt", clip=clip, **given)
    return [result[0][0] for result in results], remarks(ui)


def expected(text):
    return embedded.embed(tiny.shared()[1], text)[0][0]


def test_both_prompts():
    (positive, negative), said = encode(positive="a blue star", negative="noisy")
    assert torch.equal(positive, expected("a blue star")) and torch.equal(negative, expected("noisy"))
    assert said == ""


def test_an_empty_negative_is_the_makers_and_shown():
    (_, negative), said = encode(positive="a blue star", negative=" \n ")
    assert torch.equal(negative, expected("blurry"))
    assert said == "Negative prompt: blurry"


def test_an_empty_prompt_works_and_is_told():
    (positive, _), said = encode(positive="  ", negative="noisy")
    assert torch.equal(positive, expected(""))
    assert said == "The prompt is empty: the video will show anything."


def test_ten_thousand_characters():
    text = "red circle " * 910
    assert len(text) > 10_000
    (positive, negative), said = encode(positive=text, negative="noisy " * 2000)
    assert positive.shape == negative.shape == (1, tiny.MAX_TOKENS, 16)
    assert said == (
        "The prompt has 1821 tokens; this model reads the first 24. The rest is left out.\n"
        "The negative prompt has 2001 tokens; this model reads the first 24. The rest is left out."
    )


def test_a_prompt_that_just_fits_is_not_remarked():
    assert encode(positive="red " * (tiny.MAX_TOKENS - 1), negative="noisy")[1] == ""
    assert "24" in encode(positive="red " * tiny.MAX_TOKENS, negative="noisy")[1]


def test_a_prompt_in_another_script():
    (positive, _), said = encode(positive="一个红色的圆形在黑色背景上向右移动", negative="模糊")
    assert not torch.equal(positive, expected("")) and said == ""


def travelling(positive, **given):
    return call("OpenT2VEncodePrompt", clip=tiny.shared()[1], positive=positive, travel_over="steps", **given)


def test_a_prompt_travels_over_the_steps():
    (positive, negative), ui = travelling("0 %: a blue star / 50 %: a red star")
    assert len(negative) == 1 and "start_percent" not in negative[0][1]
    mixture = torch.lerp(expected("a blue star"), expected("a red star"), 1 / 16)
    assert torch.allclose(positive[0][0], mixture, atol=1e-6) and torch.equal(positive[-1][0], expected("a red star"))
    assert positive[0][1]["start_percent"] == 0 and positive[-1][1]["end_percent"] == 1
    assert "The prompt travels over 2 moments of the sampling, one in each step." in remarks(ui)


def test_the_sampler_reads_one_prompt_in_each_step():
    model, _, _ = tiny.shared()
    (positive, negative), _ = travelling("49.9 %: a blue star / 50 %: a red star")
    seen = []
    handle = model.part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["encoder_hidden_states"].clone()), with_kwargs=True
    )
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    try:
        inputs = {"positive": positive, "negative": negative, "latent": latent}
        call("OpenT2VSampler", model=model, steps=4, seed=1, cfg=1.0, shift=1.0, solver="euler", **inputs)
    finally:
        handle.remove()
    texts = ["a blue star" if torch.equal(context, expected("a blue star")) else "a red star" for context in seen]
    assert len(seen) == 4 and torch.equal(seen[-1], expected("a red star"))
    assert texts[0] == "a blue star" and texts == sorted(texts)


def test_one_moment_is_one_prompt():
    for over in ("time", "steps"):
        inputs = {"clip": tiny.shared()[1], "positive": "0 %: a blue star", "travel_over": over}
        (positive, _), _ = call("OpenT2VEncodePrompt", **inputs)
        assert len(positive) == 1 and not {"opent2v_at", "start_percent"} & set(positive[0][1])


@pytest.mark.parametrize(
    ("text", "over", "message"),
    [
        ("0 s: a / 1 s: b", "steps", "travels by steps and counts in seconds or frames. Write its moments in per cent"),
        ("0 %: a / 50 %: b", "space", "travel_over is 'space'; choose time or steps"),
    ],
)
def test_what_cannot_travel_over_the_steps(text, over, message):
    with pytest.raises((ValueError, SamplingError), match=message):
        call("OpenT2VEncodePrompt", clip=tiny.shared()[1], positive=text, travel_over=over)
