"""The step cache's nodes, and what the sampler says and passes on of it."""

from __future__ import annotations

import re

import pytest
import torch

from opent2v.host import tags
from opent2v.sampling import SamplingError
from opent2v.sampling.caches import CacheRequest
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny


def sample(model=None, **given):
    positive, negative = tiny.conditioning()
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4), "opent2v": {"family": "wan"}}
    given = {"steps": 10, "positive": positive, "negative": negative, "latent": latent} | given
    return call("OpenT2VSampler", model=model or tiny.shared()[0], **given)


def setting(**given):
    return call("OpenT2VStepCache", **given)[0][0]


def test_the_nodes_defaults_are_the_settings_own():
    assert setting() == CacheRequest()


def test_the_sampler_says_and_passes_on_what_was_computed():
    (latent, report), ui = sample(step_cache=setting(policy="plan", plan="2", start=0, end=1))
    # every second of ten steps, and the last
    first, said, strip, forced, seconds, kept = ui["opent2v_remarks"]
    assert said == "Step cache (plan): 6 of 10 steps computed" and strip == "CrCrCrCrCC"
    assert (
        first.startswith("10 steps, cfg 4") and forced == "Computed whatever the rule says: first steps 1, last steps 1"
    )
    assert re.fullmatch(
        r"[\d.]+ m?s a computed step, [\d.]+ m?s a reused one: sampling about \d+\.\d\d x as .*", seconds
    )
    assert kept.endswith(" MiB kept at most") and report == remarks(ui)
    made = latent["opent2v"]["cache_report"]
    assert made["steps"] == {"all": strip} and made["forced"] == {"first steps": 1, "last steps": 1}
    assert made["seconds"].keys() == {"computed", "reused"} and made["kept_bytes"] > 0 and made["remarks"] == []
    assert latent["opent2v"]["family"] == "wan" and latent["opent2v"]["cache"] == "6 of 10 steps computed"
    graph = {"1": {"class_type": "OpenT2VSampler", "inputs": {}}}
    assert tags.summary(graph, None, latent["opent2v"])["cache"] == "6 of 10 steps computed"


def test_without_or_off_all_is_as_before():
    (plain, _), ui = sample()
    assert "Step cache" not in remarks(ui) and "cache" not in plain["opent2v"]
    (off, _), ui = sample(step_cache=setting(threshold=0.0))
    assert torch.equal(off["samples"], plain["samples"])
    assert ui["opent2v_remarks"][1:] == ["Step cache (easycache): off, all steps computed"]


def test_apply_step_cache_does_what_the_samplers_input_does():
    cache = setting(policy="plan", plan="2")
    ((under,), _) = call("OpenT2VApplyStepCache", model=tiny.shared()[0], step_cache=cache)
    ((a, _), _), ((b, _), _), ((plain, _), _) = sample(under), sample(step_cache=cache), sample()
    assert torch.equal(a["samples"], b["samples"]) and not torch.equal(a["samples"], plain["samples"])
    # the sampler's own takes the MODEL's place
    assert torch.equal(sample(under, step_cache=setting(threshold=0.0))[0][0]["samples"], plain["samples"])


def test_what_cannot_be_is_refused_before_the_run():
    with pytest.raises(SamplingError, match="there are none for Wan tiny; those of another model would freeze"):
        sample(step_cache=setting(policy="teacache"))
    with pytest.raises(SamplingError, match="there are none for Wan tiny"):
        call("OpenT2VApplyStepCache", model=tiny.shared()[0], step_cache=setting(policy="teacache"))
    with pytest.raises(SamplingError, match="The plan of the step cache is 'fast'; expected a number n"):
        setting(policy="plan", plan="fast")
