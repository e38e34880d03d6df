"""Spatio-temporal guidance and cfg star of LTX-Video against the original pipeline's arithmetic, written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from opent2v.base import FamilyError
from opent2v.base.stg import Band, OwnStg, Stg
from opent2v.families import ltx_video
from opent2v.families.ltx_video.versions import BANDS
from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplerRequest, SamplingError, make_run, plan_run
from opent2v.sampling.guidance import guides, stg_steps
from opent2v.sampling.guides import values_only
from opent2v.tests.families.ltx_video_runs import TRANSFORMER_13B, VAE_095, configs, empty, prompts, schedule_of
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx_video as tiny

PUBLISHED = Guidance(stg_schedule="published")
LEVELS = [1.0, 0.9967, 0.995, 0.985, 0.98, 0.95, 0.7, 0.2]


class OwnTokenOnly:
    """An attention whose mask lets each token see itself and no other, which gives back its value."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        q, k, v = (layer(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2) for layer in
                   (attn.to_q, attn.to_k, attn.to_v))  # fmt: skip
        mask = torch.eye(q.shape[2], dtype=torch.bool)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attn.to_out[0](seen.transpose(1, 2).flatten(2))


def original(model, conditionings, schedule, steps: list[Stg], cfg: list[float], star: bool, seed=7):
    """pipeline_ltx_video.py, "perform guidance", with Euler steps; `rescale` 0 stands for its rescaling_scale 1."""
    part = model.part
    ((positive, further),), ((negative, others),) = conditionings
    x = torch.randn(empty(model)["samples"].shape, generator=torch.Generator().manual_seed(seed))

    def noise_pred(x, sigma, context, mask):
        entry = {"cross_attn": context, "attention_mask": mask, "denoise_mask": None}
        return part.predict(x, sigma[None] * 1000, part.conditions(entry, tuple(x.shape)))

    sigmas = schedule.sigmas
    for n, stg in enumerate(steps):
        text = pred = noise_pred(x, sigmas[n], positive, further["attention_mask"])
        if cfg[n] > 1:
            uncond = noise_pred(x, sigmas[n], negative, others["attention_mask"])
            if star:
                uncond = (text * uncond).sum() / (uncond**2).sum() * uncond
            pred = uncond + cfg[n] * (text - uncond)
        if stg.scale > 0:
            attentions = [part.transformer.transformer_blocks[block].attn1 for block in stg.blocks]
            before = [attention.processor for attention in attentions]
            for attention in attentions:
                attention.processor = OwnTokenOnly()
            perturbed = noise_pred(x, sigmas[n], positive, further["attention_mask"])
            for attention, processor in zip(attentions, before, strict=True):
                attention.processor = processor
            pred = pred + stg.scale * (text - perturbed)
            if stg.rescale:
                pred = pred * (stg.rescale * text.std() / pred.std() + 1 - stg.rescale)
        x = x + (sigmas[n + 1] - sigmas[n]) * pred
    return x


@pytest.mark.parametrize("kind", ["0.9.0", "0.9.5"])
@pytest.mark.parametrize(
    ("stg", "cfg", "star"),
    [
        (Stg(1.0, (1,), 0.7), 3.0, False),
        (Stg(1.0, (0, 1), 0.0), 3.0, True),
        (Stg(2.0, (0,), 1.0), 1.0, False),
        (Stg(0.0, (1,), 0.7), 6.0, True),
    ],
)
@torch.inference_mode()
def test_latents_are_the_originals(kind, stg, cfg, star):
    model, clip, _ = tiny.shared(kind)
    conditionings, schedule = prompts(clip), schedule_of(model, 4)
    expected = original(model, conditionings, schedule, [stg] * 4, [cfg] * 4, star)

    def sample(**given):
        run = make_run(schedule_of(model, 4), cfg, 7, guides=lambda step, cfg: guides(cfg, **given))
        return embedded.sample(model, *conditionings, empty(model), run)

    assert (sample(stg=stg, blocks="transformer_blocks", cfg_star=star) - expected).abs().max() <= 1e-4
    assert (sample() - expected).abs().max() > 1e-3


@torch.inference_mode()
def test_a_published_schedule_by_noise_level():
    model, clip, _ = tiny.shared("0.9.7")
    bands = (Band(1.0, 1, Stg(0)), Band(0.9, 6, Stg(4, (1,), 0.5)), Band(0.6, 1, Stg(2, (0,))))
    variant = model.part.variant
    family = replace(variant.family, sampling=replace(variant.family.sampling, stg=lambda _: OwnStg((1,), bands)))
    schedule = schedule_of(model, 6)
    request = SamplerRequest(7, 6, guidance=PUBLISHED)
    variant = replace(variant, family=family)
    steps = stg_steps(PUBLISHED, variant, schedule.sigmas[:-1].tolist())
    assert list(steps.cfg) == [1, 6, 6, 6, 1, 1] and steps.cfg_star  # at 1, 0.992, 0.983, 0.975 and two below 0.9
    expected = original(model, prompts(clip), schedule, list(steps.stg), list(steps.cfg), True)
    run = plan_run(variant, request, tuple(empty(model)["samples"].shape))
    assert [step.cfg for step in run.steps] == list(steps.cfg)
    got = embedded.sample(model, *prompts(clip), empty(model), run)
    assert (got - expected).abs().max() <= 1e-4


def test_the_13bs_bands_hold_from_their_level_down():
    variant = ltx_video.read(configs(TRANSFORMER_13B, VAE_095, folder={"name": "LTX-Video-0.9.8-13B-dev"}))
    # as float32 holds them
    steps = stg_steps(PUBLISHED, variant, torch.tensor(LEVELS).tolist())
    assert list(steps.cfg) == [1, 1, 6, 8, 6, 1, 1, 1]
    assert [stg.scale for stg in steps.stg] == [0, 0, 4, 4, 4, 2, 1, 1]
    assert [stg.blocks for stg in steps.stg] == [
        (), (11, 25, 35, 39), (22, 35, 39), (28,), (28,), (28,), (28,), (28,)
    ]  # fmt: skip
    assert BANDS[-1].level == 0.6180


def test_each_model_has_its_own_blocks():
    small, large = ltx_video.read(configs()), ltx_video.read(configs(TRANSFORMER_13B, VAE_095))
    assert stg_steps(Guidance(stg=1.0), small, LEVELS).stg[0] == Stg(1.0, (19,), 0.7)
    assert stg_steps(Guidance(stg=1.0), large, LEVELS).stg[0].blocks == (27,)
    assert stg_steps(Guidance(stg=1.0, stg_blocks=" 3, 11 ,3"), small, LEVELS).stg[0].blocks == (3, 11)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (PUBLISHED, "Nobody has published a guidance schedule for LTX-Video 2B 0.9.0; there is one for "),
        (Guidance(stg_schedule="often"), "No stg_schedule is called 'often'. Choose one of: constant, published."),
        (
            Guidance(stg=1.0, stg_blocks="19-21"),
            "stg_blocks is '19-21'; expected numbers with commas between, such as 11, 25.",
        ),
        (
            Guidance(stg=1.0, stg_rescale=1.5),
            "Spatio-temporal guidance has stg 1 and stg_rescale 1.5; expected stg of 0",
        ),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(SamplingError) as error:
        stg_steps(settings, ltx_video.read(configs()), LEVELS)
    assert str(error.value).startswith(said)


def test_a_distilled_model_has_no_published_schedule():
    folder = {"name": "LTX-Video-0.9.8-13B-distilled"}
    variant = ltx_video.read(configs(TRANSFORMER_13B, VAE_095, folder=folder))
    with pytest.raises(SamplingError, match=r"13B 0.9.8 distilled; there is one for the 13B dev models. Set stg_sched"):
        stg_steps(PUBLISHED, variant, LEVELS)


class TestNode:
    def sample(self, **settings):
        model, clip, _ = tiny.shared("0.9.5")
        ((guidance,), _) = call("OpenT2VGuidance", **settings)
        positive, negative = prompts(clip)
        return call(
            "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=empty(model), seed=7, steps=2,
            cfg=3.0, shift=0.0, solver="reference", denoise=1.0, guidance=guidance,
        )  # fmt: skip

    def settings(self, **changes):
        return {"stg": 1.0, "stg_blocks": "1", **changes}

    def test_the_sampler_says_what_guided_it(self):
        _, ui = self.sample(**self.settings(cfg_star=True))
        assert remarks(ui).startswith("2 steps, cfg 3, cfg star, spatio-temporal guidance 1, rescaled 0.7, ")

    def test_a_block_that_is_not_there(self):
        with pytest.raises(FamilyError, match=r"perturb block 19; this transformer's blocks are 0 to 1. Change stg_bl"):
            self.sample(**self.settings(stg_blocks=""))

    def test_another_family(self):
        from opent2v.tests.tiny import wan as tiny_wan

        model, clip, _ = tiny_wan.shared()
        conditioning = embedded.embed(clip, "a")
        latent = {"samples": torch.zeros(1, *model.part.variant.geometry.latent_shape(32, 32, 5))}
        with pytest.raises(
            SamplingError, match=r"is not made for spatio-temporal guidance; LTX-Video is. Set stg to 0"
        ):
            call(
                "OpenT2VSampler", model=model, positive=conditioning, negative=conditioning, latent=latent, seed=0,
                steps=2, cfg=3.0, shift=0.0, solver="reference", denoise=1.0, guidance=Guidance(stg=1.0),
            )  # fmt: skip


def test_a_forward_of_another_pack_is_put_back():
    attention = torch.nn.Module()
    attention.to_v, attention.to_out = torch.nn.Identity(), [torch.nn.Identity()]
    other = lambda x: x + 1  # noqa: E731
    attention.forward = other
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList([torch.nn.Module()])
    model.blocks[0].attn1 = attention
    with pytest.raises(ZeroDivisionError), values_only(model, "blocks", (0,)):
        assert attention(torch.zeros(1)) == 0
        raise ZeroDivisionError
    assert attention(torch.zeros(1)) == 1 and attention.forward is other
