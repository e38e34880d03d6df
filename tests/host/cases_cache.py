"""Inside ComfyUI's Python: step caches in our sampler and in KSampler, on our MODEL and on core's own Wan."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import boot
import cases_core
import torch
from boot import call, case, largest

from opent2v.base import TeaCache
from opent2v.base.teacache import modulated, timestep
from opent2v.families.hunyuan_video.teacache import signal as hunyuan_signal
from opent2v.families.mochi.teacache import signal as mochi_signal
from opent2v.host import comfyui as real
from opent2v.host import embedded
from opent2v.host.comfyui.cache import with_step_cache
from opent2v.loaders import load_pipeline, open_folder
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import make_run, make_schedule
from opent2v.sampling.caches import BatchItem, CacheRequest, CacheRun, StepCache, cache_runs
from opent2v.sampling.caches.rules import Tea

FOLDER = boot.ROOT / "models" / "diffusers" / "opent2v-quickstart"
PLAN = "ccccrrcrcrcc"  # 12 steps, of which 4 are reused
STEPS = len(PLAN)


def loaded(side):
    parts = load_pipeline(
        open_folder(FOLDER), **dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    )
    clip = side.clip(parts.text)
    return side.model(parts.models[0]), [side.embed(clip, text) for text in ("a red star moving left", "blurry")]


def settings(**given) -> CacheRequest:
    """For runs of any length, with fewer guards than the node's own settings."""
    own = {"start": 0.0, "end": 1.0, "predictor": "last", "boundary": "blocks"}
    return CacheRequest.exactly(StepCache(**(own | given)))


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


def compiled(model, conds):
    try:
        ksampler(applied(call("TorchCompileModel", model=model, backend="inductor")), *conds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def ksampler(model, positive, negative, size=(1, 16, 3, 4, 4), cfg=4.0, solver="euler"):
    return call(
        "KSampler", model=model, seed=3, steps=STEPS, cfg=cfg, sampler_name=solver, scheduler="simple",
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
            made = side.sample(model, *conds, latent, make_run(schedule, 4.0, 3), step_cache=cache)
            results.append(variant.normalise(made.cpu()))
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
        for policy, threshold in (("easycache", 0.3), ("seacache", 0.3), ("plan", 0.1)):
            changed = applied(
                model, policy=policy, threshold=threshold, plan=PLAN, boundary="model", predictor="linear"
            )
            cached, calls = counted(model, lambda m=changed, c=conds: ksampler(m, *c))
            one[f"whole {policy}"] = {"calls": calls, "finite": bool(torch.isfinite(cached).all())}
        # A solver of second order, which comes to most levels twice, twice through one MODEL.
        for boundary in ("model", "blocks"):
            changed = applied(model, policy="plan", plan=PLAN, boundary=boundary)
            first, calls = counted(model, lambda m=changed, c=conds: ksampler(m, *c, solver="heun"))
            again = ksampler(applied(model, policy="plan", plan=PLAN, boundary=boundary), *conds, solver="heun")
            one[f"heun {boundary}"] = {"calls": calls, "again": largest(first, again)}
        one["compiled"] = compiled(model, conds)
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
    under_tea = with_step_cache(model, lambda: CacheRun(asked, real.variant(model), lambda: Tea(10.0, seen)))
    _, calls = counted(model, lambda: ksampler(under_tea, *conds))
    return {"calls": calls, "changes": len(changes), "moves": min(changes) > 0}


@case
def core_in_our_sampler():
    model = cases_core.core
    plain, all_calls = counted(model, lambda: cases_core.sample(steps=STEPS))
    cache = call("OpenT2VStepCache", policy="plan", plan=PLAN, start=0.0, end=1.0)
    made, calls = counted(model, lambda: call("OpenT2VSampler", model=model, **given(cache))[0])
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


def lacking(params, value):
    """Each release asks for a few more numbers, all of parts that these models have not."""
    return {one.name: value for one in fields(params) if one.default is MISSING}


def structures():
    """Core's own networks, tiny: (module, what it is called with)."""
    import comfy.ldm.flux.model as flux
    import comfy.ldm.genmo.joint_model.asymm_models_joint as mochi
    import comfy.ldm.hunyuan_video.model as hunyuan
    import comfy.ldm.lightricks.model as lightricks
    import comfy.ldm.wan.model as wan
    import comfy.ops

    ops = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32}
    x = torch.randn(2, 4, 3, 8, 8)
    time = torch.tensor([0.5, 0.5])
    joint = {
        "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2,
        "axes_dim": [4, 6, 6], "theta": 256, "qkv_bias": True,
    }  # fmt: skip
    size = {"dim": 24, "ffn_dim": 32, "freq_dim": 16, "text_dim": 16, "num_heads": 2, "num_layers": 4}
    yield "wan", wan.WanModel(in_dim=4, out_dim=4, **size, **ops), (x, time, torch.randn(2, 5, 16)), {}
    yield (
        "wan vace",
        wan.VaceWanModel(model_type="vace", in_dim=4, out_dim=4, vace_layers=2, vace_in_dim=6, **size, **ops),
        (x, time, torch.randn(2, 5, 16)), {"vace_context": torch.randn(2, 1, 6, 3, 8, 8), "vace_strength": [1.0]},
    )  # fmt: skip
    yield (
        "ltx", lightricks.LTXVModel(
            in_channels=4, cross_attention_dim=32, attention_head_dim=16, num_attention_heads=2, caption_channels=16,
            num_layers=2, **ops,
        ), (x, time, torch.randn(2, 5, 16), None), {},
    )  # fmt: skip
    yield (
        "flux", flux.Flux(
            **lacking(flux.FluxParams, []) | joint | ops | {
                "in_channels": 4, "out_channels": 4, "vec_in_dim": 8, "context_in_dim": 16, "patch_size": 2,
                "guidance_embed": False,
            },
        ), (x[:, :, 0], time, torch.randn(2, 5, 16), torch.randn(2, 8)), {},
    )  # fmt: skip
    yield (
        "hunyuan", hunyuan.HunyuanVideo(
            **lacking(hunyuan.HunyuanVideoParams, None) | joint | ops | {
                "in_channels": 4, "out_channels": 4, "vec_in_dim": 8, "context_in_dim": 16, "patch_size": [1, 2, 2],
                "guidance_embed": True,
            },
        ), (x, time, torch.randn(2, 5, 16), torch.randn(2, 8), torch.tensor([6.0, 6.0])), {},
    )  # fmt: skip
    yield (
        "mochi", mochi.AsymmDiTJoint(
            hidden_size_x=32, hidden_size_y=16, num_heads=2, patch_size=2, depth=2, in_channels=4, learn_sigma=False,
            mlp_ratio_x=384.0,  # core takes one inner width only
            mlp_ratio_y=2.0, t5_feat_dim=16, t5_token_length=5, use_t5=True, qk_norm=True, qkv_bias=False, **ops,
        ), (x, time, torch.randn(2, 5, 16), torch.ones(2, 5), 5), {},
    )  # fmt: skip


@case
def teacache_signals():
    """TeaCache's signal of core's own networks is what their first attention gets: how far they lie apart."""
    torch.manual_seed(3)
    made = {name: (module, args) for name, module, args, _ in structures()}
    ltx, hunyuan, mochi = made["ltx"], made["hunyuan"], made["mochi"]
    cases = {
        "ltx": (*ltx, ltx[0].transformer_blocks[0], "attn1", modulated),
        "hunyuan": (*hunyuan, hunyuan[0].double_blocks[0], "img_attn.qkv", hunyuan_signal),
        "mochi": (*mochi, mochi[0].blocks[0], "attn.qkv_x", mochi_signal),
    }
    found = {}
    for name, (module, args, block, inside, signal) in cases.items():
        seen = {}

        def enters(block, args, kwargs, seen=seen, signal=signal):
            bound = inspect.signature(type(block).forward).bind(block, *args, **kwargs)
            seen["signal"] = signal(block, bound.arguments).clone()

        def attends(_, args, seen=seen):
            seen["attends"] = args[0].clone()

        block.register_forward_pre_hook(enters, with_kwargs=True)
        block.get_submodule(inside).register_forward_pre_hook(attends)
        with torch.inference_mode():
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            module(*args)
        found[name] = largest(seen["signal"], seen["attends"])
    return found


@case
def core_structures():
    """A computed call is core's own, and a reused one with the same input is equal to it."""
    torch.manual_seed(2)
    found = {}
    for name, module, args, given in structures():
        with torch.inference_mode():
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.3))
            plain = module(*args, **given)
            for boundary in ("model", "blocks"):
                results, run = [], cache_runs(settings(policy="plan", plan="crc", boundary=boundary), None)()
                with run.attached(module, torch.linspace(1, 0, 4)) as stage:
                    for sigma in (1.0, 0.67, 0.33):
                        with stage.call((BatchItem(0, "negative"), BatchItem(1, "positive")), sigma, args[0]):
                            results.append(module(*args, **given))
                found[f"{name} {boundary}"] = {
                    "finite": bool(plain.isfinite().all()),
                    "computed": max(largest(results[0], plain), largest(results[2], plain)),
                    "reused": ((results[1] - plain).norm() / plain.norm()).item(),
                    "steps": stage.steps["positive"],
                }
    return found
