"""A sampling run on the embedded host: seeds, guidance, masks, denoise, interrupts, storage dtypes."""

from __future__ import annotations

import sys

import pytest
import torch

from opent2v.host import embedded
from opent2v.sampling import SamplingError, make_run, make_schedule
from opent2v.tests.tiny import wan as tiny


@pytest.fixture(scope="module")
def start():
    """A finished latent, as a run that starts from a video gets it."""
    return run(seed=100)


def run(
    seed=1, *, kind="plain", model=None, samples=None, mask=None, solver="reference", steps=4, denoise=1.0, cfg=4.0, **k
):
    """VAE latents of a short run; without samples, of an empty latent."""
    model = model or tiny.shared(kind)[0]
    variant, own = model.part.variant, model.part.variant.defaults
    if samples is None:
        samples = torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))
    latent = {"samples": samples} | ({} if mask is None else {"noise_mask": mask})
    schedule = make_schedule(variant.scheduler, solver, steps=steps, denoise=denoise)
    return embedded.sample(model, *tiny.conditioning(kind), latent, make_run(schedule, cfg, seed), **k)


def normal(latent):
    return tiny.shared()[0].part.variant.normalise(latent)


def distance(a, b) -> float:
    """Relative, in what the transformer sees."""
    return ((normal(a) - normal(b)).norm() / normal(b).norm()).item()


@pytest.fixture
def rows(monkeypatch):
    """How many latents each call of the transformer got."""
    seen = []
    handle = tiny.shared()[0].part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    yield seen
    handle.remove()


# --- seed, guidance, solver ---


@pytest.mark.parametrize("kind", ["plain", "ti2v"])
def test_a_seed_means_one_video(kind):
    first, again, other = run(1, kind=kind), run(1, kind=kind), run(2, kind=kind)
    assert first.dtype == torch.float32 and first.device.type == "cpu"
    assert torch.equal(first, again)
    assert distance(first, other) > 0.5 if kind == "plain" else not torch.allclose(first, other)


def test_the_largest_seed_of_the_node():
    assert torch.isfinite(run(0xFFFFFFFFFFFFFFFF, steps=1)).all()


def test_the_random_state_outside_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(9, steps=1)
    assert torch.equal(torch.rand(1), expected)


def test_cfg_1_leaves_the_negative_out(rows):
    run(cfg=1.0)
    assert rows == [1] * 4
    rows.clear()
    guided = run(cfg=4.0)
    assert rows == [2] * 4
    assert distance(guided, run(cfg=1.0)) > 1e-4


def test_short_memory_takes_one_prompt_at_a_time(rows, monkeypatch):
    together = run()
    rows.clear()
    monkeypatch.setattr(sys.modules["opent2v.host.embedded.sample"], "free_memory", lambda device: 0.0)
    assert distance(run(), together) < 1e-5
    assert rows == [1] * 8


def test_a_batch_is_as_many_videos():
    samples = torch.zeros(2, 16, 3, 4, 4)
    both = run(samples=samples)
    assert both.shape == (2, 16, 3, 4, 4)
    assert distance(both[1:], both[:1]) > 0.5


@pytest.mark.parametrize("solver", ["euler", "unipc", "dpm++ 2m"])
def test_solvers_agree_more_with_more_steps(solver):
    near, far = (distance(run(solver=solver, steps=n), run(solver="reference", steps=40)) for n in (40, 4))
    assert near < far / 2


# --- what it starts from ---


def test_an_empty_latent_may_have_any_channels_and_a_picture_is_one_frame():
    assert torch.equal(run(samples=torch.zeros(1, 4, 3, 4, 4)), run(samples=torch.zeros(1, 16, 3, 4, 4)))
    assert torch.equal(run(samples=torch.zeros(1, 16, 4, 4)), run(samples=torch.zeros(1, 16, 1, 4, 4)))


def test_less_denoise_changes_less(start):
    found = [distance(run(samples=start, denoise=d, steps=4), start) for d in (0.1, 0.4, 0.7, 1.0)]
    assert found == sorted(found) and found[0] < 0.5 * found[-1]


def test_denoise_1_forgets_the_start(start):
    assert torch.equal(run(samples=start), run(samples=torch.zeros_like(start)))


# --- masks ---


def half_mask(frames=1):
    """1 (made anew) on the right half."""
    mask = torch.zeros(frames, 32, 32)
    mask[:, :, 16:] = 1
    return mask


# The steps of unipc and dpm++ 2m are told to the model in whole thousandths, which leaves that much of the noise.
@pytest.mark.parametrize(("solver", "tolerance"), [("euler", 1e-5), ("unipc", 1e-5), ("dpm++ 2m", 1e-5)])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("shape", ["HW", "1HW", "11HW", "latent", "5D"])
def test_mask_0_is_kept_and_mask_1_is_made_anew(start, solver, tolerance, denoise, shape):
    mask = half_mask()
    mask = {"HW": mask[0], "1HW": mask, "11HW": mask[None], "latent": mask[:, ::8, ::8], "5D": mask[None, None]}[shape]
    change = (normal(run(samples=start, mask=mask, solver=solver, denoise=denoise)) - normal(start)).abs()
    assert change[..., :2].max() <= tolerance
    assert change[..., 2:].mean() > 0.2


def test_a_mask_per_frame(start):
    mask = torch.zeros(3, 32, 32)
    mask[2] = 1
    change = (normal(run(samples=start, mask=mask, solver="euler")) - normal(start)).abs().amax((0, 1, 3, 4))
    assert change[:2].max() < 1e-5 and change[2] > 0.2
    every = torch.ones(9, 32, 32)  # one mask per video frame goes to the latent frames
    assert distance(run(samples=start, mask=every), run(samples=start)) < 1e-5


def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_everything(start):
    assert distance(run(samples=start, mask=torch.ones(1, 32, 32)), run(samples=start)) < 1e-5
    assert distance(run(samples=start, mask=torch.zeros(1, 32, 32), solver="euler"), start) < 1e-5


# --- stopping, progress ---


def test_progress_counts_steps():
    seen = []
    run(on_step=seen.append)
    assert seen == [1, 2, 3, 4]


def test_an_interrupt_stops_at_once_and_the_next_run_is_clean(rows):
    expected = run()
    rows.clear()

    def stop(step):
        if step == 2:
            embedded.interrupt()

    with pytest.raises(embedded.Interrupted, match="The run was interrupted"):
        run(on_step=stop)
    assert len(rows) == 2
    assert torch.equal(run(), expected)


def test_an_exception_of_the_callback_passes_through():
    def fail(step):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(on_step=fail)


def test_a_model_that_overflows_says_so():
    model, _, _ = tiny.hosted(tiny.folder())
    model.part.transformer.proj_out.weight.fill_(float("inf"))
    with pytest.raises(SamplingError, match=r"^Step 1 of 4: 100% of the latent is not a number or infinite"):
        run(model=model)


# --- storage ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_smaller_storage_gives_nearly_the_same(dtype):
    """Each weight is off by up to half the format's step (eps); the errors average out. Measured: a tenth of eps."""
    model, _, _ = tiny.hosted(tiny.folder(), dtype)
    found = distance(run(model=model), run())
    assert 0 < found < torch.finfo(dtype).eps / 2
