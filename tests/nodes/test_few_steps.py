"""Values at 0 follow a LoRA of few steps on the MODEL, and the sampler says whose they are and what does not fit.

Tests: nodes/few_steps.py and sampling/few_steps.py.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.few_steps import METADATA, RENOISED, FewSteps, FewStepsLora, with_few_steps
from opent2v.families import families
from opent2v.host import embedded
from opent2v.sampling import SamplerRequest, plan_run
from opent2v.tests.nodes.calls import call
from opent2v.tests.nodes.test_lora import draw
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

LIGHTNING = "Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16.safetensors"
SHAPE = (1, 16, 3, 4, 4)


@pytest.fixture
def folder(tmp_path):
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    (tmp_path / "loras").mkdir()
    for name in (LIGHTNING, "plain.safetensors", "Wan2.1_T2V_14B_FusionX_LoRA.safetensors"):
        save_file(draw(1), tmp_path / "loras" / name)
    return tmp_path / "loras"


def load(name, model=None, strength=1.0):
    (model, _, report, *_), _ = call(
        "OpenT2VLoadLora", model=model or tiny.shared()[0], lora=name, strength_model=strength
    )
    return model, report


def sample(model, **values):
    positive, negative = tiny.conditioning()
    latent = {"samples": torch.zeros(SHAPE)}
    values = {"model": model, "positive": positive, "negative": negative, "latent": latent} | values
    (out, report), _ = call("OpenT2VSampler", **values)
    return out["samples"], report.splitlines()


def test_the_sampler_takes_what_the_lora_was_made_for(folder):
    model, report = load(LIGHTNING)
    assert (
        "Few steps (Wan2.2-Lightning): 4 steps, cfg 1, shift 5, strength 1; Video Sampler takes these where its own "
        "values are 0. Without a step cache" in report
    )
    samples, lines = sample(model)
    assert lines[0].startswith("4 steps, cfg 1, FlowMatchEulerDiscrete")
    assert lines[1] == f"4 steps, cfg 1, shift 5: taken from Wan2.2-Lightning ({LIGHTNING})"
    same, _ = sample(model, steps=4, cfg=1.0, shift=5.0)
    torch.testing.assert_close(samples, same, atol=1e-6, rtol=0)


def test_a_lora_of_strength_0_and_one_of_no_few_steps_change_nothing(folder):
    plain, _ = sample(tiny.shared()[0])
    for model in (load(LIGHTNING, strength=0)[0], tiny.shared()[0]):
        samples, lines = sample(model)
        assert torch.equal(samples, plain) and not any(": taken from " in line for line in lines)
    assert embedded.few_steps(load("plain.safetensors")[0]) == ()


def test_what_the_user_sets_wins_and_is_told_where_it_does_not_fit(folder):
    model, _ = load(LIGHTNING)
    _, lines = sample(model, steps=10, cfg=5.0, shift=2.0)
    assert lines[0].startswith("10 steps, cfg 5")
    name = f"Wan2.2-Lightning ({LIGHTNING})"
    assert f"{name} was made for 4 to 8 steps at cfg 1; 10 steps at cfg 5 burn." in lines
    assert f"{name} was made with shift 5; shift 2 blurs or leaves noise." in lines
    assert not any(": taken from " in line for line in lines)
    _, lines = sample(model, steps=2)
    assert f"{name} was made for 4 to 8 steps at cfg 1; 2 steps at cfg 1 leave noise." in lines
    assert f"cfg 1, shift 5: taken from {name}" in lines
    for fitting in ({"steps": 6}, {"steps": 2, "denoise": 0.5}):  # the last two of four
        _, lines = sample(model, **fitting)
        assert not any("was made" in line for line in lines)


def test_two_that_disagree_are_told(folder):
    other = "Wan2.1_T2V_14B_FusionX_LoRA.safetensors"
    model, _ = load(LIGHTNING)
    _, lines = sample(load(other, model)[0])
    assert (
        f"The LoRAs of few steps disagree ({LIGHTNING}: 4 steps, cfg 1, shift 5; {other}: 8 steps, cfg 1, shift 1). "
        "The last one's values are used: keep one of them." in lines
    )
    assert lines[0].startswith("8 steps, cfg 1")
    _, lines = sample(load(LIGHTNING, model)[0])
    assert not any("disagree" in line for line in lines)


def test_a_strength_far_from_the_makers_is_told(folder):
    _, lines = sample(load(LIGHTNING, strength=0.2)[0])
    assert f"{LIGHTNING} is made for strength 1, found 0.2: its few steps come out unfinished." in lines
    _, lines = sample(load(LIGHTNING, strength=2.0)[0])
    assert f"{LIGHTNING} is made for strength 1, found 2: its few steps come out burnt." in lines


def test_a_distilled_checkpoint_goes_before_a_lora(folder):
    model, _ = load(LIGHTNING)
    few = FewSteps("FastWan", "", "a test", 3, sigmas=(1.0, 0.757, 0.522), solver=RENOISED)
    part = replace(model.part, variant=with_few_steps(model.part.variant, few))
    _, lines = sample(replace(model, part=part))
    assert lines[0].startswith("3 steps, cfg 1") and "3 steps, cfg 1, its noise levels: taken from FastWan" in lines
    assert (
        f"This checkpoint is distilled already (FastWan: 3 steps, cfg 1, its own noise levels), and {LIGHTNING} (4 "
        "steps, cfg 1, shift 5) distils it once more: both together burn. Take the LoRA out." in lines
    )


def test_a_lora_on_one_expert_alone_is_told():
    loaded = tiny.pipeline(tiny_wan.folder("t2v_a14b"))
    high, low = (embedded.model(part) for part in loaded.models)
    words = [embedded.embed(embedded.clip(loaded.text), text) for text in ("a star", "blurry")]
    given = {"positive": words[0], "negative": words[1]}
    few = FewSteps("Wan2.2-Lightning", "", "a test", 4, shift=(5.0,))
    has = embedded.with_few_steps(high, FewStepsLora(few, "a.safetensors", 1.0))
    _, lines = sample(has, **given, low_noise_model=low)
    assert any(line.startswith("Only the high-noise model has a LoRA of few steps (a.safetensors).") for line in lines)
    both = embedded.with_few_steps(low, FewStepsLora(few, "b.safetensors", 1.0))
    _, lines = sample(has, **given, low_noise_model=both)
    assert lines[0].startswith("4 steps, cfg 1 (1 for the ") and not any("Only the" in line for line in lines)
    other = replace(few, steps=6)
    _, lines = sample(
        has, **given, low_noise_model=embedded.with_few_steps(low, FewStepsLora(other, "b.safetensors", 1.0))
    )
    assert (
        "The two experts' LoRAs disagree (a.safetensors: 4 steps, cfg 1, shift 5; b.safetensors: 6 steps, cfg 1, shift "
        "5). The high-noise one's values are used." in lines
    )


def test_a_lora_states_its_own_schedule(folder):
    values = {"title": "mine", "steps": 3, "cfg": 1, "sigmas": [1, 0.7, 0.4]}
    save_file(draw(1), folder / "any name.safetensors", {METADATA: json.dumps(values)})
    model, _ = load("any name.safetensors")
    _, lines = sample(model)
    assert "3 steps, cfg 1, its noise levels: taken from mine (any name.safetensors)" in lines
    run = plan_run(with_few_steps(model.part.variant, model.few_steps[0].few), SamplerRequest(), SHAPE)
    assert run.schedule.sigmas.tolist() == pytest.approx([1, 0.7, 0.4, 0])


def test_fresh_noise_between_the_levels():
    """The expected clean latent, noised anew: what the makers of DMD models do."""
    variant = tiny.shared()[0].part.variant
    few = families()["wan"].sampling.few_steps[0]
    run = plan_run(with_few_steps(variant, few), SamplerRequest(seed=3), SHAPE)
    assert run.schedule.sigmas.tolist() == pytest.approx([1, 0.757, 0.522, 0])
    x, flow = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)), torch.full(SHAPE, 0.5)
    steps = [run.schedule.advance(flow, 0, x), run.schedule.advance(flow, 1, x), run.schedule.advance(flow, 2, x)]
    for step, (sigma, after) in enumerate(((1, 0.757), (0.757, 0.522))):
        noise = (steps[step] - (1 - after) * (x - sigma * flow)) / after
        assert noise.mean().abs() < 0.2 and noise.std() == pytest.approx(1, abs=0.15)
    torch.testing.assert_close(steps[2], x - 0.522 * flow)
