"""Runs inside ComfyUI's Python: CogVideoX's variants on both hosts, and with core's nodes. Prints JSON."""

from __future__ import annotations

import json
from types import SimpleNamespace

import boot
from boot import largest

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
from opent2v.sampling import make_run, make_schedule  # noqa: E402
from opent2v.tests.tiny import cogvideox as tiny_cog  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
report: dict = {}


def load(side, kind, dtype=torch.float32):
    parts = load_pipeline(
        open_folder(tiny_cog.folder(kind)), model_dtype=dtype, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    clip = side.clip(parts.text)
    one = SimpleNamespace(side=side, kind=kind, model=side.model(parts.models[0]), vae=side.vae(parts.vae), clip=clip)
    one.variant = side.variant(one.model)
    one.prompts = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    if tiny_cog.is_image(kind):
        start = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
        guided = one.variant.family.images.prepare(one.variant, Pictures(start, None, 17, 1.0, None, parts.vae.encode))
        one.bare = one.prompts
        one.prompts = [[[c, {**further, **guided.entries}] for c, further in p] for p in one.prompts]
    return one


def sampled(one, solver="reference", cfg=6.0, steps=5, denoise=1.0, **latent):
    schedule = make_schedule(one.variant.scheduler, solver, steps=steps, denoise=denoise, kind="v", seed=3)
    scales = cfg if isinstance(cfg, float) else one.variant.family.sampling.cfg(one.variant, *cfg, schedule.timesteps)
    latent = {"samples": torch.zeros(1, 16, 5, 4, 6), **latent}
    return one.side.sample(one.model, *one.prompts, latent, make_run(schedule, scales, 3))


both = {kind: (load(embedded, kind), load(real, kind)) for kind in tiny_cog.KINDS}
start = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(5))
mask = torch.zeros(1, 1, 32, 48)
mask[..., :24] = 1
frames = torch.ones(5, 1, 32, 48)
frames[:2] = 0
cases = {
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
report["hosts"] = {}
for kind, (ours, theirs) in both.items():
    for name, settings in cases.items():
        if kind in ("5b", "1.5-i2v") or name in ("reference", "frames mask"):
            results = [sampled(one, **settings) for one in (ours, theirs)]
            assert results[0].shape == (1, 16, 5, 4, 6)
            report["hosts"][f"{kind} {name}"] = largest(*(ours.variant.normalise(r.cpu()) for r in results))

# Core's own arithmetic of v models with our noise levels.
report["core sampling"] = {}
for kind in ("2b", "5b"):
    ours, theirs = both[kind]
    found, schedule = theirs.model.get_model_object("model_sampling"), make_schedule(
        theirs.variant.scheduler, steps=20, kind="v"
    )  # fmt: skip
    predicts, sigmas = schedule.prediction, schedule.sigmas[:-1]
    x, output = torch.randn(2, len(sigmas), 16, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    x = x * (sigmas.view(-1, 1, 1, 1, 1) ** 2 + 1).sqrt()
    report["core sampling"][kind] = {
        "timesteps": found.timestep(sigmas).float().tolist() == schedule.timesteps.tolist(),
        "sigma": largest(found.sigma(schedule.timesteps) / sigmas, torch.ones_like(sigmas)),
        "input": largest(found.calculate_input(sigmas, x), predicts.model_input(x, sigmas)),
        "denoised": largest(found.calculate_denoised(sigmas, output, x), predicts.clean(x, output, sigmas)),
        "class": sorted(
            c.__name__ for c in type(found).__mro__ if c.__name__ in ("ModelSamplingDiscrete", "V_PREDICTION")
        ),
    }

# Core's samplers on our MODEL: its Euler along the same noise levels is our euler.
report["core euler"], report["core ksampler"] = {}, {}
for kind, (_, theirs) in both.items():
    # An even length, so that 1.5 needs no padding frame; 5B I2V makes its one size only.
    length = 6 if kind == "1.5" else 5
    empty = torch.zeros(1, 16, length, 4, 6)
    positive, negative = theirs.prompts
    if kind != "1.5-i2v":
        schedule = make_schedule(theirs.variant.scheduler, "euler", steps=10, kind="v")
        noise = comfy.sample.prepare_noise(empty, 3)
        walked = comfy.sample.sample_custom(
            theirs.model, noise, 6.0, comfy.samplers.sampler_object("euler"), schedule.sigmas, positive, negative,
            empty, disable_pbar=True, seed=3,
        )  # fmt: skip
        own = sampled(theirs, "euler", steps=10, samples=empty)
        report["core euler"][kind] = largest(*(theirs.variant.normalise(r.cpu()) for r in (walked, own)))
    for sampler, scheduler in (("euler", "sgm_uniform"), ("dpmpp_2m_sde", "karras"), ("uni_pc", "simple")):
        latent = {"samples": torch.zeros(1, 16, 5, 4, 6)}
        made = core.KSampler().sample(theirs.model, 3, 4, 6.0, sampler, scheduler, positive, negative, latent, 1.0)
        end = made[0]["samples"]
        good = bool(torch.isfinite(end).all()) and end.shape == latent["samples"].shape and end.std().item() < 20
        report["core ksampler"][f"{kind} {sampler}"] = good

# Latents and the VAE.
_, theirs = both["5b"]
form = theirs.model.get_model_object("latent_format")
latent = torch.randn(1, 16, 5, 4, 6)
report["latent format"] = {
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
whole = core.VAEDecode().decode(theirs.vae, {"samples": latent})[0]
report["core decode"] = largest(whole, embedded.decode(both["5b"][0].vae, latent))
long = {"samples": torch.randn(1, 16, 9, 12, 12)}
report["core tiled"] = [
    list(core.VAEDecodeTiled().decode(theirs.vae, long, 64, 16, length, 8)[0].shape) for length in (64, 16, 12)
]
report["core encode"] = [
    list(core.VAEEncode().encode(theirs.vae, torch.rand(n, 32, 48, 3))[0]["samples"].shape) for n in (1, 9, 17)
]
text = core.CLIPTextEncode().encode(theirs.clip, PROMPT)[0]
report["core text"] = largest(text[0][0], theirs.prompts[0][0][0])

# Half the storage, and a picture that is missing.
report["bf16"] = {}
for kind in tiny_cog.KINDS:
    theirs = both[kind][1]
    low = load(real, kind, torch.bfloat16)
    a, b = (theirs.variant.normalise(sampled(one).cpu()) for one in (theirs, low))
    report["bf16"][kind] = ((a - b).norm() / a.norm()).item()
theirs = both["1.5-i2v"][1]
try:
    core.KSampler().sample(
        theirs.model, 3, 2, 6.0, "euler", "simple", *theirs.bare, {"samples": torch.zeros(1, 16, 5, 4, 6)}, 1.0
    )
except Exception as error:
    report["without picture"] = str(error)
print("REPORT " + json.dumps(report))
