"""A model of two streams on the embedded host: what a run gives is what each stream computed by hand gives.

Tests: host/embedded/sample.py, sampling/streams.py
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from opent2v.host import embedded, host
from opent2v.sampling import make_run, make_schedule
from opent2v.sampling.caches import CacheRun, StepCache
from opent2v.sampling.guides import CfgRescale
from opent2v.sampling.streams import seeded_noise, unbind
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import joint as tiny


def finished():
    """Samples of two streams as a run that starts from a video and its sound gets them."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for shape in tiny.SHAPES]


def run(samples=None, mask=None, *, steps=4, cfg=3.0, denoise=1.0, seed=1, guides=None, model=None, **further):
    samples = [torch.zeros(shape) for shape in tiny.SHAPES] if samples is None else samples
    latent = {"samples": host.nested(samples)} | ({} if mask is None else {"noise_mask": mask})
    schedule = make_schedule(tiny.VARIANT.scheduler, steps=steps, denoise=denoise)
    plan = make_run(schedule, cfg, seed, **({} if guides is None else {"guides": guides}))
    made = embedded.sample(model or tiny.model(), *tiny.conditionings(), latent, plan, **further)
    assert made.is_nested and [tuple(one.shape) for one in made.unbind()] == list(tiny.SHAPES)
    return made.unbind()


def by_hand(samples=None, masks=None, *, steps=4, cfg=3.0, denoise=1.0, seed=1, share=0.0):
    """Euler's steps on two tensors side by side, without packing."""
    network, (positive, negative) = tiny.transformer(), (c[0][0] for c in tiny.conditionings())
    sigmas = make_schedule(tiny.VARIANT.scheduler, steps=steps, denoise=denoise).sigmas
    noise = seeded_noise(tiny.SHAPES, seed)
    start = [torch.zeros_like(one) for one in noise]
    if samples is not None:
        start = [stream.normalise(one) for stream, one in zip(tiny.VARIANT.streams, samples, strict=True)]
    masks = masks or [torch.ones_like(one) for one in noise]
    x = [sigmas[0] * n + (1 - sigmas[0]) * s for n, s in zip(noise, start, strict=True)]
    for sigma, after in pairwise(sigmas):
        shown = [
            one * mask + (sigma * n + (1 - sigma) * s) * (1 - mask)
            for one, mask, n, s in zip(x, masks, noise, start, strict=True)
        ]
        towards, away = (network(*shown, sigma[None] * 1000, context) for context in (positive, negative))
        for n, mask in enumerate(masks):
            out = away[n] + cfg * (towards[n] - away[n])
            if share:
                out = out * (share * towards[n].std() / out.std() + 1 - share)
            clean = (shown[n] - sigma * out) * mask + start[n] * (1 - mask)
            x[n] = x[n] + (after - sigma) * (x[n] - clean) / sigma
    return [
        stream.denormalise(torch.where(mask > 0, one, s))
        for stream, one, mask, s in zip(tiny.VARIANT.streams, x, masks, start, strict=True)
    ]


def assert_close(made, expected):
    for one, other in zip(made, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4), (one - other).abs().max()


def test_a_run_is_two_runs_side_by_side():
    assert_close(run(), by_hand())
    assert_close(run(cfg=1.0), by_hand(cfg=1.0))


def test_less_denoise_starts_from_both_streams():
    made = run(finished(), denoise=0.5)
    assert_close(made, by_hand(finished(), denoise=0.5))
    assert (made[1] - run(denoise=0.5)[1]).abs().max() > 0.1


def test_guidance_works_on_each_stream_by_itself():
    assert_close(run(guides=lambda step, cfg: (CfgRescale(0.7),)), by_hand(share=0.7))


def test_a_plain_mask_is_the_videos():
    mask = torch.ones(1, 2, 2)
    mask[..., 0] = 0
    made = run(finished(), mask)
    masks = [mask.view(1, 1, 1, 2, 2).expand(tiny.SHAPES[0]), torch.ones(tiny.SHAPES[1])]
    assert_close(made, by_hand(finished(), masks))
    assert torch.allclose(made[0][..., 0], finished()[0][..., 0], atol=1e-5)


def test_each_stream_may_have_a_mask():
    video, sound = torch.ones(1, 1, 3, 2, 2), torch.ones(1, 1, *tiny.SHAPES[1][2:])
    sound[:, :, :3] = 0
    made = run(finished(), host.nested([video, sound]))
    masks = [video.expand(tiny.SHAPES[0]), sound.expand(tiny.SHAPES[1])]
    assert_close(made, by_hand(finished(), masks))
    assert torch.allclose(made[1][:, :, :3], finished()[1][:, :, :3], atol=1e-5)
    shapes, seen = tiny.seen[-1]
    assert shapes == list(tiny.SHAPES) and [tuple(one.shape) for one in seen] == list(tiny.SHAPES)


def test_a_batch_goes_together():
    samples = [torch.cat([one, one]) for one in finished()]
    latent = {"samples": host.nested(samples)}
    schedule = make_schedule(tiny.VARIANT.scheduler, steps=3)
    made = unbind(embedded.sample(tiny.model(), *tiny.conditionings(), latent, make_run(schedule, 3.0, 1)))
    assert [len(one) for one in made] == [2, 2] and made[1][0].sub(made[1][1]).abs().max() > 0.1


@pytest.mark.parametrize("boundary", ["model", "blocks"])
def test_a_step_cache_keeps_both_streams(boundary):
    def cached(plan):
        settings = StepCache(policy="plan", plan=plan, start=0.0, end=1.0, boundary=boundary)
        cache = CacheRun(settings, tiny.VARIANT)
        made = run(steps=8, step_cache=cache)
        return made, sum(call.computed for call in cache.stages[0].calls), len(cache.stages[0].calls)

    full, computed, calls = cached("c" * 8)
    assert computed == calls and all(map(torch.equal, full, run(steps=8)))
    reused, computed, calls = cached("ccrcrccc")
    assert computed < calls
    for one, other in zip(reused, full, strict=True):
        assert 1e-4 < (one - other).abs().max() < 4 * other.abs().max()


def test_the_nodes_make_sample_and_decode_both_streams():
    model = tiny.model()
    (latent, *size), ui = call("OpenT2VEmptyLatent", model=model)
    assert size == [*tiny.SIZE, tiny.FPS] and remarks(ui).endswith("With sound")
    assert [tuple(one.shape) for one in latent["samples"].unbind()] == list(tiny.SHAPES)
    positive, negative = tiny.conditionings()
    (made, _), _ = call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1)
    assert_close(made["samples"].unbind(), by_hand())
    decoder = host.audio_decoder(tiny.audio_vae())
    assert decoder is not None and decoder.channels == tiny.SOUND_CHANNELS
    audio = decoder.decode(made["samples"].unbind()[1])
    assert audio["sample_rate"] == tiny.RATE and audio["waveform"].shape == (1, 2, 6 * (tiny.RATE // 6))
    assert not audio["waveform"].requires_grad and audio["waveform"].abs().max() <= 1
