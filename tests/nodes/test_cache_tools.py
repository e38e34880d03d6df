"""Calibrating, planning by the profile, comparing and sweeping, through the nodes.

Tests: nodes/calibrate_cache.py, nodes/compare_cache.py, nodes/sweep_cache.py
"""

from __future__ import annotations

import json
import re

import pytest
import torch

from opent2v.base import WeightChange
from opent2v.host import embedded, host
from opent2v.sampling import Guidance, SamplingError
from opent2v.tests.loaders.lora import files, models
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx_video as tiny_ltx_video
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

STEPS = 12


@pytest.fixture(autouse=True)
def output(tmp_path):
    embedded.configure(output=tmp_path)
    return tmp_path


@pytest.fixture
def said(monkeypatch):
    """What nodes say before their run."""
    lines: list[str] = []
    monkeypatch.setattr(host, "say", lambda remarks, node: lines.extend(remarks))
    return lines


def inputs(model=None, **given):
    positive, negative = tiny.conditioning()
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4), "opent2v": {"family": "wan"}}
    own = {"model": model or tiny.shared()[0], "positive": positive, "negative": negative, "latent": latent}
    return {**own, "steps": STEPS, **given}


def calibrated(**given):
    (profile, latent, *_), ui = call("OpenT2VCalibrateCache", **inputs(**given))
    return profile, latent, ui


def cached(profile=None, model=None, steps=STEPS, **given):
    """(LATENT, remarks) under a step cache."""
    ((cache,), _) = call("OpenT2VStepCache", **{"policy": "auto", "profile": profile, **given})
    (latent, _), ui = call("OpenT2VSampler", **inputs(model, steps=steps, step_cache=cache))
    return latent, remarks(ui)


def test_calibrating_is_a_run_with_every_step_computed():
    (plain, _), _ = call("OpenT2VSampler", **inputs())
    profile, latent, ui = calibrated()
    assert torch.equal(latent["samples"], plain["samples"])
    assert [row.label for row in profile.rows].count("positive") == STEPS
    assert profile.setup.scheduler == "UniPCMultistepScheduler" and profile.setup.shift == 3.0
    assert len(re.findall(r"Policy optimal, threshold 0.\d+: \d+ of 12 steps computed", remarks(ui))) == 4


def test_a_profile_is_saved_under_its_name_and_loaded(output):
    profile, _, ui = calibrated(name="mine")
    calibrated(name="mine")
    calibrated()
    folder = output / "step_cache"
    assert sorted(p.name for p in folder.iterdir()) == ["Wan tiny 12 steps.json", "mine.json", "mine_2.json"]
    assert str(folder / "mine.json") in remarks(ui)
    assert json.loads((folder / "mine.json").read_text())["about"] == {"steps": 12, "cfg": 4.0, "latent": "3 x 4 x 4"}
    ((loaded,), ui) = call("OpenT2VLoadCacheProfile", file="mine")
    assert loaded == profile and "Of Wan tiny (weights " in remarks(ui) and "steps 12" in remarks(ui)
    with pytest.raises(SamplingError, match=r"The profile 'gone' is not there \(any more\). Run Calibrate Step Cache"):
        call("OpenT2VLoadCacheProfile", file="gone")


@pytest.mark.parametrize("name", ["../out", ".hidden", "a/b", "a" * 101])
def test_a_name_that_is_none_of_a_file_is_refused_before_the_run(name, output):
    with pytest.raises(SamplingError, match=r"A profile cannot be called .*: use letters, digits, spaces"):
        calibrated(name=name)
    assert not (output / "step_cache").exists()


@pytest.mark.parametrize("target", [1.5, 2.0])
@pytest.mark.parametrize("has_profile", [True, False])
def test_what_is_planned_is_what_is_done(target, has_profile, said):
    profile = calibrated()[0] if has_profile else None
    said.clear()
    latent, after = cached(profile, target_speedup=target)
    plan = re.search(r"Plan: (\w+) \((\d+) of 12 steps computed, about (\d.\d+) x\)", "\n".join(said))
    assert plan and float(plan[3]) >= target
    assert latent["opent2v"]["cache_report"]["steps"] == {"all": plan[1]} and plan[1] in after
    assert latent["opent2v"]["cache"] == f"{plan[2]} of 12 steps computed"
    assert f"Aimed at {target:g} x: {plan[2]} of 12 steps computed" in after


@pytest.mark.parametrize("policy", ["optimal", "magcache"])
@pytest.mark.parametrize("steps", [STEPS, 17])
def test_a_profiles_policies_do_what_they_planned(policy, steps, said):
    profile = calibrated()[0]
    said.clear()
    latent, _ = cached(profile, policy=policy, threshold=0.3, steps=steps)
    (plan,) = re.findall(r"Plan: (\w+)", "\n".join(said))
    assert latent["opent2v"]["cache_report"]["steps"] == {"all": plan} and len(plan) == steps and "r" in plan


def test_another_models_profile_is_refused_before_the_run():
    profile = calibrated()[0]
    other = tiny.shared("bf16")[0]
    with pytest.raises(
        SamplingError, match=r"made with other weights. Found: Wan tiny \(weights \w+\).*is of: Wan tiny"
    ):
        cached(profile, other)
    ((cache,), _) = call("OpenT2VStepCache", policy="optimal", profile=profile)
    with pytest.raises(SamplingError, match="made with other weights"):
        call("OpenT2VApplyStepCache", model=other, step_cache=cache)
    for changed, message in (({"shift": 5.0}, "another shift"), ({"solver": "euler"}, "another scheduler")):
        with pytest.raises(SamplingError, match=f"made with {message}. Found: .*Run Calibrate Step Cache with this"):
            call("OpenT2VSampler", **inputs(step_cache=cache, **changed))


def test_a_profile_is_of_the_loras_too(output):
    embedded.configure(models=output / "models", output=output)
    (output / "models" / "loras").mkdir(parents=True)
    one = models.loaded("wan")
    files.write(output / "models" / "loras" / "any.safetensors", files.FORMATS["kohya"], one.sites, one.state)

    def with_lora(strength=1.0):
        given = {"model": tiny.shared()[0], "lora": "any.safetensors", "strength_model": strength}
        return call("OpenT2VLoadLora", **given)[0][0]

    of_none, of_lora = calibrated()[0], calibrated(model=with_lora())[0]
    for profile, model in ((of_none, with_lora()), (of_lora, None), (of_lora, with_lora(0.5))):
        with pytest.raises(SamplingError, match=r"made with other LoRAs. Found: .*, LoRAs \w+, .*is of: .*LoRAs \w+"):
            cached(profile, model)
    latent, _ = cached(of_lora, with_lora())
    assert "r" in latent["opent2v"]["cache_report"]["steps"]["all"]


def test_apply_step_cache_plans_by_a_profile_too():
    profile = calibrated()[0]
    ((cache,), _) = call("OpenT2VStepCache", policy="optimal", threshold=0.3, profile=profile)
    ((under,), _) = call("OpenT2VApplyStepCache", model=tiny.shared()[0], step_cache=cache)
    (inside, _), _ = call("OpenT2VSampler", **inputs(under))
    (given, _), _ = call("OpenT2VSampler", **inputs(step_cache=cache))
    (plain, _), _ = call("OpenT2VSampler", **inputs())
    assert torch.equal(inside["samples"], given["samples"])
    assert not torch.equal(inside["samples"], plain["samples"])


def test_a_profile_holds_for_its_loras_only():
    model = tiny.shared()[0]
    name, weight = next(iter(model.part.transformer.named_parameters()))
    lora = [WeightChange(name, "diff", {"diff": torch.ones_like(weight)})]
    one, other = (embedded.apply_patches(model, lora, strength) for strength in (0.1, 0.2))
    profile = calibrated(model=one)[0]
    cached(profile, model=one, policy="optimal")
    for another in (model, other):
        with pytest.raises(SamplingError, match=r"^The step cache's profile was made with other LoRAs\."):
            cached(profile, model=another, policy="optimal")


def test_few_steps_are_sampled_as_without_a_cache(said):
    (plain, _), _ = call("OpenT2VSampler", **inputs(steps=8))
    latent, after = cached(policy="first block", steps=8, threshold=1.0)
    assert torch.equal(latent["samples"], plain["samples"])
    assert said == ["8 steps are few: the step cache is off. Set few_steps to true to use it all the same."]
    assert said[0] in after and latent["opent2v"]["cache_report"]["remarks"] == said
    latent, _ = cached(policy="first block", steps=8, threshold=1.0, few_steps=True)
    assert not torch.equal(latent["samples"], plain["samples"])


def test_calibrating_and_sweeping_under_the_guidance_one_samples_with():
    model, clip, vae = tiny_ltx_video.shared("0.9.5")
    words = {name: embedded.embed(clip, text) for name, text in (("positive", "a star"), ("negative", ""))}
    latent = {"samples": torch.zeros(1, *model.part.variant.geometry.latent_shape(64, 64, 9))}
    ((guidance,), _) = call("OpenT2VGuidance", stg=1.0, stg_blocks="1")
    given = inputs(model, **words, latent=latent, cfg=3.0)
    (plain, _), _ = call("OpenT2VSampler", **given)
    given["guidance"] = guidance
    (guided, _), _ = call("OpenT2VSampler", **given)
    (profile, measured, *_), _ = call("OpenT2VCalibrateCache", **given)
    assert torch.equal(measured["samples"], guided["samples"]) and not torch.equal(guided["samples"], plain["samples"])
    assert {row.label for row in profile.rows} == {"positive", "negative", "perturbed"}
    ((cache,), _) = call("OpenT2VStepCache", policy="optimal", profile=profile, target_speedup=2.0)
    (cached, said), _ = call("OpenT2VSampler", **given, step_cache=cache)
    computed = re.search(r"optimal\): (\d of 12) steps computed", said)
    assert computed and not torch.equal(cached["samples"], guided["samples"])
    (report, reference, *_), _ = call("OpenT2VSweepCache", **given, vae=vae, step_cache=cache, strengths="2")
    assert torch.equal(reference["samples"], guided["samples"]) and f"target 2 | {computed[1]} |" in report


@pytest.mark.parametrize("node", ["OpenT2VCalibrateCache", "OpenT2VSweepCache"])
def test_guidance_by_pictures_where_there_is_none(node, output):
    model, _, vae = tiny.shared()
    further = {"vae": vae, "step_cache": call("OpenT2VStepCache")[0][0], "strengths": "0.1"} if "Sweep" in node else {}
    with pytest.raises(SamplingError, match=r"has no guidance by pictures. Set picture_cfg to 0\."):
        call(node, **inputs(model, guidance=Guidance(picture_cfg=2.0)), **further)
    assert not (output / "step_cache").exists()


def test_compare():
    frames = torch.rand(5, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    (report, psnr, ssim, *_), ui = call("OpenT2VCompareCache", images=frames, reference_images=frames)
    assert psnr == 100.0 and ssim == pytest.approx(1.0, abs=1e-4) and "frames | identical | 1.000" in report
    assert remarks(ui) == report
    (report, psnr, *_), _ = call("OpenT2VCompareCache", images=frames * 0.9 + 0.05, reference_images=frames)
    assert 25 < psnr < 35 and "| 90% |" in report
    latent = {"samples": torch.rand(1, 16, 3, 8, 8)}
    (report, psnr, *_), _ = call("OpenT2VCompareCache", latent=latent, reference_latent=latent)
    assert psnr == 100.0 and "latents: decode both for a verdict" in report


def test_compare_wants_a_pair():
    latent = {"samples": torch.rand(1, 16, 3, 8, 8)}
    with pytest.raises(SamplingError, match="There is nothing to compare: connect images and reference_images, or"):
        call("OpenT2VCompareCache")
    with pytest.raises(SamplingError, match=r"^images is connected and reference_images is not: both are needed. Conn"):
        call("OpenT2VCompareCache", latent=latent, reference_latent=latent, images=torch.rand(2, 8, 8, 3))
    with pytest.raises(SamplingError, match=r"^reference_latent is connected and latent is not: both are needed."):
        call("OpenT2VCompareCache", reference_latent=latent)


def test_clips_that_cannot_be_compared():
    frames = torch.rand(3, 8, 8, 3)
    with pytest.raises(
        SamplingError,
        match=r"^The cached run is 2 frames of 8 x 8 with 3 channels, the reference 3 frames of 8 x 8 with 3 channels; "
        r"only runs of the same size and length can be compared\. Give both samplers the same empty latent\.$",
    ):
        call("OpenT2VCompareCache", images=frames[:2], reference_images=frames)
    with pytest.raises(SamplingError, match=r"^The reference has values that are not finite, so there is nothing to"):
        call("OpenT2VCompareCache", images=frames, reference_images=frames / 0)


def swept(strengths="2", **given):
    ((cache,), _) = call("OpenT2VStepCache", **{"policy": "auto", "target_speedup": 2.0, **given})
    model, _, vae = tiny.shared()
    return call("OpenT2VSweepCache", **inputs(model, vae=vae, step_cache=cache, strengths=strengths))


def test_a_sweep_has_a_row_for_each_strength_and_each_control():
    (report, latent, *_), ui = swept("1.5, 3")
    (plain, _), _ = call("OpenT2VSampler", **inputs())
    assert torch.equal(latent["samples"], plain["samples"]) and remarks(ui) == report
    assert re.match(r"12 steps without a cache: \d+\.\d s\nrun \| computed \| speed \| PSNR \| ", report)
    rows = [line for line in report.split("\n")[2:] if " | " in line]
    assert [row.split(" | ")[0] for row in rows if row.startswith("target")] == ["target 1.5", "target 3"]
    for row in rows:
        assert re.search(r" \| \d+ of \d+ \| \d+\.\d\d x \| (\d+\.\d dB|identical) \| ", row), row
    assert any(re.match(r"(\d+) steps, no cache \| \1 of \1 \| ", row) for row in rows)


def test_a_sweep_of_few_steps_says_that_the_cache_was_off():
    model, _, vae = tiny.shared()
    cache = call("OpenT2VStepCache")[0][0]
    given = inputs(model, vae=vae, step_cache=cache, strengths="0.1, 0.2", steps=4)
    (report, *_), _ = call("OpenT2VSweepCache", **given)
    assert report.count("| off | 1.00 x | identical |") == 2
    said = "4 steps are few: the step cache is off. Set few_steps to true to use it all the same."
    assert report.split("\n")[-1] == said and report.count(said) == 1


@pytest.mark.parametrize("strengths", ["", "fast", "0", "-1", "nan"])
def test_strengths_that_are_none(strengths):
    with pytest.raises(SamplingError, match=r"strengths is .*; expected numbers above 0, such as 0.05, 0.1, 0.2."):
        swept(strengths)


def test_a_plan_has_no_strength():
    with pytest.raises(
        SamplingError, match="A sweep tries several strengths, and policy plan of the step cache has none"
    ):
        swept(policy="plan", plan="2", target_speedup=0.0)


def test_two_experts_have_a_profile_and_a_plan_each(said):
    loaded = tiny.pipeline(tiny_wan.folder("t2v_a14b"))
    (high, low), clip = (embedded.model(part) for part in loaded.models), embedded.clip(loaded.text)
    text = embedded.embed(clip, "a star")
    latent = call("OpenT2VEmptyLatent", model=high)[0][0]
    both = {"model": high, "low_noise_model": low, "positive": text, "negative": text, "latent": latent, "steps": 40}
    profile = call("OpenT2VCalibrateCache", **both)[0][0]
    assert len(profile.setup.weights) == 2 and {row.expert for row in profile.rows} == {0, 1}
    ((cache,), _) = call("OpenT2VStepCache", policy="auto", target_speedup=1.5, profile=profile, start=0.0, end=1.0)
    (made, _), _ = call("OpenT2VSampler", **both, step_cache=cache)
    plans = dict(re.findall(r"(high noise|low noise): Plan: (\w+)", "\n".join(said)))
    assert made["opent2v"]["cache_report"]["steps"] == plans and len("".join(plans.values())) == 40
    assert all("r" in plan for plan in plans.values())
    # The second half of a run, which the low-noise model makes alone, goes by its own part of the profile.
    said.clear()
    start = {**latent, "samples": torch.ones_like(latent["samples"])}
    (made, _), _ = call("OpenT2VSampler", **both | {"latent": start}, step_cache=cache, denoise=0.5)
    (strip,) = made["opent2v"]["cache_report"]["steps"].values()
    assert re.findall(r"low noise: Plan: (\w+)", "\n".join(said)) == [strip] and "r" in strip
    # Few steps of one of them, and not of the other.
    easy = call("OpenT2VStepCache", threshold=0.3)[0][0]
    (made, report), _ = call("OpenT2VSampler", **both | {"steps": 14}, step_cache=easy)
    assert re.fullmatch(r"(high|low) noise \d+ of \d+ steps computed, (high|low) noise off", made["opent2v"]["cache"])
    assert re.search(r"(high|low) noise: \d steps are few: the step cache is off", report)
    # KSampler knows one of them only: it gets the part that is its own.
    call("OpenT2VApplyStepCache", model=low, step_cache=cache)
    swapped = {**both, "low_noise_model": high, "model": low}
    with pytest.raises(SamplingError, match="the two files swapped"):
        call("OpenT2VSampler", **swapped, step_cache=cache)
