"""Normalised attention guidance where prompt and video share one attention, against an implementation of its own.

The reference runs two rows through diffusers' unchanged blocks, one for each prompt, and writes the paper's mixture of
both rows' video tokens into both, as the authors' Flux does (ChenDarYen/Normalized-Attention-Guidance @69159ca).

Tests: base/joint.py, base/forwards.py and the families' joint.py.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplerRequest, describe, plan_run
from opent2v.sampling.caches import CacheRun, StepCache
from opent2v.sampling.nag import Nag
from opent2v.tests.sampling.test_nag import ALPHA, SCALE, TAU, paper
from opent2v.tests.tiny import cogvideox as tiny_cog
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import open_sora as tiny_sora

PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
HOSTED = {
    "hunyuan_video": tiny_hunyuan.hosted,
    "mochi": tiny_mochi.hosted,
    "open_sora": tiny_sora.hosted,
    "cogvideox 2b": lambda: tiny_cog.shared("2b"),
    "cogvideox 1.5": lambda: tiny_cog.shared("1.5"),
}
SETTINGS = Guidance(nag=SCALE, nag_tau=TAU, nag_alpha=ALPHA)


class Rows:
    """A processor of attention over two rows that differ in their prompt: both go on with the paper's mixture.

    Flux's single blocks hand the text to attention in front of the video, as one.
    """

    def __init__(self, plain, text_tokens):
        self.plain, self.text_tokens = plain, text_tokens

    def __call__(
        self, attention, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None
    ):
        settings = {"attention_mask": attention_mask, "image_rotary_emb": image_rotary_emb}
        if encoder_hidden_states is None:
            both = self.plain(attention, hidden_states, None, **settings)
            text, video = both[:, : self.text_tokens], both[:, self.text_tokens :]
            mixed = paper(video[:1], video[1:], SCALE, TAU, ALPHA)
            return torch.cat([text, torch.cat([mixed, mixed])], 1)
        last = getattr(attention, "to_out", None)
        if last is not None:
            attention.to_out = nn.ModuleList([nn.Identity(), nn.Identity()])
        video, text = self.plain(attention, hidden_states, encoder_hidden_states, **settings)
        mixed = paper(video[:1], video[1:], SCALE, TAU, ALPHA)
        video = torch.cat([mixed, mixed])
        if last is not None:
            attention.to_out = last
            video = last[1](last[0](video))
            if type(self.plain).__name__.startswith("CogVideoX"):  # one layer for both
                text = last[1](last[0](text))
        return video, text


def blocks(transformer):
    return [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", ())]


def in_rows(transformer, text_tokens):
    """A copy whose blocks mix two rows."""
    rows = copy.deepcopy(transformer)
    for block in blocks(rows):
        attention = getattr(block, "attn1", None) or block.attn
        attention.processor = Rows(attention.processor, text_tokens)
    if hasattr(rows, "time_embed"):  # Mochi: the pooled embedding of the first prompt for both
        plain = rows.time_embed.forward

        def embedded_once(*args, **kwargs):
            time, text = plain(*args, **kwargs)
            return time[:1].expand_as(time), text

        rows.time_embed.forward = embedded_once
    return rows


def nag(variant, entry):
    network = variant.family.network
    return Nag(SCALE, TAU, ALPHA, entry, network.joint, network.blocks)


def twice(conditions):
    return {key: torch.cat([value, value]) for key, value in conditions.items()}


def prepared(name):
    model, clip, _ = HOSTED[name]()
    variant = model.part.variant
    positive, negative = (embedded.embed(clip, text) for text in (PROMPT, NEGATIVE))
    shape = (1, *variant.geometry.latent_shape(32, 32, 9 if name != "mochi" else 7))
    if name.startswith("cogvideox"):
        shape = (1, *variant.geometry.latent_shape(48, 32, 9))
    entry = {**negative[0][1], "cross_attn": negative[0][0]}
    return model, variant, positive, negative, shape, entry


@pytest.mark.parametrize("name", HOSTED)
def test_the_network_against_an_implementation_in_rows(name):
    model, variant, positive, negative, shape, entry = prepared(name)
    transformer, predict = model.part.transformer, variant.family.network.predict
    conditions = [
        model.conditions({**prompt[0][1], "cross_attn": prompt[0][0]}, shape) for prompt in (positive, negative)
    ]
    joined = {key: torch.cat([condition[key] for condition in conditions]) for key in conditions[0]}
    if "pooled" in joined:
        joined["pooled"] = joined["pooled"][:1].expand(2, -1)
    guide, rows = nag(variant, entry), in_rows(transformer, positive[0][0].shape[1])
    dice = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for t in (900.0, 400.0):
            x, time = torch.randn(shape, generator=dice), torch.tensor([t])
            plain = predict(variant, transformer, x, time, conditions[0])
            with guide.guided(transformer):
                ours = predict(variant, transformer, x, time, conditions[0])
                two = predict(variant, transformer, torch.cat([x, x]), time.expand(2), twice(conditions[0]))
            reference = predict(variant, rows, torch.cat([x, x]), time.expand(2), joined)
            torch.testing.assert_close(ours, reference[:1], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(two, torch.cat([ours, ours]), atol=1e-5, rtol=1e-5)
            assert (ours - plain).abs().max() > 1e-3
            assert torch.equal(predict(variant, transformer, x, time, conditions[0]), plain)  # left as it was


@pytest.mark.parametrize("name", HOSTED)
def test_a_run_calls_the_network_once_a_step(name):
    model, variant, positive, negative, shape, entry = prepared(name)
    request = SamplerRequest(seed=4, steps=3, cfg=1.0, guidance=SETTINGS)
    run = plan_run(variant, request, shape, negative=entry)
    assert "negative prompt by attention 7" in describe(run)[0]
    calls = []
    handle = model.part.transformer.register_forward_hook(lambda *_: calls.append(1))
    ours = embedded.sample(model, positive, negative, {"samples": torch.zeros(shape)}, run)
    handle.remove()
    assert len(calls) == 3
    without = plan_run(variant, replace(request, guidance=Guidance()), shape)
    other = embedded.sample(model, positive, negative, {"samples": torch.zeros(shape)}, without)
    assert (other - ours).abs().max() > 1e-4


def test_words_alone_are_as_good_as_words_with_padding():
    """HunyuanVideo reads prompts of any number of tokens."""
    model, variant, positive, _, shape, entry = prepared("hunyuan_video")
    words = int(entry["attention_mask"].sum())
    cut = {**entry, "cross_attn": entry["cross_attn"][:, :words], "attention_mask": None}
    conditions = model.conditions({**positive[0][1], "cross_attn": positive[0][0]}, shape)
    x, time = torch.randn(shape, generator=torch.Generator().manual_seed(5)), torch.tensor([700.0])
    results = []
    for second in (entry, cut):
        with torch.no_grad(), nag(variant, second).guided(model.part.transformer):
            results.append(variant.family.network.predict(variant, model.part.transformer, x, time, conditions))
    assert 0 < words < entry["cross_attn"].shape[1]
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_prompts_of_other_lengths_are_refused_where_the_model_has_places_for_one():
    model, variant, positive, negative, shape, entry = prepared("cogvideox 2b")
    short = {**entry, "cross_attn": entry["cross_attn"][:, :-2]}
    run = plan_run(variant, SamplerRequest(steps=2, cfg=1.0, guidance=SETTINGS), shape, negative=short)
    with pytest.raises(FamilyError, match="has 12 tokens and the negative one 10; CogVideoX reads equally many"):
        embedded.sample(model, positive, negative, {"samples": torch.zeros(shape)}, run)


@pytest.mark.parametrize("name", ["hunyuan_video", "cogvideox 1.5"])
def test_a_step_cache_beside_it_while_it_works_in_a_part_of_the_steps(name):
    """A run that reuses nothing is the run without a cache, and one that reuses steps comes close to it."""
    model, variant, positive, negative, shape, entry = prepared(name)
    request = SamplerRequest(steps=6, cfg=1.0, guidance=replace(SETTINGS, start=0.95, end=0.4))
    results, reused = [], []
    for settings in (None, "off", "blocks", "model"):
        policy = {"policy": "off"} if settings == "off" else {"policy": "plan", "plan": "2", "boundary": settings}
        cache = None if settings is None else CacheRun(StepCache(**policy), variant)
        run = plan_run(variant, request, shape, negative=entry)
        works = [any(guidance_pass.change for guidance_pass in step.passes) for step in run.steps]
        latent = {"samples": torch.zeros(shape)}
        results.append(embedded.sample(model, positive, negative, latent, run, step_cache=cache))
        reused.append(sum(not call.computed for stage in cache.stages for call in stage.calls) if cache else 0)
    assert 0 < sum(works) < 6 and reused[:2] == [0, 0] and min(reused[2:]) > 0
    assert torch.equal(results[0], results[1])
    for cached in results[2:]:
        assert 0 < (cached - results[0]).abs().max() < results[0].abs().max()
