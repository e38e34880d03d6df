"""Inside ComfyUI's Python: step caches in our sampler and in KSampler, on our MODEL and on core's own Wan."""

from __future__ import annotations

import boot
import cases_core
import torch
from boot import call, case, largest

from opent2v.families.teacache import TeaCache, timestep
from opent2v.host import comfyui as real
from opent2v.host import embedded
from opent2v.host.comfyui.cache import under
from opent2v.loaders import load_pipeline, open_folder
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import make_schedule
from opent2v.sampling.caches import CacheRun, StepCache, cache_runs
from opent2v.sampling.caches.policies import Tea

FOLDER = boot.ROOT / "models" / "diffusers" / "opent2v-quickstart"
PLAN = "ccccrrcrcrcc"  # 12 steps, of which 4 are reused
STEPS = len(PLAN)


def loaded(side):
    parts = load_pipeline(
        open_folder(FOLDER), **dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    )
    clip = side.clip(parts.text)
    return side.model(parts.models[0]), [side.embed(clip, text) for text in ("a red star moving left", "blurry")]


def settings(**given) -> StepCache:
    return StepCache(**({"start": 0.0, "end": 1.0} | given))


def module_of(model):
    return model.model.diffusion_model if hasattr(model, "model") else model.part.transformer


def counted(model, run):
    """(what `run` returns, how often each block of the model's transformer ran)."""
    seen = []
    # The layers inside a block run only where the block does.
    hooks = [
        next(block.children()).register_forward_pre_hook(lambda *_: seen.append(1)) for block in module_of(model).blocks
    ]
    try:
        result = run()
    finally:
        for hook in hooks:
            hook.remove()
    assert not any("forward" in block.__dict__ for block in module_of(model).blocks)
    return result, len(seen) // len(hooks)


def ksampler(model, positive, negative, size=(1, 16, 3, 4, 4), cfg=4.0):
    return call(
        "KSampler", model=model, seed=3, steps=STEPS, cfg=cfg, sampler_name="euler", scheduler="simple",
        positive=positive, negative=negative, latent_image={"samples": torch.zeros(size)}, denoise=1.0,
    )["samples"]  # fmt: skip


def applied(model, **given):
    return NODE_CLASS_MAPPINGS["OpenT2VApplyStepCache"]().apply(model, settings(**given))[0]


@case
def hosts():
    """Both hosts decide the same and make the same latents."""
    found = {}
    sides = {side: loaded(side) for side in (embedded, real)}
    for policy, given in {
        "off": {"threshold": 0.0},
        "easycache": {"threshold": 0.6},
        "first block": {"threshold": 0.4},
        "plan": {"plan": PLAN},
        "linear": {"policy": "plan", "plan": PLAN, "predictor": "linear"},
        "cpu": {"policy": "plan", "plan": PLAN, "device": "cpu"},
    }.items():
        results, reports = [], []
        for side, (model, conds) in sides.items():
            variant = side.variant(model)
            cache = cache_runs(settings(**{"policy": "easycache" if policy == "off" else policy} | given), variant)()
            latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
            schedule = make_schedule(variant.scheduler, steps=STEPS)
            run = {"schedule": schedule, "cfg": 4.0, "seed": 3, "step_cache": cache}
            results.append(variant.normalise(side.sample(model, *conds, latent, **run).cpu()))
            reports.append([stage.steps for stage in cache.stages])
        computed = [sum(one["positive"].values()) for one in reports[1]]
        found[policy] = {"apart": largest(*results), "same": reports[0] == reports[1], "computed": computed}
    return found


@case
def samplers():
    """Core's KSampler, on our MODEL and on core's own Wan."""
    found = {}
    ours = loaded(real)
    theirs = cases_core.core, (cases_core.positive, cases_core.negative)
    for name, (model, conds) in {"ours": ours, "core": theirs}.items():
        plain, all_calls = counted(model, lambda m=model, c=conds: ksampler(m, *c))
        one = found[name] = {"calls": all_calls}
        for kind, given in {
            "off": {"threshold": 0.0},
            "computed": {"policy": "plan", "plan": "c"},
            "plan": {"policy": "plan", "plan": PLAN},
            "easycache": {"threshold": 0.3},
            "first block": {"policy": "first block", "threshold": 10.0},
        }.items():
            changed = applied(model, **given)
            cached, calls = counted(model, lambda m=changed, c=conds: ksampler(m, *c))
            one[kind] = {"apart": largest(cached, plain), "calls": calls, "finite": bool(torch.isfinite(cached).all())}
        # Another size through the same MODEL, the later of two caches, and the MODEL underneath.
        cached_model = applied(applied(model, policy="plan", plan="2"), policy="plan", plan=PLAN)
        one["again"] = largest(
            ksampler(cached_model, *conds), ksampler(applied(model, policy="plan", plan=PLAN), *conds)
        )
        one["other size"] = list(ksampler(cached_model, *conds, size=(2, 16, 2, 8, 4)).shape)
        one["untouched"] = largest(ksampler(model, *conds), plain)
    return found


@case
def teacache_on_core():
    """Its signal is found in the makers' blocks as well."""
    model, conds = cases_core.core, (cases_core.positive, cases_core.negative)
    changes = []

    class Seen(TeaCache):
        def __call__(self, change):
            changes.append(change)
            return super().__call__(change)

    seen = Seen((1.0, 0.0), 0.0, 10.0, timestep)
    asked = settings(threshold=10.0)
    under_tea = under(model, lambda: CacheRun(asked, lambda steps: Tea(10.0, seen)))
    _, calls = counted(model, lambda: ksampler(under_tea, *conds))
    return {"calls": calls, "changes": len(changes), "moves": min(changes) > 0}


@case
def core_in_our_sampler():
    model = cases_core.core
    plain, all_calls = counted(model, lambda: cases_core.sample(steps=STEPS))
    cache = call("OpenT2VStepCache", policy="plan", plan=PLAN, start=0.0, end=1.0)
    made, calls = counted(model, lambda: call("OpenT2VSampler", model=model, **given(cache)))
    same, _ = counted(model, lambda: cases_core.sample(steps=STEPS, step_cache=settings(threshold=0.0)))
    return {
        "calls": [all_calls, calls],
        "cache": made["opent2v"]["cache"],
        "off": largest(same, plain),
        "apart": largest(made["samples"], plain),
    }


def given(cache):
    return {
        "positive": cases_core.positive, "negative": cases_core.negative, "seed": 5, "steps": STEPS, "cfg": 3.0,
        "latent": {"samples": torch.zeros(1, 16, 3, 4, 4)}, "step_cache": cache,
    }  # fmt: skip


@case
def stops():
    """An error in the middle of a run leaves the blocks as they were, and the next run is as a first one."""
    model, conds = loaded(real)
    cached_model = applied(model, policy="plan", plan="2")
    first = ksampler(cached_model, *conds)
    block, calls = module_of(model).blocks[-1], []

    def fail(*_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyError("mine")

    hook = next(block.children()).register_forward_pre_hook(fail)
    try:
        ksampler(cached_model, *conds)
        said = "nothing was raised"
    except KeyError as error:
        said = str(error)
    hook.remove()
    clean = not any("forward" in one.__dict__ for one in module_of(model).blocks)
    return {"said": said, "clean": clean, "again": largest(ksampler(cached_model, *conds), first)}
