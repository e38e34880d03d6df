"""The prompt node: what it encodes and what it tells."""

from __future__ import annotations

import torch

from opent2v.host import embedded
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
