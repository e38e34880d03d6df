"""Step caches on the embedded host: every family's transformer, two experts, interrupts, and the nodes' own words.

Tests: host/embedded/cache.py, host/embedded/sample.py
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.base.teacache import normed
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import SamplingError, make_run, make_schedule
from opent2v.sampling.caches import POLICIES, BatchItem, Policy, StepCache, cache_runs
from opent2v.sampling.caches.gate import region
from opent2v.sampling.caches.report import summary
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import cogvideox as tiny_cogvideox
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import ltx_video as tiny_ltx_video
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

PLAN = "ccrrcrcc"  # 8 steps, of which 3 are reused
STEPS = len(PLAN)
BLOCKS = {"predictor": "last", "boundary": "blocks"}
FAMILIES = {
    "wan": lambda: tiny.shared(),
    "wan ti2v": lambda: tiny.shared("ti2v"),
    "cogvideox 2b": lambda: tiny_cogvideox.shared("2b"),
    "cogvideox 1.5": lambda: tiny_cogvideox.shared("1.5"),
    "ltx": lambda: tiny_ltx_video.shared("0.9.1"),
    "mochi": lambda: tiny_mochi.hosted(),
    "hunyuan": lambda: tiny_hunyuan.hosted(),
}
# The name under which a family's official TeaCache set is found.
OFFICIAL = {
    "wan": "2.1 T2V 1.3B", "cogvideox 2b": "2B", "cogvideox 1.5": "1.5 5B", "ltx": "2B 0.9.1", "mochi": "1",
    "hunyuan": "T2V",
}  # fmt: skip


def settings(**given) -> StepCache:
    return StepCache(**({"policy": "plan", "plan": PLAN, "start": 0.0, "end": 1.0, **BLOCKS} | given))


def run(name, cache=None, model=None, on_step=None, seed=1, steps=STEPS, **given):
    """(latents, the cache's run)."""
    loaded, clip, _ = FAMILIES[name]()
    model = model or loaded
    variant, own = model.part.variant, model.part.variant.defaults
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))}
    shape = tuple(latent["samples"].shape)
    schedule = make_schedule(
        variant.scheduler, steps=steps, kind=variant.prediction,
        sigmas=lambda total: variant.family.sampling.sigmas(variant, total, None, shape),
    )  # fmt: skip
    cfg = 1.0 if variant.embeds_guidance else 4.0
    conds = [embedded.embed(clip, text) for text in (tiny.PROMPT, "blurry")]
    if variant.embeds_guidance:
        conds = [[[context, {"guidance": 6.0, **further}]] for ((context, further),) in conds]
    cache = cache and cache_runs(cache, variant)()
    made = embedded.sample(
        model, *conds, latent, make_run(schedule, cfg, seed), step_cache=cache, on_step=on_step, **given
    )
    return made, cache


@pytest.fixture
def calls():
    """How often each block of a family's transformer has run."""
    handles = []

    def of(name):
        blocks = region(FAMILIES[name]()[0].part.transformer)
        seen = [0] * len(blocks)
        for n, block in enumerate(blocks):

            def count(*_, n=n):
                seen[n] += 1

            inner = next(child for child in block.children())
            handles.append(inner.register_forward_pre_hook(count))
        return seen

    yield of
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", FAMILIES)
def test_off_and_all_computed_are_bit_identical(name):
    plain, _ = run(name)
    assert torch.equal(run(name, settings(threshold=0.0))[0], plain)
    assert torch.equal(run(name, settings(policy="off"))[0], plain)
    assert torch.equal(run(name, settings(plan="c"))[0], plain)
    assert torch.equal(run(name, settings(policy="first block", threshold=1e-9))[0], plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_reused_steps_run_no_block(name, calls):
    plain, _ = run(name)
    seen = calls(name)
    cached, cache = run(name, settings())
    ran = [count for count in seen if count]  # some blocks' first layer is not called as a module
    assert ran and set(ran) == {5}
    assert summary(cache) == "5 of 8 steps computed"
    assert torch.isfinite(cached).all() and 0 < (cached - plain).norm() / plain.norm() < 0.5


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("given", [{"policy": "easycache"}, {"policy": "first block"}, {"predictor": "linear"}])
def test_policies_reuse_on_every_family(name, given):
    cached, cache = run(name, settings(threshold=5.0, **given))
    assert torch.isfinite(cached).all()
    assert 0 < sum(cache.stages[0].steps["positive"].values()) < STEPS


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_call_replayed_is_the_same_output(name):
    """A reused step with the input of the computed one gives its output, up to the rounding of one addition."""
    model, clip, _ = FAMILIES[name]()
    variant, own = model.part.variant, model.part.variant.defaults
    x = torch.randn(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))
    x = variant.geometry.pad_front(x)
    ((context, further),) = embedded.embed(clip, tiny.PROMPT)
    entry = {"cross_attn": context, "guidance": 6.0, "denoise_mask": None, **further}
    cache = cache_runs(settings(plan="crc"), variant)()
    with torch.inference_mode(), cache.attached(model.part.transformer, torch.tensor([0.7, 0.6, 0.5, 0.0])) as stage:
        conditions = model.conditions(entry, tuple(x.shape))
        outputs = []
        for level in (0.7, 0.6):
            with stage.call((BatchItem(1, "positive"),), level, x):
                outputs.append(model.denoised(x, torch.tensor([0.7]), conditions))
    assert stage.steps["positive"] == {0: True, 1: False}
    assert (outputs[1] - outputs[0]).norm() / outputs[0].norm() < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_the_whole_answer_of_every_family(name, calls):
    plain, _ = run(name)
    whole = settings(boundary="model")
    assert torch.equal(run(name, replace(whole, plan="c"))[0], plain)
    assert torch.equal(run(name, replace(whole, threshold=0.0))[0], plain)
    seen = calls(name)
    cached, cache = run(name, whole)
    assert {count for count in seen if count} == {5} and summary(cache) == "5 of 8 steps computed"
    assert torch.isfinite(cached).all() and 0 < (cached - plain).norm() / plain.norm() < 0.5


@pytest.mark.parametrize("boundary", ["model", "blocks"])
@pytest.mark.parametrize("policy", ["easycache", "seacache"])
def test_runs_know_nothing_of_each_other(policy, boundary):
    """Another size, another strength, an interrupt: each run is as a first one."""
    model = FAMILIES["wan"]()[0]
    weak, strong = (settings(policy=policy, threshold=value, boundary=boundary) for value in (0.2, 5.0))
    fresh = {n: run("wan", one)[0] for n, one in enumerate((weak, strong))}
    first, second = (embedded.apply_step_cache(model, one) for one in (weak, strong))
    conds = [embedded.embed(FAMILIES["wan"]()[1], text) for text in (tiny.PROMPT, "blurry")]

    def larger(under):
        schedule = make_schedule(model.part.variant.scheduler, steps=STEPS)
        latent = {"samples": torch.zeros(2, 16, 2, 8, 4)}
        return embedded.sample(under, *conds, latent, make_run(schedule, 4.0, 1))

    large = larger(embedded.apply_step_cache(model, strong))
    assert torch.equal(run("wan", model=first)[0], fresh[0])
    assert torch.equal(run("wan", model=second)[0], fresh[1])
    assert torch.equal(larger(second), large)

    def stop(step):
        if step == 5:
            embedded.interrupt()

    with pytest.raises(embedded.Interrupted):
        run("wan", model=second, on_step=stop)
    assert torch.equal(run("wan", model=second)[0], fresh[1])
    assert torch.equal(run("wan", model=first)[0], fresh[0])


@pytest.mark.parametrize("name", OFFICIAL)
def test_teacache_with_the_official_set(name):
    model = FAMILIES[name]()[0]
    part = model.part
    named = replace(model, part=replace(part, variant=replace(part.variant, name=OFFICIAL[name])))
    cached, cache = run(name, settings(policy="teacache", threshold=5.0), model=named, steps=40)
    assert torch.isfinite(cached).all()
    computed = sum(cache.stages[0].steps["positive"].values())
    # Wan's random weights answer the timestep more strongly than the polynomial knows: all of it is computed.
    assert computed == 40 if name == "wan" else 0 < computed < 40
    with pytest.raises(SamplingError, match="TeaCache needs coefficients made for the model, and there are none for"):
        run(
            name,
            settings(policy="teacache"),
            model=replace(model, part=replace(part, variant=replace(part.variant, name="x"))),
        )


def test_teacache_on_trained_weights():
    """The bundled Wan's timestep moves as the published ones do, so that their polynomial reuses steps."""
    model, clip, _ = tiny.hosted(tiny.BUNDLED)
    variant = replace(model.part.variant, name="2.1 T2V 1.3B")
    cache = cache_runs(settings(policy="teacache", threshold=0.3), variant)()
    schedule = make_schedule(variant.scheduler, steps=20)
    conds = [embedded.embed(clip, text) for text in (tiny.PROMPT, "")]
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    made = embedded.sample(model, *conds, latent, make_run(schedule, 2.5, 1), step_cache=cache)
    assert torch.isfinite(made).all()
    assert 3 < sum(cache.stages[0].steps["positive"].values()) < 18


def test_a_model_carries_its_cache_until_another_takes_its_place(calls):
    model = FAMILIES["wan"]()[0]
    seen = calls("wan")
    under = embedded.apply_step_cache(model, settings())
    cached, _ = run("wan", model=under)
    assert max(seen) == 5
    assert torch.equal(cached, run("wan", settings())[0])
    assert torch.equal(run("wan", model=embedded.apply_step_cache(under, settings(threshold=0.0)))[0], run("wan")[0])


def test_batched_and_one_prompt_at_a_time_are_the_same(monkeypatch):
    for given in ({}, {"policy": "easycache", "threshold": 1.0}):
        together, first = run("wan", settings(**given))
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["opent2v.host.embedded.sample"], "free_memory", lambda device: 0.0)
            apart, second = run("wan", settings(**given))
        assert first.stages[0].steps == second.stages[0].steps
        assert (apart - together).norm() / together.norm() < 1e-5


def test_two_experts_each_have_their_own():
    loaded = tiny.pipeline(tiny_wan.folder("t2v_a14b"))
    high, low = (embedded.model(part) for part in loaded.models)
    clip = embedded.clip(loaded.text)
    variant, conds = high.part.variant, [embedded.embed(clip, text) for text in (tiny.PROMPT, "blurry")]
    own = variant.defaults
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))}

    def made(cache):
        schedule = make_schedule(variant.scheduler, steps=10)
        run = make_run(schedule, 4.0, 1, second_cfg=2.0, boundary=variant.boundary)
        cache = cache_runs(cache, variant)()
        return embedded.sample(high, *conds, latent, run, second_expert=low, step_cache=cache), cache

    off, _ = made(settings(threshold=0.0))
    assert torch.equal(made(settings(plan="c"))[0], off)
    _, cache = made(settings(plan="r"))
    first, second = ([*stage.steps["positive"].values()] for stage in cache.stages)
    assert len(first) + len(second) == 10
    assert first[0] and first[-1] and second[0] and second[-1] and not all(first + second)


def test_an_interrupt_drops_everything():
    expected, _ = run("wan", settings())

    def stop(step):
        if step == 3:
            embedded.interrupt()

    model = FAMILIES["wan"]()[0]
    with pytest.raises(embedded.Interrupted):
        run("wan", settings(), on_step=stop)
    assert not any("forward" in block.__dict__ for block in model.part.transformer.blocks)
    assert torch.equal(run("wan", settings())[0], expected)


def test_another_layout_of_blocks_is_told():
    with pytest.raises(FamilyError, match="TeaCache's signal was not found in this MODEL's blocks"):
        normed(torch.nn.Identity(), {})


def test_another_policy_is_one_more_entry_of_the_table(monkeypatch):
    """Every third step is computed, by a policy of one line: from Step Cache's list to the report."""

    def every_third(settings, sigmas, expert):
        return [step % 3 != 0 and step in settings.span(len(sigmas) - 1) for step in range(len(sigmas) - 1)]

    monkeypatch.setitem(POLICIES, "every third", Policy("every third", plan=every_third, has_strength=False))
    assert "every third" in NODE_CLASS_MAPPINGS["OpenT2VStepCache"].INPUT_TYPES()["required"]["policy"][0]
    ((cache,), _) = call("OpenT2VStepCache", policy="every third", start=0.0, end=1.0)
    model, (positive, negative) = tiny.shared()[0], tiny.conditioning()
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": 9}
    (plain, _), _ = call("OpenT2VSampler", **given)
    (made, report), _ = call("OpenT2VSampler", **given, step_cache=cache)
    assert "Step cache (every third): 4 of 9 steps computed" in report and "CrrCrrCrC" in report
    assert torch.isfinite(made["samples"]).all() and not torch.equal(made["samples"], plain["samples"])
    with pytest.raises(SamplingError, match="policy every third does not know before the run which steps it reuses"):
        call("OpenT2VStepCache", policy="every third", target_speedup=2.0)


def test_another_rule_is_asked_in_every_step(monkeypatch):
    asked = []

    class Odd:
        after_first = False

        def reuse(self, entering):
            asked.append(entering.index)
            return entering.index % 2 == 1

        def computed(self, entering, output):
            pass

    monkeypatch.setitem(POLICIES, "odd", Policy("odd", rule=lambda settings, variant: Odd))
    _, cache = run("wan", settings(policy="odd"))
    # The last step is always computed.
    assert asked == list(range(STEPS)) and summary(cache) == "5 of 8 steps computed"
