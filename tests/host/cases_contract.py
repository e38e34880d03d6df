"""Inside ComfyUI's Python: the same cases on both hosts, and the reference pipeline beside them."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from types import SimpleNamespace

import boot
import comfy.model_management as mm
import comfy.sd
import folder_paths
import torch
from boot import call, case, largest

from opent2v.host import comfyui as real
from opent2v.host import embedded, host
from opent2v.loaders import load_pipeline, open_folder
from opent2v.sampling import make_run, make_schedule

FOLDER = boot.ROOT / "models" / "diffusers" / "opent2v-quickstart"
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
SOLVERS = ("reference", "euler", "dpm++ 2m")


@functools.cache
def load(side, model_dtype=torch.float32):
    parts = load_pipeline(
        open_folder(FOLDER), model_dtype=model_dtype, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    model, clip, vae = side.model(parts.models[0]), side.clip(parts.text), side.vae(parts.vae)
    if side is embedded:  # which computes in float32 on a CPU, whatever the weights are
        model = dataclasses.replace(model, dtype=model_dtype)
    conds = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    return SimpleNamespace(side=side, model=model, clip=clip, vae=vae, conds=conds, variant=side.variant(model))


def both(*model_dtype):
    return load(embedded, *model_dtype), load(real, *model_dtype)


def empty():
    variant = load(embedded).variant
    defaults = variant.defaults
    shape = variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames)
    return {"samples": torch.zeros(1, *shape)}


def sampled(parts, latent, schedule, cfg=1.0, seed=3):
    return parts.side.sample(parts.model, *parts.conds, latent, make_run(schedule, cfg, seed))


@functools.cache
def start():
    """A latent of the bundled model, from the embedded host."""
    parts = load(embedded)
    return sampled(parts, empty(), make_schedule(parts.variant.scheduler, "reference", steps=8), 4.0)


@case
def side():
    return host.__name__.rsplit(".", 1)[-1]


@case
def kinds():
    """Of a node's outputs, and of one that is not there."""
    importlib.import_module("nodes")
    return [host.node_outputs(name) for name in ("CheckpointLoaderSimple", "NoSuchNode")]


@case
def conditioning():
    return max(largest(a[0][0], b[0][0]) for a, b in zip(*(parts.conds for parts in both()), strict=True))


@case
def clips():
    """Of each host: how far the clips of one run are from those sampled alone; and of both, one from the other.

    In float64: matrices of three clips are summed in another order than those of one, and in float32 guidance and six
    steps make 1.5e-5 of the largest value of that.
    """
    variant, found, wholes = load(embedded).variant, {}, []
    prompts = ["a red circle moving left on a black background", PROMPT, "a blue square"]
    for parts in both(torch.float64):
        encoded = [parts.side.embed(parts.clip, text) for text in prompts]
        joined = [[torch.cat([context for [[context, _]] in encoded]), encoded[0][0][1]]]
        negative = parts.conds[1]

        def run(positive, seeds, count, parts=parts, negative=negative):
            latent = {"samples": empty()["samples"].repeat(count, 1, 1, 1, 1)}
            schedule = make_schedule(variant.scheduler, "dpm++ 2m", steps=6)
            one = {"seed": seeds[0]} if count == 1 else {"seeds": seeds}
            made = dataclasses.replace(make_run(schedule, variant.defaults.guidance), **one)
            return variant.normalise(parts.side.sample(parts.model, positive, negative, latent, made).cpu())

        wholes.append(run(joined, (3, 9, 3), 3))
        alone = [run(prompt, (seed,), 1) for prompt, seed in zip(encoded, (3, 9, 3), strict=True)]
        found[parts.side.__name__.rsplit(".", 1)[-1]] = largest(wholes[-1], torch.cat(alone))
    return found | {"hosts": largest(*wholes), "scale": wholes[0].abs().max().item()}


@case
def latents():
    """Differences of the hosts' latents."""
    variant, apart = load(embedded).variant, {}
    mask = torch.zeros(1, 1, variant.defaults.height, variant.defaults.width)
    mask[..., : variant.defaults.width // 2] = 1
    for solver in SOLVERS:
        for name, denoise, cfg, latent in (
            ("full", 1.0, 4.0, empty()),
            ("half", 0.5, 4.0, {"samples": start()}),
            ("mask", 1.0, 1.0, {"samples": start(), "noise_mask": mask}),
        ):
            schedules = [make_schedule(variant.scheduler, solver, steps=8, denoise=denoise) for _ in range(2)]
            results = [sampled(parts, latent, *by) for parts, *by in zip(both(), schedules, (cfg, cfg), strict=True)]
            apart[f"{solver} {name}"] = largest(*(variant.normalise(r.cpu()) for r in results))
    return apart


@functools.cache
def images():
    return [parts.side.decode(parts.vae, start()) for parts in both()]


@case
def frames():
    """The VAE on both hosts; outside inference mode too; whole and as a stream."""
    theirs = load(real)
    return {
        "decode": largest(*images()),
        "outside inference mode": real.decode(theirs.vae, start().clone()).min().item(),
        "stream": largest(torch.cat(list(real.decode_stream(theirs.vae, start()))), images()[0]),
        "encode": largest(*(parts.side.encode(parts.vae, images()[0]) for parts in both())),
    }


@case
def reference():
    """The makers' pipeline beside our sampler, or the reason why it cannot run."""
    try:
        import accelerate  # noqa: F401
        from diffusers import WanPipeline
    except ImportError as error:
        return f"skipped: {error}"
    theirs = load(real)
    variant, defaults = theirs.variant, theirs.variant.defaults
    pipeline = WanPipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"height": defaults.height, "width": defaults.width, "num_frames": defaults.frames}
    settings |= {"num_inference_steps": 20, "guidance_scale": defaults.guidance}
    settings |= {"max_sequence_length": variant.prompts[0].max_tokens}
    generator = torch.Generator().manual_seed(5)
    latents = pipeline(PROMPT, NEGATIVE, generator=generator, output_type="latent", **settings).frames
    generator.manual_seed(5)
    video = pipeline(PROMPT, NEGATIVE, generator=generator, output_type="pt", **settings).frames
    got = sampled(theirs, empty(), make_schedule(variant.scheduler, "reference", steps=20), defaults.guidance, 5)
    shown = real.decode(theirs.vae, got)
    error = (shown - video[0].permute(0, 2, 3, 1).cpu()).square().mean().item()
    psnr = -10 * torch.log10(torch.tensor(max(error, 1e-12))).item()
    return {"latents": largest(variant.normalise(got.cpu()), latents), "psnr": psnr}


@case
def core_nodes():
    """Core's own nodes on our objects."""
    theirs, pixels = load(real), images()[0]
    text = call("CLIPTextEncode", clip=theirs.clip, text=PROMPT)
    decoded = call("VAEDecode", vae=theirs.vae, samples={"samples": start()})
    tiled = call("VAEDecodeTiled", vae=theirs.vae, samples={"samples": start()}, tile_size=64, overlap=16)
    in_tiles = {"tile_size": 96, "overlap": 24, "temporal_size": 64, "temporal_overlap": 8}
    encoded = [
        call("VAEEncode", vae=theirs.vae, pixels=pixels),
        call("VAEEncodeTiled", vae=theirs.vae, pixels=pixels, **in_tiles),
    ]
    # The node's own tiles, which are no multiples of this VAE's blocks.
    usual = call("VAEEncodeTiled", vae=theirs.vae, pixels=pixels, **{**in_tiles, "tile_size": 64, "overlap": 16})
    return {
        "text": largest(text[0][0], theirs.conds[0][0][0]),
        "usual tiles": [list(usual["samples"].shape), largest(usual["samples"], real.encode(theirs.vae, pixels))],
        "decode": largest(decoded, images()[1]),
        "tiled": [list(tiled.shape), tiled.min().item(), tiled.max().item()],
        "encode": [largest(latent["samples"], real.encode(theirs.vae, pixels)) for latent in encoded],
    }


@case
def lora():
    """A LoRA by core's loader, fully and partially loaded, against a merge by hand; weights restored afterwards."""
    ours, theirs = both()
    generator = torch.Generator().manual_seed(4)
    name = "blocks.0.attn1.to_q"
    down, up = (torch.randn(shape, generator=generator) * 0.05 for shape in ((4, 192), (192, 4)))
    state = {f"diffusion_model.{name}.lora_down.weight": down, f"diffusion_model.{name}.lora_up.weight": up}
    schedule = lambda: make_schedule(ours.variant.scheduler, "euler", steps=2)  # noqa: E731
    before = sampled(theirs, empty(), schedule())
    patched, _ = comfy.sd.load_lora_for_models(theirs.model, None, state, 1.0, 0.0)
    with_lora = sampled(SimpleNamespace(**vars(theirs) | {"model": patched}), empty(), schedule())
    weight = ours.model.part.transformer.get_submodule(name).weight
    weight.data += up @ down
    merged = sampled(ours, empty(), schedule())
    weight.data -= up @ down
    mm.unload_all_models()

    def once():
        """One denoised prediction with the patcher's weights as they are."""
        x = torch.randn(empty()["samples"].shape, generator=torch.Generator().manual_seed(1))
        return patched.model.apply_model(x, torch.tensor([0.5]), c_crossattn=theirs.conds[0][0][0])

    patched.partially_load(torch.device("cpu"), extra_memory=patched.model_size() // 3)
    loaded, partial = patched.model.model_loaded_weight_memory, once()
    patched.detach()
    patched.patch_model(torch.device("cpu"))
    whole = once()
    patched.detach()
    return {
        "effect": largest(with_lora, before),
        "against merge": largest(with_lora, merged),
        "partial": {"loaded": loaded, "size": patched.model_size(), "against whole": largest(partial, whole)},
        "restored": largest(sampled(theirs, empty(), schedule()), before),
    }


@case
def models_listed():
    return str(boot.ROOT / "models" / "diffusers") in folder_paths.get_folder_paths("diffusers")


@case
def fp8_on_a_small_gpu():
    """What "auto" makes of an fp8 file, by the model's numbers, where a GPU of 10 GiB does not compute in fp8."""
    kept = mm.supports_fp8_compute, mm.maximum_vram_for_weights
    mm.supports_fp8_compute, mm.maximum_vram_for_weights = lambda *_: False, lambda *_: 10 * 2**30
    try:
        return [
            str(real.device_dtypes(None, torch.float8_e4m3fn, numbers)["model_dtype"])
            for numbers in (10**9, 14 * 10**9)
        ]
    finally:
        mm.supports_fp8_compute, mm.maximum_vram_for_weights = kept
