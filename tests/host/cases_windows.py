"""Inside ComfyUI's Python: windows over time against core's own, on both hosts, and against a computation by hand."""

from __future__ import annotations

import inspect
import itertools
from types import SimpleNamespace
from typing import Any

import cases_core
import cases_ltx2
import comfy.context_windows
import tiny_ltx2 as ltx2
import torch
from boot import call, case, largest
from cases_cache import FOLDER, ksampler, settings
from cases_core import refusal

from opent2v.families.ltx2.network import MAKERS
from opent2v.host import comfyui as real
from opent2v.host import embedded
from opent2v.host.comfyui.cache import with_step_cache
from opent2v.loaders import load_pipeline, open_folder
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import Guidance, SamplerRequest, make_schedule, plan_run
from opent2v.sampling.caches import cache_runs
from opent2v.sampling.ranges import by_steps
from opent2v.sampling.travel import Place
from opent2v.sampling.windows import BLENDINGS, RELATIVE, SCHEDULES, Windows
from opent2v.tests.tiny import wan as tiny

torch.set_grad_enabled(False)
CORE_NAMES = {"static": "standard_static", "uniform": "standard_uniform", "looped": "looped_uniform"}
LONG = (1, 16, 7, 4, 4)
# Wan's four video frames per latent frame: windows of 3 latent frames that share 1.
SHORT = {"length": 9, "overlap": 4}
HAS_LEAD_IN = "causal_window_fix" in inspect.signature(comfy.context_windows.IndexListContextHandler).parameters


def loaded(side: Any, folder: Any = FOLDER) -> SimpleNamespace:
    parts = load_pipeline(
        open_folder(folder), **dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    )
    clip, model = side.clip(parts.text), side.model(parts.models[0])
    conds = [side.embed(clip, text) for text in ("a red star moving left", "blurry")]
    return SimpleNamespace(side=side, model=model, conds=conds, variant=side.variant(model))


SIDES = [loaded(side) for side in (embedded, real)]
OURS = SIDES[1]


def core_handler(windows: Windows, step: int) -> Any:
    core = comfy.context_windows
    handler = core.IndexListContextHandler(
        core.get_matching_context_schedule(CORE_NAMES[windows.schedule]),
        core.get_matching_fuse_method(windows.blending),
        windows.length,
        windows.overlap,
        closed_loop=windows.schedule == "looped",
        dim=2,
    )
    handler._step = step
    return handler


@case
def spans_and_weights() -> dict[str, Any]:
    """Settings in which our windows differ from core's, and how many were compared."""
    wrong, count = [], 0
    for schedule, blending in itertools.product(SCHEDULES, BLENDINGS):
        for frames, (length, overlap), step in itertools.product(
            (5, 6, 9, 16, 33), ((4, 1), (5, 2), (5, 4), (8, 3)), (0, 1, 2, 3, 7, 20)
        ):
            if frames <= length:
                continue
            windows = Windows(length, overlap, schedule, blending).resolved(1, 0)
            handler = core_handler(windows, step)
            theirs = handler.context_schedule.func(frames, handler, {})
            ours = windows.spans(frames, step)
            count += 1
            if ours != theirs:
                wrong.append([schedule, frames, length, overlap, step, ours, theirs])
            elif blending != RELATIVE:
                names = inspect.signature(comfy.context_windows.get_context_weights).parameters
                further = {"context_overlap": overlap} if "context_overlap" in names else {}
                for span in ours:
                    weights = comfy.context_windows.get_context_weights(len(span), frames, span, handler, **further)
                    if largest(torch.as_tensor(weights).float(), windows.weights(span, frames, overlap)) > 1e-6:
                        wrong.append([blending, frames, span, overlap])
    return {"wrong": wrong[:5], "count": count}


def sampled(parts: Any, windows: Windows | None, latent: Any = None, cache: bool = False, **request: Any) -> Any:
    model = parts.model if windows is None else parts.side.apply_windows(parts.model, windows)
    latent = latent or {"samples": torch.zeros(LONG)}
    asked = SamplerRequest(**{"seed": 3, "steps": 6, "cfg": 4.0} | request)
    run = plan_run(parts.variant, asked, tuple(latent["samples"].shape))
    step_cache = cache_runs(settings(policy="plan", plan="ccrcrc"), parts.variant)() if cache else None
    result = parts.side.sample(model, *parts.conds, dict(latent), run, step_cache=step_cache)
    return parts.variant.normalise(result.cpu())


def masked() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(1, 1, *LONG[2:])
    mask[:, :, :2] = 0
    return {"samples": torch.randn(LONG, generator=generator), "noise_mask": mask}


@case
def hosts() -> dict[str, float]:
    """The largest difference between the hosts, for each setting."""
    apart = {}
    cases: dict[str, tuple[Windows, dict[str, Any]]] = {
        # A running mean is rounded otherwise, and guidance above the model's own multiplies it from step to step.
        f"{schedule} {blending}": (
            Windows(**SHORT, schedule=schedule, blending=blending),
            {"cfg": 2.5, "steps": 4} if blending == "relative" else {},
        )
        for schedule, blending in itertools.product(SCHEDULES, BLENDINGS)
    }
    plain = Windows(**SHORT)
    cases["no freenoise"] = (Windows(**SHORT, freenoise=False), {})
    cases["unipc"] = (Windows(**SHORT, schedule="uniform"), {"solver": "unipc"})
    cases["cache"] = (plain, {"cache": True})
    cases["mask"] = (plain, {"latent": masked()})
    cases["cfg star"] = (plain, {"guidance": Guidance(cfg_star=True)})
    cases["a batch"] = (plain, {"latent": {"samples": torch.zeros(2, *LONG[1:])}})
    if HAS_LEAD_IN:
        cases["lead in"] = (Windows(**SHORT, lead_in=True), {})
    for name, (windows, further) in cases.items():
        apart[name] = largest(*(sampled(parts, windows, **further) for parts in SIDES))
    return apart


@case
def one_window() -> dict[str, float]:
    """Windows that hold the whole video change nothing, in every sampler."""
    wide = Windows(length=25, overlap=4)
    model = OURS.side.apply_windows(OURS.model, wide)
    return {
        "embedded": largest(sampled(SIDES[0], wide), sampled(SIDES[0], None)),
        "comfyui": largest(sampled(OURS, wide), sampled(OURS, None)),
        "KSampler": largest(ksampler(model, *OURS.conds, LONG), ksampler(OURS.model, *OURS.conds, LONG)),
    }


def by_hand(module: Any, contexts: list[torch.Tensor], freenoise: bool) -> torch.Tensor:
    """Two windows, frames 0 to 3 and 3 to 6, with Euler's method and cfg, written out."""
    schedule = make_schedule(module.variant.scheduler, "euler", steps=6)
    x = torch.randn(LONG, generator=torch.Generator().manual_seed(3))
    if freenoise:
        order = torch.randperm(3, generator=torch.Generator().manual_seed(3))
        x[:, :, 4:7] = x[:, :, :3][:, :, order]
    for sigma, following in itertools.pairwise(schedule.sigmas.tolist()):
        outputs = []
        for context in contexts:
            conditions = {"context": context}
            time = torch.tensor([sigma * 1000])
            first = module.predict(x[:, :, 0:4], time, conditions)
            second = module.predict(x[:, :, 3:7], time, conditions)
            # Pyramid weights 1 2 2 1: the shared frame has weight 1 of both.
            shared = (first[:, :, 3:] + second[:, :, :1]) / 2
            outputs.append(torch.cat([first[:, :, :3], shared, second[:, :, 1:]], 2))
        positive, negative = outputs
        x = x + (following - sigma) * (negative + (positive - negative) * 4.0)
    return x


@case
def two_windows_by_hand() -> dict[str, float]:
    """Tiny random Wan, on both hosts, with and without FreeNoise."""
    apart = {}
    sides = [loaded(side, tiny.folder("plain")) for side in (embedded, real)]
    for freenoise in (True, False):
        expected = by_hand(sides[0].model.part, [conds[0][0] for conds in sides[0].conds], freenoise)
        for parts in sides:
            result = sampled(parts, Windows(length=13, overlap=4, freenoise=freenoise), solver="euler")
            name = "embedded" if parts.side is embedded else "comfyui"
            apart[f"{name}, freenoise {freenoise}"] = largest(result, expected)
    return apart


def in_cores_windows(model: Any, **further: Any) -> Any:
    return call(
        "ContextWindowsManual", model=model, context_length=3, context_overlap=1, context_schedule="standard_uniform",
        context_stride=1, closed_loop=False, fuse_method="pyramid", dim=2, freenoise=True,
        **({"causal_window_fix": False} if HAS_LEAD_IN else {}), **further,
    )  # fmt: skip


@case
def cores_windows() -> dict[str, float]:
    """Our node against core's, in KSampler and in Video Sampler, on our MODEL and on core's own, with a cache."""
    given = {"blending": "pyramid", "freenoise": True, "keep_picture": False, "lead_in": False}
    mine = lambda model: NODE_CLASS_MAPPINGS["OpenT2VWindows"]().choose(model, **SHORT, schedule="uniform", **given)  # noqa: E731
    cached = lambda model: with_step_cache(model, cache_runs(settings(policy="plan", plan="ccccrrcrcrcc"), None))  # noqa: E731
    core_conds = cases_core.positive, cases_core.negative
    apart = {}
    for name, (model, conds) in {"ours": (OURS.model, OURS.conds), "core": (cases_core.core, core_conds)}.items():
        both = mine(model)[1], in_cores_windows(model)
        apart[f"{name} KSampler"] = largest(*(ksampler(each, *conds, LONG) for each in both))
        apart[f"{name} changes"] = largest(ksampler(both[0], *conds, LONG), ksampler(model, *conds, LONG))
        apart[f"{name} cache"] = largest(*(ksampler(cached(each), *conds, LONG) for each in both))
    latent = {"samples": torch.zeros(LONG)}
    apart["core Video Sampler"] = largest(
        cases_core.sample(cases_core.core, latent, windows=mine(cases_core.core)[0], solver="euler"),
        cases_core.sample(in_cores_windows(cases_core.core), latent, solver="euler"),
    )
    return apart


@case
def refused() -> dict[str, str]:
    handler = real.apply_windows(cases_core.core, Windows(**SHORT)).model_options["context_handler"]
    lead_in = Windows(**SHORT, lead_in=True)
    model = cases_core.core.model
    return {
        "a picture": refusal(lambda: handler.should_use_context(model, [], torch.zeros(1, 4, 8, 8), None, {})),
        "streams": refusal(lambda: handler.should_use_context(model, [], torch.zeros(1, 1, 8), None, {})),
        "lead in": "" if HAS_LEAD_IN else refusal(lambda: real.apply_windows(cases_core.core, lead_in)),
    }


@case
def joint() -> dict[str, Any]:
    """LTX-2's picture and sound in windows, on both hosts; or what the host says."""
    found = {}
    run = SamplerRequest(seed=7, steps=3, cfg=3.0)
    for name in ("words", "masks in both"):
        results = []
        for side in (real, embedded):
            model = side.apply_windows(ltx2.ours("2.3", MAKERS, side), Windows(length=9, overlap=0, blending="flat"))
            positive, negative, latent = cases_ltx2.start("2.3", name)
            plan = plan_run(side.variant(model), run, tuple(latent["samples"].shape))
            try:
                samples = side.sample(model, positive, negative, dict(latent), plan)
            except Exception as error:
                return {name: f"{type(error).__name__}: {error}"}
            results.append(list(samples.unbind()))
        found[name] = cases_ltx2.apart(*results)
    return found


@case
def travel() -> dict[str, Any]:
    """A prompt that travels, on both hosts, in KSampler, and where nothing cuts the video."""
    stops = [(Place(0), "a red star moving left"), (Place(0.5, True), "a blue circle"), (Place(24), "a green square")]
    latents, kept = [], []
    for parts in SIDES:
        clip = loaded_clip(parts.side)
        positive = [
            [context, {**entries, **parts.side.travelling(place)}]
            for place, text in stops
            for context, entries in parts.side.embed(clip, text)
        ]
        kept.append(positive)
        travelling = SimpleNamespace(**vars(parts) | {"conds": [positive, parts.conds[1]]})
        latents.append(sampled(travelling, Windows(**SHORT)))
    windowed = real.apply_windows(OURS.model, Windows(**SHORT))
    one_prompt = ksampler(windowed, kept[1][:1], OURS.conds[1], LONG)
    return {
        "hosts": largest(*latents),
        "KSampler changes": largest(ksampler(windowed, kept[1], OURS.conds[1], LONG), one_prompt),
        "no windows": refusal(lambda: ksampler(OURS.model, kept[1], OURS.conds[1], LONG)),
        "host's own windows": refusal(lambda: ksampler(in_cores_windows(OURS.model), kept[1], OURS.conds[1], LONG)),
        **travel_in_cores_model(),
    }


def travel_in_cores_model() -> dict[str, Any]:
    """The same in KSampler with ComfyUI's own MODEL, which would average the prompts."""
    prompts = cases_core.positive, cases_core.negative
    positive = [
        [context, {**entries, **real.travelling(Place(frame))}]
        for frame, prompt in zip((0, 24), prompts, strict=True)
        for context, entries in prompt
    ]
    windowed = real.apply_windows(cases_core.core, Windows(**SHORT))
    results = [ksampler(windowed, prompt, prompts[1], LONG) for prompt in (positive, prompts[0])]
    return {
        "core changes": largest(*results),
        "core, no windows": refusal(lambda: ksampler(cases_core.core, positive, prompts[1], LONG)),
        "core, one prompt": refusal(lambda: ksampler(cases_core.core, prompts[0], prompts[1], LONG)),
    }


@case
def travel_by_steps() -> dict[str, Any]:
    """A prompt that travels over the steps: on both hosts, in KSampler, on ComfyUI's own MODEL."""
    texts = ((0.0, "a red star moving left"), (0.5, "a blue circle rotating"))
    latents, prompts = [], []
    for parts in SIDES:
        clip = loaded_clip(parts.side)
        positive = by_steps([(share, parts.side.embed(clip, text)) for share, text in texts])
        prompts.append(positive)
        travelling = SimpleNamespace(**vars(parts) | {"conds": [positive, parts.conds[1]]})
        latents.append(sampled(travelling, None))
    conds = OURS.conds[1]
    alone = ksampler(OURS.model, prompts[1][:1], conds, LONG)
    core = by_steps([(0.0, cases_core.positive), (0.5, cases_core.negative)])
    both = [ksampler(cases_core.core, prompt, cases_core.negative, LONG) for prompt in (core, cases_core.positive)]
    return {
        "hosts": largest(*latents),
        "KSampler changes": largest(ksampler(OURS.model, prompts[1], conds, LONG), alone),
        "core changes": largest(*both),
    }


def loaded_clip(side: Any) -> Any:
    parts = load_pipeline(
        open_folder(FOLDER), **dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    )
    return side.clip(parts.text)
