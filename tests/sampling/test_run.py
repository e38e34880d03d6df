"""A run planned without a host: its steps, experts and guidance, and what is said of it.

Tests: sampling/run.py, sampling/plan.py and sampling/describe.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch

from opent2v.base.guidance import Guide, Pass, PassResults
from opent2v.base.stg import OwnStg
from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplerRequest, describe, make_run, make_schedule, plan_run
from opent2v.sampling.guides import Perturbed
from opent2v.tests.tiny import open_sora as tiny_open_sora
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

SHAPE = (1, 16, 3, 4, 4)


def names(step) -> list[str]:
    return [one.name for one in step.passes]


def pair():
    """(both experts' variants), of Wan 2.2 A14B."""
    return [part.variant for part in tiny.pipeline(tiny_wan.folder("t2v_a14b")).models]


def with_stg(variant):
    sampling = replace(variant.family.sampling, stg=lambda _: OwnStg((1,)))
    return replace(variant, family=replace(variant.family, sampling=sampling))


def test_0_is_the_models_own():
    variant = tiny.shared()[0].part.variant
    run = plan_run(variant, SamplerRequest(seed=5), SHAPE)
    assert (len(run.steps), run.seed, run.experts) == (variant.defaults.steps, 5, 1)
    assert {step.cfg for step in run.steps} == {variant.defaults.guidance}
    assert [step.sigma for step in run.steps] == pytest.approx(run.schedule.sigmas[:-1].tolist())
    assert describe(run) == ["3 steps, cfg 4, UniPCMultistep, seed 5"]


def test_the_passes_of_a_step_by_what_guides_it():
    variant = with_stg(tiny.shared()[0].part.variant)
    plain, off, guided = (
        plan_run(variant, SamplerRequest(cfg=cfg, guidance=Guidance(stg=stg)), SHAPE).steps[0]
        for cfg, stg in ((4.0, 0.0), (1.0, 0.0), (1.0, 2.0))
    )
    assert (names(plain), names(off), names(guided)) == (
        ["negative", "positive"],
        ["positive"],
        ["positive", "perturbed"],
    )


def test_two_experts_are_guided_alike():
    high, low = map(with_stg, pair())
    request = SamplerRequest(steps=8, guidance=Guidance(stg=2.0, cfg_star=True, cfg_rescale=0.5, low_noise_cfg=3.0))
    run = plan_run(high, request, SHAPE, low)
    first, second = run.parts
    assert len(first.steps) + len(second.steps) == 8 and first.steps and second.steps
    assert (first.before, second.before) == (0, len(first.steps))
    assert [step.expert for step in run.steps] == [0] * len(first.steps) + [1] * len(second.steps)
    assert {step.cfg for step in second.steps} == {3.0} != {step.cfg for step in first.steps}
    assert [[type(guide) for guide in step.guides] for step in run.steps] == [
        [type(guide) for guide in run.steps[0].guides]
    ] * 8
    assert f"(3 for the {len(second.steps)} steps at low noise), cfg star, spatio-temporal" in describe(run)[0]
    whole = torch.cat([first.schedule.timesteps, second.schedule.timesteps])
    assert torch.equal(whole, run.schedule.timesteps)


def test_guidance_by_pictures_goes_on_over_the_second_expert():
    """Step n has the n-th scale, whichever model makes it."""
    own = tiny_open_sora.hosted()[0].part.variant
    levels = torch.linspace(2.0, 3.0, 6).unsqueeze(1)
    images = replace(own.family.images, guidance=lambda *_: levels)
    variant = replace(own, boundary=0.7, family=replace(own.family, images=images))
    run = plan_run(variant, SamplerRequest(steps=6), (1, own.geometry.channels, 3, 4, 4), variant)
    assert all(part.steps for part in run.parts)
    assert [step.guides[0].scale.item() for step in run.steps] == pytest.approx(levels.flatten().tolist())
    assert {tuple(names(step)) for step in run.steps} == {("negative", "positive", "without_image")}


def test_both_experts_are_perturbed_on_the_embedded_host():
    loaded = tiny.pipeline(tiny_wan.folder("t2v_a14b"))
    models = [embedded.model(part) for part in loaded.models]
    clip, variant = embedded.clip(loaded.text), models[0].part.variant
    words = [embedded.embed(clip, text) for text in ("a star", "blurry")]
    shape = (1, *variant.geometry.latent_shape(32, 32, 5))
    run = plan_run(
        with_stg(variant), SamplerRequest(steps=6, guidance=Guidance(stg=1.0)), shape, models[1].part.variant
    )
    calls = [0, 0]

    def count(n):
        def hook(module, args, output):
            calls[n] += 1

        return models[n].part.transformer.blocks[1].attn1.to_q.register_forward_hook(hook)

    handles = [count(0), count(1)]
    embedded.sample(models[0], *words, {"samples": torch.zeros(shape)}, run, second_expert=models[1])
    for handle in handles:
        handle.remove()
    # The perturbed pass leaves block 1's queries out: one call for both prompts is all that asks for them.
    assert calls == [len(part.steps) for part in run.parts]


@dataclass(frozen=True)
class AwayFromHalf(Guide):
    """A guidance that nobody has built in: away from what the model makes with its blocks' output halved."""

    remark = "away from half"

    def passes(self):
        return (Pass("half", change=self.half), Pass("wordless", conditioning=self.wordless))

    @contextmanager
    def half(self, transformer):
        handle = transformer.blocks[0].register_forward_hook(lambda module, args, output: output / 2)
        try:
            yield
        finally:
            handle.remove()

    def wordless(self, conditioning):
        return [[torch.zeros_like(context), further] for context, further in conditioning]

    def after_cfg(self, clean, results: PassResults):
        away = results.clean["half"] + results.clean["wordless"]
        return clean + 0.5 * (2 * results.clean["positive"] - away)


def test_a_guidance_of_a_familys_own():
    """Its passes are evaluated and told to the step cache by their names; no room knows of it."""
    model, (positive, negative) = tiny.shared()[0], tiny.conditioning()
    variant = model.part.variant
    sampling = replace(variant.family.sampling, guides=lambda variant, entry, sigma, cfg: (AwayFromHalf(),))
    own = replace(variant, family=replace(variant.family, sampling=sampling))
    run = plan_run(own, SamplerRequest(), SHAPE)
    assert names(run.steps[0]) == ["negative", "positive", "half", "wordless"]
    assert describe(run) == ["3 steps, cfg 4, away from half, UniPCMultistep, seed 0"]
    latent = {"samples": torch.zeros(SHAPE)}
    guided = embedded.sample(model, positive, negative, latent, run)
    plain = embedded.sample(model, positive, negative, latent, plan_run(variant, SamplerRequest(), SHAPE))
    assert torch.isfinite(guided).all() and (guided - plain).abs().max() > 1e-3
    again = embedded.sample(model, positive, negative, latent, plan_run(variant, SamplerRequest(), SHAPE))
    assert torch.equal(again, plain)  # the transformer is as it was


def test_the_order_of_guidance():
    """cfg and what comes before and after it, on numbers."""
    scale = make_schedule(tiny.shared()[0].part.variant.scheduler, steps=1).prediction

    class Before(Guide):
        def before_cfg(self, results):
            return {**results.clean, "negative": results.clean["negative"] + 1}

    class After(Guide):
        def after_cfg(self, clean, results):
            return clean * 10 + results.clean["negative"]

    schedule = make_schedule(tiny.shared()[0].part.variant.scheduler, steps=1)
    (step,) = make_run(schedule, 3.0, guides=lambda n, cfg: (Before(), After())).steps
    clean = {"negative": torch.ones(1), "positive": torch.full((1,), 4.0)}
    results = PassResults(clean, torch.zeros(1), torch.ones(1), 3.0, scale)
    assert step.guided(results).item() == (2 + 3 * (4 - 2)) * 10 + 2
    (alone,) = make_run(schedule, 1.0).steps
    assert alone.guided(replace(results, clean={"positive": clean["positive"]})).item() == 4


def test_a_model_that_is_told_its_guidance():
    from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan

    variant = tiny_hunyuan.hosted()[0].part.variant
    run = plan_run(variant, SamplerRequest(cfg=5.0, steps=2), (1, 16, 3, 4, 4))
    assert {step.cfg for step in run.steps} == {1.0} and describe(run)[0].startswith("2 steps, guidance 5, ")
    words = [[torch.zeros(1, 2, 4), {"guidance": 2.0}]]
    given = run.conditionings(words, [[torch.zeros(1, 2, 4), {}]])
    assert (given["positive"][0][1]["guidance"], given["negative"][0][1]["guidance"]) == (2.0, 5.0)


def test_a_step_without_stg_has_no_perturbed_pass():
    variant = tiny.shared()[0].part.variant
    run = make_run(make_schedule(variant.scheduler, steps=3), 4.0, guides=lambda n, cfg: ())
    assert not any(isinstance(guide, Perturbed) for step in run.steps for guide in step.guides)
    assert run.passes == run.steps[0].passes
