"""Normalised attention guidance against an implementation of its own, written as the paper has it; guidance at a part
of the noise levels.

Tests: sampling/nag.py, base/crossing.py and the families' crossing.py.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplerRequest, SamplingError, describe, plan_run, solve
from opent2v.sampling.nag import Nag, normalised
from opent2v.tests.tiny import ltx_video as tiny_ltx
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny import wan as tiny

SHAPE = (1, 16, 3, 4, 4)
SCALE, TAU, ALPHA = 7.0, 1.5, 0.4


def paper(positive, negative, scale, tau, alpha):
    """Equations 7 to 10, word for word, one token after the other."""
    result = torch.empty_like(positive)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in positive.shape[:-1])):
        z_pos, z_neg = positive[tuple(place)], negative[tuple(place)]
        z_tilde = z_pos + (scale - 1) * (z_pos - z_neg)
        ratio = torch.linalg.vector_norm(z_tilde, 1) / torch.linalg.vector_norm(z_pos, 1)
        z_hat = min(float(ratio), tau) / ratio * z_tilde
        result[tuple(place)] = alpha * z_hat + (1 - alpha) * z_pos
    return result


def test_the_formula():
    dice = torch.Generator().manual_seed(0)
    positive, negative = (torch.randn(2, 5, 8, generator=dice) for _ in range(2))
    for scale, tau, alpha in ((5, 2.5, 0.25), (11, 1.0, 1.0), (1.5, 100, 0.5)):
        torch.testing.assert_close(
            normalised(positive, negative, scale, tau, alpha), paper(positive, negative, scale, tau, alpha)
        )
    assert torch.equal(normalised(positive, positive, 5, 2.5, 0), positive)
    assert not normalised(torch.zeros(1, 4), torch.zeros(1, 4), 5, 2.5, 1).any()


class Processor:
    """Attention to the prompt with NAG inside, as the paper's authors place it: before the last layer."""

    def __init__(self, negative):
        self.negative = negative

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, *_, **__):
        def attend(text):
            q, k, v = attention.to_q(hidden_states), attention.to_k(text), attention.to_v(text)
            q, k = (x if norm is None else norm(x) for norm, x in ((attention.norm_q, q), (attention.norm_k, k)))
            q, k, v = (x.unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (q, k, v))
            return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        negative = self.negative.expand(len(hidden_states), -1, -1)
        z = paper(attend(encoder_hidden_states), attend(negative), SCALE, TAU, ALPHA)
        return attention.to_out[1](attention.to_out[0](z))


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_wan_against_an_implementation_of_its_own(cfg):
    model, (positive, negative) = tiny.shared()[0], tiny.conditioning()
    variant, transformer = model.part.variant, copy.deepcopy(model.part.transformer)
    entry = {**negative[0][1], "cross_attn": negative[0][0]}
    settings = Guidance(nag=SCALE, nag_tau=TAU, nag_alpha=ALPHA)
    request = SamplerRequest(seed=4, steps=3, cfg=cfg, guidance=settings)
    run = plan_run(variant, request, SHAPE, negative=entry)
    ours = embedded.sample(model, positive, negative, {"samples": torch.zeros(SHAPE)}, run)
    assert "negative prompt by attention 7" in describe(run)[0]

    with torch.no_grad():
        projected = transformer.condition_embedder.text_embedder(negative[0][0])
    for block in transformer.blocks:
        block.attn2.set_processor(Processor(projected))
    plain = model.part.transformer

    def denoise(x, sigma, step):
        flow = transformer(x, sigma * 1000, positive[0][0], return_dict=False)[0]
        if cfg != 1:
            away = plain(x, sigma * 1000, negative[0][0], return_dict=False)[0]
            flow = away + cfg * (flow - away)
        return x - sigma.view(-1, 1, 1, 1, 1) * flow

    run = plan_run(variant, request, SHAPE, negative=entry)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    reference = variant.denormalise(solve(denoise, noise, run.schedule))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    without = plan_run(variant, replace(request, guidance=Guidance()), SHAPE)
    other = embedded.sample(model, positive, negative, {"samples": torch.zeros(SHAPE)}, without)
    assert (other - ours).abs().max() > 1e-3


def test_videocrafter_against_an_implementation_of_its_own():
    """Its UNet has attention to the prompt in some layers; in others the same name is attention among frames."""
    model, clip, _ = tiny_videocrafter.hosted()
    variant, unet = model.part.variant, model.part.transformer
    prompts = [embedded.embed(clip, text) for text in ("a star", "blurry")]
    contexts = [prompt[0][0] for prompt in prompts]
    shape = (2, *variant.geometry.latent_shape(32, 32, 4))
    conditions = model.conditions({"cross_attn": contexts[0].expand(2, -1, -1)}, shape)
    x, t = torch.randn(shape, generator=torch.Generator().manual_seed(2)), torch.tensor([500, 500])
    network, reference = variant.family.network, copy.deepcopy(unet)
    for name, processor in reference.attn_processors.items():
        if "attn2" in name and "temp" not in name and "transformer_in" not in name:
            assert processor is not None
            reference.get_submodule(name.removesuffix(".processor")).set_processor(Processor(contexts[1]))
    guide = Nag(SCALE, TAU, ALPHA, {"cross_attn": contexts[1]}, network.text_crossing, network.blocks)
    with torch.no_grad():
        plain = network.predict(variant, unet, x, t, conditions)
        with guide.guided(unet):
            ours = network.predict(variant, unet, x, t, conditions)
        torch.testing.assert_close(ours, network.predict(variant, reference, x, t, conditions), atol=1e-5, rtol=1e-5)
        assert (ours - plain).abs().max() > 1e-3
        assert torch.equal(network.predict(variant, unet, x, t, conditions), plain)


def test_the_transformer_is_left_as_it_was_and_the_negative_prompt_costs_no_call():
    model, (positive, negative) = tiny.shared()[0], tiny.conditioning()
    entry = {**negative[0][1], "cross_attn": negative[0][0]}
    request = SamplerRequest(steps=3, cfg=1.0, guidance=Guidance(nag=SCALE))
    calls, transformer = [], model.part.transformer
    before = [(vars(block.attn2).get("forward"), block.attn2.to_out) for block in transformer.blocks]
    handle = transformer.register_forward_hook(lambda *_: calls.append(1))
    run = plan_run(model.part.variant, request, SHAPE, negative=entry)
    embedded.sample(model, positive, negative, {"samples": torch.zeros(SHAPE)}, run)
    handle.remove()
    assert len(calls) == 3
    assert before == [(vars(block.attn2).get("forward"), block.attn2.to_out) for block in transformer.blocks]


def test_masked_padding_of_the_negative_prompt_does_not_count():
    """LTX-Video: a negative prompt with other words behind its end gives the same."""
    model, clip, _ = tiny_ltx.shared("0.9.1")
    positive, negative = (embedded.embed(clip, text) for text in ("a star", "blurry"))
    variant = model.part.variant
    shape = (1, *variant.geometry.latent_shape(64, 64, 9))
    request = SamplerRequest(steps=2, cfg=1.0, guidance=Guidance(nag=SCALE))

    def sampled(context):
        entry = {**negative[0][1], "cross_attn": context}
        run = plan_run(variant, request, shape, negative=entry)
        return embedded.sample(model, positive, negative, {"samples": torch.zeros(shape)}, run)

    context, mask = negative[0][0], negative[0][1]["attention_mask"]
    other = torch.where(mask.unsqueeze(-1) == 1, context, context + 3)
    assert not torch.equal(other, context)
    torch.testing.assert_close(sampled(other), sampled(context), atol=1e-6, rtol=0)
    assert (sampled(context + 3) - sampled(context)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nag": -1}, "expected nag of 0 (off) or more"),
        ({"nag": 5, "nag_tau": 0.5}, "nag_tau of 1 or more"),
        ({"nag": 5, "nag_alpha": 2}, "nag_alpha of 0 (off) to 1"),
        ({"start": 0.2, "end": 0.5}, "Guidance works from start 0.2 to end 0.5; expected shares of noise from 0 to 1"),
        ({"start": 1.5}, "expected shares of noise from 0 to 1"),
    ],
)
def test_settings_out_of_range(settings, said):
    variant = tiny.shared()[0].part.variant
    with pytest.raises(SamplingError) as error:
        plan_run(variant, SamplerRequest(guidance=Guidance(**settings)), SHAPE, negative={})
    assert said in str(error.value)


def test_a_model_whose_attention_to_the_prompt_is_not_known_is_refused():
    variant = tiny_mochi.hosted()[0].part.variant
    unknown = replace(variant.family, network=replace(variant.family.network, joint=None))
    with pytest.raises(SamplingError, match=r"where Mochi .*has that is not known here\. Set nag to 0"):
        plan_run(
            replace(variant, family=unknown), SamplerRequest(guidance=Guidance(nag=5)), (1, 12, 3, 4, 4), negative={}
        )
    with pytest.raises(SamplingError, match="this run has none"):
        plan_run(tiny.shared()[0].part.variant, SamplerRequest(guidance=Guidance(nag=5)), SHAPE)


def test_guidance_at_a_part_of_the_noise_levels_and_what_it_saves():
    variant = tiny.shared()[0].part.variant
    request = SamplerRequest(steps=10, cfg=4.0, guidance=Guidance(start=0.9, end=0.5, cfg_rescale=0.5))
    run = plan_run(variant, request, SHAPE)
    for step in run.steps:
        inside = 0.5 <= step.timestep / 1000 <= 0.9
        assert (step.cfg, len(step.passes), bool(step.guides)) == ((4.0, 2, True) if inside else (1.0, 1, False))
    works = sum(len(step.passes) == 2 for step in run.steps)
    assert 0 < works < 10
    assert describe(run)[1] == (
        f"Guidance from noise 0.9 to 0.5 works in {works} of 10 steps: {10 + works} calls of the model in place of 20, "
        f"about {20 / (10 + works):.2g} times as fast."
    )
    whole = plan_run(variant, replace(request, guidance=Guidance()), SHAPE)
    assert not any("Guidance from" in line for line in describe(whole))
    single = plan_run(variant, replace(request, cfg=1.0), SHAPE)
    assert describe(single)[1].endswith("of 10 steps and saves no call.")
