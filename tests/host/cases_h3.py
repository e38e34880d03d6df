"""Inside ComfyUI's Python: MiniMax H3 from our loaders against core's own MODEL, and on both hosts."""

from __future__ import annotations

from typing import Any

import tiny_h3 as tiny
import torch
from boot import call, case, largest

from opent2v.host import embedded, host
from opent2v.loaders.single import load_model, open_file
from opent2v.sampling import SamplerRequest, plan_run
from opent2v.tests.families.minimax_h3 import test_pruned_lora as pruned_lora
from opent2v.tests.tiny.minimax_h3 import shown

torch.set_grad_enabled(False)
SHAPES = (1, 24, 7, 4, 6), (1, 32, 2, 37)
TAGS = torch.tensor([1, 1, 0, 0, 0, 1, 1, 1, 1])


def entries(name: str) -> dict[str, Any]:
    """What a CONDITIONING of a case holds besides its text."""
    if name == "keyframes":
        return {"minimax_keyframes": shown()["minimax_keyframes"], "minimax_token_tags": TAGS}
    if name == "references":
        return {"minimax_refs": shown()["minimax_refs"], "minimax_token_tags": TAGS}
    return (
        {**shown(), "minimax_visual_cond_noise_aug": 0.9, "minimax_audio_cond_noise_aug": 0.8} if name == "both" else {}
    )


CASES = ("words", "keyframes", "references", "both")
LATENTS = ("empty", "filled", "masked")


def latent(name: str = "empty") -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(shape, generator=generator) for shape in SHAPES]
    if name == "empty":
        return {"samples": tiny.nested(*(torch.zeros_like(stream) for stream in drawn))}
    if name == "filled":
        return {"samples": tiny.nested(*drawn)}
    masks = torch.ones(1, 1, *SHAPES[0][2:]), torch.ones(1, 1, *SHAPES[1][2:])
    masks[0][:, :, :2], masks[0][..., 0], masks[1][..., 3:9] = 0, 0.3, 0
    return {"samples": tiny.nested(*drawn), "noise_mask": tiny.nested(*masks)}


def walked(model: Any, name: str = "words", start: str = "empty", **settings: Any) -> list[torch.Tensor]:
    """What core's own graph makes of it, with its own noise levels."""
    positive = tiny.conditioning(**entries(name))
    sampler = {"steps": 4, "scheduler": "simple", "sampler_name": "euler", "cfg": 1.0, "denoise": 1.0, **settings}
    made = call(
        "KSampler", model=model, seed=7, positive=positive, negative=positive, latent_image=latent(start), **sampler
    )
    return list(made["samples"].unbind())


def apart(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return max(largest(*pair) for pair in zip(some, others, strict=True))


def one_call(model: Any, name: str, sigma: float) -> list[torch.Tensor]:
    """The clean latents that one call of the MODEL expects."""
    generator = torch.Generator().manual_seed(5)
    x = tiny.nested(*(torch.randn(shape, generator=generator) for shape in SHAPES))
    made = call(
        "SamplerCustom", model=model, add_noise=False, noise_seed=7, cfg=1.0, negative=tiny.conditioning(),
        positive=tiny.conditioning(**entries(name)), sampler=call("KSamplerSelect", sampler_name="euler"),
        sigmas=torch.tensor([sigma, 0.0]), latent_image={"samples": x},
    )[0]["samples"]  # fmt: skip
    return list(made.unbind())


@case
def one_call_equals_cores() -> dict[str, float]:
    return {
        f"{kind}, {name}": max(
            apart(one_call(tiny.cores(kind), name, sigma), one_call(tiny.ours(kind), name, sigma))
            for sigma in (1.0, 0.7, 0.2)
        )
        for kind in tiny.KINDS
        for name in CASES
    }


@case
def runs_equal_cores() -> dict[str, float]:
    """Core's KSampler on core's MODEL and on ours: the largest difference of both streams."""
    results = {
        f"{kind}, {name}": apart(walked(tiny.cores(kind), name), walked(tiny.ours(kind), name))
        for kind in tiny.KINDS
        for name in CASES
    }
    for start in LATENTS[1:]:
        settings = {"denoise": 0.6} if start == "filled" else {}
        pair = [walked(model("pruned"), "words", start, **settings) for model in (tiny.cores, tiny.ours)]
        results[f"pruned, {start}"] = apart(*pair)
    multistep = [walked(model("pruned"), sampler_name="res_multistep") for model in (tiny.cores, tiny.ours)]
    return {**results, "res_multistep": apart(*multistep), "spread": multistep[0][1].std().item()}


@case
def shifts() -> dict[str, Any]:
    """Core's node for both shifts, and the sampler's own shift: on core's MODEL and on ours."""
    results: dict[str, Any] = {}
    models = {"core": tiny.cores("pruned"), "ours": tiny.ours("pruned")}
    moved = {
        name: call("MiniMaxH3SigmaShift", model=model, shift_video=6.0, shift_audio=3.0)
        for name, model in models.items()
    }
    results["by the node"] = apart(walked(moved["core"]), walked(moved["ours"]))
    results["moved"] = apart(walked(moved["ours"]), walked(models["ours"]))
    sampled = {name: sampled_by_ours(model, shift=6.0) for name, model in models.items()}
    results["Video Sampler"] = apart(sampled["core"], sampled["ours"])
    # A node in front is followed where the sampler's shift is 0, and gives what the sampler's shift gives.
    results["node or sampler"] = apart(sampled_by_ours(moved["ours"]), sampled["ours"])
    results["node or sampler, core"] = apart(sampled_by_ours(moved["core"]), sampled["core"])
    # With Euler's steps on the same noise levels core's graph makes the same.
    results["core's graph"] = apart(on_levels(moved["core"], 6.0), sampled["ours"])
    results["core's graph at 12"] = apart(on_levels(models["core"], 12.0), sampled_by_ours(models["ours"]))
    return results


def on_levels(model: Any, shift: float) -> list[torch.Tensor]:
    levels = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    made = call(
        "SamplerCustom", model=model, add_noise=True, noise_seed=7, cfg=1.0, positive=tiny.conditioning(),
        negative=tiny.conditioning(), sampler=call("KSamplerSelect", sampler_name="euler"),
        sigmas=shift * levels / (1 + (shift - 1) * levels), latent_image=latent(),
    )[0]["samples"]  # fmt: skip
    return list(made.unbind())


def sampled_by_ours(model: Any, name: str = "words", start: str = "empty", **settings: Any) -> list[torch.Tensor]:
    positive = tiny.conditioning(**entries(name))
    made, _ = call(
        "OpenT2VSampler", model=model, positive=positive, negative=positive, latent=latent(start), seed=7, steps=4,
        **settings,
    )  # fmt: skip
    return list(made["samples"].unbind())


@case
def equal_on_both_hosts() -> dict[str, float]:
    """Our sampler on both hosts, and on core's own MODEL."""
    results = {}
    for name, start, shift in (
        *((name, "empty", 0.0) for name in CASES), ("words", "masked", 0.0), ("words", "empty", 6.0),
    ):  # fmt: skip
        real = sampled_by_ours(tiny.ours("pruned"), name, start, shift=shift)
        core = sampled_by_ours(tiny.cores("pruned"), name, start, shift=shift)
        model, started = tiny.ours("pruned", embedded), latent(start)
        positive = tiny.conditioning(**entries(name))
        run = plan_run(embedded.variant(model), SamplerRequest(seed=7, steps=4, shift=shift), SHAPES[0])
        samples = list(embedded.sample(model, positive, positive, started, run).unbind())
        results[f"{name}, {start}, {shift}"] = apart(real, samples)
        results[f"{name}, {start}, {shift}, core"] = apart(real, core)
    return results


@case
def a_full_models_lora_on_a_pruned_one() -> dict[str, float]:
    """On core's MODEL and on ours: their distance, and what the layers do that have to be turned for it."""
    inputs = pruned_lora.timesteps(tiny.ours("full", embedded))
    file = tiny.tiny.save(tiny.FOLDER / "h3_from_full.safetensors", pruned_lora.pruned(inputs, 16))
    models = {
        "core": call("UNETLoader", unet_name=file.name, weight_dtype="default"),
        "ours": host.model(load_model(open_file(file), torch.float32)),
    }
    pruned_lora.save_lora(tiny.FOLDER)

    def changed(name: str) -> tuple[list[torch.Tensor], str]:
        settings = {"lora": "any.safetensors", "strength_model": 1.0, "strength_clip": 0.0}
        model, _, report, *_ = call("OpenT2VLoadLora", model=models[name], **settings)
        return one_call(model, "words", 0.6), report

    left_out = changed("ours")[0]
    tiny.tiny.save(tiny.FOLDER / pruned_lora.TIMESTEPS, {"silu_t_emb_grid": inputs.bfloat16()})
    (core, report), (ours, _) = changed("core"), changed("ours")
    return {"apart": apart(core, ours), "turned": apart(ours, left_out), "said": "7 of 7 match" in report}


@case
def in_cores_nodes() -> dict[str, Any]:
    """Our MODEL behind core's guider, scheduler and noise nodes."""
    results = {}
    for kind in ("core", "ours"):
        model = (tiny.cores if kind == "core" else tiny.ours)("full")
        guider = call("BasicGuider", model=model, conditioning=tiny.conditioning(**entries("keyframes")))
        sigmas = call("BasicScheduler", model=model, scheduler="simple", steps=4, denoise=1.0)
        empty = call("EmptyMiniMaxH3LatentAV", width=96, height=64, length=22)
        made = call(
            "SamplerCustomAdvanced", noise=call("RandomNoise", noise_seed=7), guider=guider,
            sampler=call("KSamplerSelect", sampler_name="res_multistep"), sigmas=sigmas, latent_image=empty,
        )[0]["samples"]  # fmt: skip
        results[kind] = list(made.unbind()), sigmas
    return {
        "apart": apart(results["core"][0], results["ours"][0]),
        "levels": largest(results["core"][1], results["ours"][1]),
        "shapes": [list(stream.shape) for stream in results["ours"][0]],
    }
