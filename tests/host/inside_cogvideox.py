"""Runs inside ComfyUI's Python: CogVideoX's variants on both hosts, and with core's nodes."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import boot
from boot import case, largest

boot.start()

import comfy.latent_formats  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.base import Pictures  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_pipeline, open_folder  # noqa: E402
from opent2v.sampling import Guidance, SamplerRequest, make_run, make_schedule, plan_run  # noqa: E402
from opent2v.tests.tiny import cogvideox as tiny_cog  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"


@functools.cache
def load(side, kind, dtype=torch.float32):
    parts = load_pipeline(
        open_folder(tiny_cog.folder(kind)), model_dtype=dtype, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    clip, model = side.clip(parts.text), side.model(parts.models[0])
    variant = side.variant(model)
    bare = prompts = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    if tiny_cog.is_image(kind):
        start = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
        guided = variant.family.images.prepare(variant, Pictures(start, None, 17, 1.0, None, parts.vae.encode))
        prompts = [[[c, {**entries, **guided.entries}] for c, entries in p] for p in prompts]
    return SimpleNamespace(
        side=side, model=model, vae=side.vae(parts.vae), clip=clip, variant=variant, bare=bare, prompts=prompts
    )


def both(kind):
    return load(embedded, kind), load(real, kind)


@case
def nag():
    """Normalised attention guidance: the hosts' difference, and what it changes."""
    found = {}
    for kind in ("5b-i2v", "1.5"):
        results = []
        for parts in both(kind):
            (context, entries), *_ = parts.prompts[1]
            shape = (1, 16, 5, 4, 6)
            for scale in (7.0, 0.0):
                request = SamplerRequest(seed=3, steps=3, cfg=1.0, guidance=Guidance(nag=scale))
                run = plan_run(parts.variant, request, shape, negative={**entries, "cross_attn": context})
                samples = parts.side.sample(parts.model, *parts.prompts, {"samples": torch.zeros(shape)}, run)
                results.append(parts.variant.normalise(samples.cpu()))
        ours, plain, theirs, _ = results
        found[kind] = {"apart": largest(ours, theirs), "without": largest(ours, plain)}
    return found


def sampled(parts, solver="reference", cfg=6.0, steps=5, denoise=1.0, **latent):
    schedule = make_schedule(parts.variant.scheduler, solver, steps=steps, denoise=denoise, kind="v", seed=3)
    scales = cfg
    if not isinstance(cfg, float):
        scales = parts.variant.family.sampling.cfg(parts.variant, *cfg, schedule.timesteps)
    latent = {"samples": torch.zeros(1, 16, 5, 4, 6), **latent}
    return parts.side.sample(parts.model, *parts.prompts, latent, make_run(schedule, scales, 3))


@case
def hosts():
    """The same latents on both hosts."""
    start = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 1, 32, 48)
    mask[..., :24] = 1
    frames = torch.ones(5, 1, 32, 48)
    frames[:2] = 0
    runs = {
        "reference": {},
        "cfg 1": {"cfg": 1.0},
        "dynamic": {"cfg": ("dynamic", 6.0)},
        "euler": {"solver": "euler"},
        "unipc": {"solver": "unipc"},
        "dpm++ 2m": {"solver": "dpm++ 2m"},
        "half": {"denoise": 0.5, "samples": start},
        "mask": {"samples": start, "noise_mask": mask},
        "frames mask": {"samples": start, "noise_mask": frames},
    }
    apart = {}
    for kind in tiny_cog.KINDS:
        ours, theirs = both(kind)
        for name, settings in runs.items():
            if kind in ("5b", "1.5-i2v") or name in ("reference", "frames mask"):
                results = [sampled(parts, **settings) for parts in (ours, theirs)]
                assert results[0].shape == (1, 16, 5, 4, 6)
                apart[f"{kind} {name}"] = largest(*(ours.variant.normalise(r.cpu()) for r in results))
    return apart


@case
def core_sampling():
    """Core's own arithmetic of v models with our noise levels."""
    results = {}
    for kind in ("2b", "5b"):
        theirs = load(real, kind)
        core_sampling = theirs.model.get_model_object("model_sampling")
        schedule = make_schedule(theirs.variant.scheduler, steps=20, kind="v")
        predicts, sigmas = schedule.prediction, schedule.sigmas[:-1]
        x, output = torch.randn(2, len(sigmas), 16, 2, 2, 2, generator=torch.Generator().manual_seed(2))
        x = x * (sigmas.view(-1, 1, 1, 1, 1) ** 2 + 1).sqrt()
        bases = {base.__name__ for base in type(core_sampling).__mro__}
        results[kind] = {
            "timesteps": core_sampling.timestep(sigmas).float().tolist() == schedule.timesteps.tolist(),
            "sigma": largest(core_sampling.sigma(schedule.timesteps) / sigmas, torch.ones_like(sigmas)),
            "input": largest(core_sampling.calculate_input(sigmas, x), predicts.model_input(x, sigmas)),
            "denoised": largest(core_sampling.calculate_denoised(sigmas, output, x), predicts.clean(x, output, sigmas)),
            "class": sorted(bases & {"ModelSamplingDiscrete", "V_PREDICTION"}),
        }
    return results


@case
def core_euler():
    """Core's Euler along our noise levels against our euler."""
    apart = {}
    for kind in tiny_cog.KINDS:
        if kind == "1.5-i2v":
            continue
        theirs = load(real, kind)
        # An even length, so that 1.5 needs no padding frame; 5B I2V makes its one size only.
        empty = torch.zeros(1, 16, 6 if kind == "1.5" else 5, 4, 6)
        schedule = make_schedule(theirs.variant.scheduler, "euler", steps=10, kind="v")
        noise = comfy.sample.prepare_noise(empty, 3)
        walked = comfy.sample.sample_custom(
            theirs.model, noise, 6.0, comfy.samplers.sampler_object("euler"), schedule.sigmas, *theirs.prompts,
            empty, disable_pbar=True, seed=3,
        )  # fmt: skip
        ours = sampled(theirs, "euler", steps=10, samples=empty)
        apart[kind] = largest(*(theirs.variant.normalise(r.cpu()) for r in (walked, ours)))
    return apart


@case
def core_ksampler():
    """Whether core's samplers make something of our MODEL."""
    good = {}
    for kind in tiny_cog.KINDS:
        theirs = load(real, kind)
        for sampler, scheduler in (("euler", "sgm_uniform"), ("dpmpp_2m_sde", "karras"), ("uni_pc", "simple")):
            latent = {"samples": torch.zeros(1, 16, 5, 4, 6)}
            made = core.KSampler().sample(theirs.model, 3, 4, 6.0, sampler, scheduler, *theirs.prompts, latent, 1.0)
            end = made[0]["samples"]
            is_sane = bool(torch.isfinite(end).all()) and end.std().item() < 20
            good[f"{kind} {sampler}"] = is_sane and end.shape == latent["samples"].shape
    return good


@case
def latent_format():
    form = load(real, "5b").model.get_model_object("latent_format")
    latent = torch.randn(1, 16, 5, 4, 6)
    return {
        "name": type(form).__name__,
        "is plain": isinstance(form, comfy.latent_formats.LatentFormat),
        "is Wan's": isinstance(form, comfy.latent_formats.Wan21),
        "channels": form.latent_channels,
        "dimensions": form.latent_dimensions,
        "factors": form.latent_rgb_factors,
        "preview model": form.taesd_decoder_name,
        "in": largest(form.process_in(latent), latent * 0.7),
        "out": largest(form.process_out(latent), latent / 0.7),
    }


@case
def core_nodes():
    """Core's nodes on our VAE and text encoder."""
    ours, theirs = both("5b")
    latent, long = torch.randn(1, 16, 5, 4, 6), {"samples": torch.randn(1, 16, 9, 12, 12)}
    whole = core.VAEDecode().decode(theirs.vae, {"samples": latent})[0]
    text = core.CLIPTextEncode().encode(theirs.clip, PROMPT)[0]
    return {
        "decode": largest(whole, embedded.decode(ours.vae, latent)),
        "tiled": [
            list(core.VAEDecodeTiled().decode(theirs.vae, long, 64, 16, length, 8)[0].shape) for length in (64, 16, 12)
        ],
        "encode": [
            list(core.VAEEncode().encode(theirs.vae, torch.rand(n, 32, 48, 3))[0]["samples"].shape) for n in (1, 9, 17)
        ],
        "text": largest(text[0][0], theirs.prompts[0][0][0]),
    }


@case
def bf16():
    """What half the storage changes."""
    changed = {}
    for kind in tiny_cog.KINDS:
        theirs, low = load(real, kind), load(real, kind, torch.bfloat16)
        a, b = (theirs.variant.normalise(sampled(parts).cpu()) for parts in (theirs, low))
        changed[kind] = ((a - b).norm() / a.norm()).item()
    return changed


@case
def without_picture():
    """What core's sampler says where the picture is missing."""
    theirs, latent = load(real, "1.5-i2v"), {"samples": torch.zeros(1, 16, 5, 4, 6)}
    try:
        core.KSampler().sample(theirs.model, 3, 2, 6.0, "euler", "simple", *theirs.bare, latent, 1.0)
    except Exception as error:
        return str(error)
    return ""


boot.run()
