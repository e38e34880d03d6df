"""Windows over time on the embedded host: what the transformer sees, caches, and what families cannot cut."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.families.ltx2 import cut as ltx2_cut
from opent2v.families.ltx_video import cut as ltx_cut
from opent2v.host import embedded
from opent2v.sampling import SamplingError, make_run, make_schedule
from opent2v.sampling.caches import CacheRequest, StepCache, cache_runs
from opent2v.sampling.windows import Windows
from opent2v.tests.tiny import wan as tiny

SHAPE = (1, 16, 7, 4, 4)
TWO = Windows(length=13, overlap=4)


def run(model, windows=None, cache=None, cfg=1.0):
    variant = model.part.variant
    model = model if windows is None else embedded.apply_windows(model, windows)
    schedule = make_schedule(variant.scheduler, "euler", steps=4)
    step_cache = None if cache is None else cache_runs(cache, variant)()
    latent = {"samples": torch.zeros(SHAPE)}
    made = embedded.sample(model, *tiny.conditioning(), latent, make_run(schedule, cfg, 1), step_cache=step_cache)
    return variant.normalise(made)


def test_memory_is_asked_for_one_window():
    seen = []
    model = tiny.shared()[0]
    handle = model.part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["hidden_states"].shape[2]), with_kwargs=True
    )
    try:
        run(model, TWO)
    finally:
        handle.remove()
    assert seen == [4, 4] * 4


def test_a_plan_that_reuses_nothing_changes_nothing_and_one_that_does_keeps_each_windows_result():
    model = tiny.shared()[0]
    plan = {"policy": "plan", "start": 0.0, "end": 1.0, "predictor": "last", "boundary": "blocks"}
    computed, reused = (CacheRequest.exactly(StepCache(**plan, plan=letters)) for letters in ("cccc", "ccrc"))
    plain = run(model, TWO)
    assert torch.equal(run(model, TWO, computed), plain)
    under = run(model, TWO, reused)
    assert torch.isfinite(under).all() and not torch.equal(under, plain)
    # Results kept under one name for both windows would be those of the other window: far from the plain run.
    assert (under - plain).norm() / plain.norm() < 0.2


def test_windows_of_a_model_replace_those_before():
    model = embedded.apply_windows(tiny.shared()[0], Windows(length=25))
    assert torch.equal(run(model, TWO), run(tiny.shared()[0], TWO))


def test_windows_that_never_get_on_are_refused_before_anything_runs():
    with pytest.raises(SamplingError, match="never get on"):
        embedded.apply_windows(tiny.shared()[0], Windows(length=9, overlap=12))


@pytest.mark.parametrize(("cut", "names"), [(ltx_cut, ("keyframe_idxs", "end_latent")), (ltx2_cut, ("keyframe_idxs",))])
def test_guides_of_ltx_are_refused_by_name(cut, names):
    variant = tiny.shared()[0].part.variant
    for name in names:
        with pytest.raises(FamilyError, match="Windows over time cut no guides and no end picture of"):
            cut(variant, name, torch.zeros(1, 3), [[0, 1]], SHAPE)


def test_masks_of_ltx2_are_cut_by_the_frames_of_their_stream():
    variant = tiny.shared()[0].part.variant
    shape = [(1, 128, 3, 1, 2), (1, 8, 4, 16)]
    mask, sound = torch.arange(6.0).view(1, 6), torch.arange(4.0).view(1, 4)
    assert ltx2_cut(variant, "denoise_mask", mask, [[0, 2], [0, 3]], shape).tolist() == [[0, 1, 4, 5]]
    assert ltx2_cut(variant, "sound_mask", sound, [[0, 2], [0, 3]], shape).tolist() == [[0, 3]]
    assert ltx2_cut(variant, "denoise_mask", mask, [[1]], shape[0]).tolist() == [[2, 3]]
