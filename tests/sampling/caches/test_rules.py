"""Each policy's rule with numbers a person can follow, and TeaCache's official polynomials."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from opent2v.base import TeaCache
from opent2v.families import families
from opent2v.sampling.caches.rules import BlockInput, Easy, FirstBlock, Sea, Tea, wiener_filtered


def look(x, index=0, first=None):
    added = None if first is None else torch.tensor([float(first)])
    x = torch.tensor([float(x)])
    return BlockInput(index, 1.0, x, x, added, 1, torch.nn.Identity(), (x,), {})


def tensor(value):
    return torch.tensor([float(value)])


def test_easycache_adds_up_the_input_times_the_last_answer():
    policy = Easy(0.3)
    for x, output in ((10, 100), (11, 110)):
        assert policy.reuse(look(x)) is False  # it must have seen two outputs
        policy.computed(look(x), tensor(output))
    # The output moved by 10 where the input moved by 1. Half a step on: 10 * 0.5 / 110 = 0.045; then
    # 10 * 2 / 110 = 0.18 more; then 0.09 more, above 0.3.
    assert [policy.reuse(look(x)) for x in (11.5, 13.5, 14.5)] == [True, True, False]
    assert policy.sum == pytest.approx(0.045 + 0.182 + 0.091, abs=2e-3)
    policy.computed(look(14.5), tensor(200))
    assert policy.sum == 0 and policy.rate == pytest.approx(90 / 3.5)


def test_the_first_block_is_compared_with_the_last_computed_step():
    policy = FirstBlock(0.15)
    assert policy.reuse(look(0, first=10)) is False
    policy.computed(look(0, first=10), tensor(0))
    assert [policy.reuse(look(0, first=value)) for value in (11, 9, 12)] == [True, True, False]


def official():
    """(family, variant name, set) of every published set."""
    named = {
        "wan": ["2.1 T2V 1.3B", "2.1 T2V 14B", "2.1 I2V 14B"],
        "cogvideox": ["2B", "5B", "5B I2V", "1.5 5B", "1.5 5B I2V"],
        "hunyuan_video": ["T2V"],
        "mochi": ["1"],
        "ltx_video": ["2B 0.9.1"],
    }
    for family, names in named.items():
        for name in names:
            for width in (832, 1280) if name == "2.1 I2V 14B" else (832,):
                variant = SimpleNamespace(name=name, defaults=SimpleNamespace(width=width))
                yield f"{family} {name} {width}", families()[family].sampling.teacache(variant)


@pytest.mark.parametrize(("name", "tea"), official())
def test_no_official_polynomial_ever_freezes_a_run(name, tea):
    found = [tea(n / 1000) for n in range(1001)]
    assert all(0 < value < 20000 for value in found)
    # Positive by itself where it is used, not by the floor.
    inside = [n / 1000 for n in range(1001) if tea.low < n / 1000 < tea.high]
    assert min(tea(x) for x in inside) >= 1e-3 and len(inside) > 50


def test_the_polynomial_is_the_published_one():
    by_name = dict(official())
    # caching.md's own evaluation of the reference code's numbers at a change of 0.05, and CogVideoX at 0.1
    assert by_name["ltx_video 2B 0.9.1 832"](0.05) == pytest.approx(0.054, abs=5e-4)
    assert by_name["hunyuan_video T2V 832"](0.05) == pytest.approx(0.062, abs=5e-4)
    assert by_name["wan 2.1 T2V 1.3B 832"](0.05) == pytest.approx(0.142, abs=5e-4)
    assert by_name["cogvideox 5B 832"](0.1) == pytest.approx(0.091, abs=5e-4)


@pytest.mark.parametrize("family", families())
def test_a_model_without_a_published_set_has_none(family):
    variant = SimpleNamespace(name="tiny", defaults=SimpleNamespace(width=832))
    assert families()[family].sampling.teacache(variant) is None


def test_teacache_adds_up_and_computes_outside_the_range():
    # The polynomial is x itself, and the signal what enters.
    policy = Tea(0.25, TeaCache((1.0, 0.0), 0.0, 0.2, lambda block, named: named["input"]))
    moves = [100, 110, 120, 121, 200]
    # changes 0.1 and 0.09 (0.19 in all), 0.008; 0.65 is outside the range
    assert [policy.reuse(look(x)) for x in moves] == [False, True, True, True, False]
    policy.computed(look(200), tensor(0))
    assert policy.sum == 0


def test_seacache_sees_what_a_denoiser_would():
    torch.manual_seed(0)
    coarse = torch.linspace(-1, 1, 8).view(1, 1, 1, 1, 8).expand(1, 2, 4, 8, 8)
    fine = torch.randn(1, 2, 4, 8, 8)
    # At much noise fine changes hardly count, at little they do; coarse ones always.
    for noise in (0.9, 0.05):
        before, moved = (wiener_filtered(one, noise) for one in (coarse, coarse + 0.1 * fine))
        far = (moved - before).abs().mean() / before.abs().mean()
        plain = (0.1 * fine).abs().mean() / coarse.abs().mean()
        assert (far < 0.4 * plain) == (noise == 0.9)
    assert torch.allclose(wiener_filtered(torch.ones(1, 1, 2, 4, 4), 0.5).diff(), torch.zeros(1, 1, 2, 4, 3), atol=1e-6)


def test_seacache_adds_up_until_the_threshold():
    policy, x = Sea(0.25, is_flow=True), torch.ones(1, 1, 1, 2, 2)

    def at(scale):
        return BlockInput(0, 0.5, x, x * scale, None, 1, torch.nn.Identity(), (x,), {})

    # changes 0.1, 0.1, 0.1 of the step before
    assert [policy.reuse(at(1.1**n)) for n in range(4)] == [False, True, True, False]
    policy.computed(at(1), x)
    assert policy.sum == 0
