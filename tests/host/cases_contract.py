"""Inside ComfyUI's Python: the same cases on both hosts, and the reference pipeline beside them."""

from __future__ import annotations

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
report = {"side": host.__name__.rsplit(".", 1)[-1]}


def load(side):
    parts = load_pipeline(
        open_folder(FOLDER), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    return side.model(parts.models[0]), side.clip(parts.text), side.vae(parts.vae)


ours, theirs = load(embedded), load(real)
variant = embedded.variant(ours[0])
geometry, own = variant.geometry, variant.defaults
empty = torch.zeros(1, *geometry.latent_shape(own.width, own.height, own.frames))
conds = [
    [side.embed(parts[1], text) for text in (PROMPT, NEGATIVE)] for side, parts in ((embedded, ours), (real, theirs))
]
report["conditioning"] = max(largest(a[0][0], b[0][0]) for a, b in zip(*conds, strict=True))

start = None
compared = {}
mask = torch.zeros(1, 1, own.height, own.width)
mask[..., : own.width // 2] = 1
for solver in ("reference", "euler", "dpm++ 2m"):
    for kind, denoise, cfg, masked in (("full", 1.0, 4.0, False), ("half", 0.5, 4.0, False), ("mask", 1.0, 1.0, True)):
        latent = {"samples": empty if start is None or kind == "full" else start}
        if masked:
            latent["noise_mask"] = mask
        results = []
        for side, parts, cond in ((embedded, ours, conds[0]), (real, theirs, conds[1])):
            schedule = make_schedule(variant.scheduler, solver, steps=8, denoise=denoise)
            results.append(side.sample(parts[0], *cond, latent, make_run(schedule, cfg, 3)))
        start = results[0] if start is None else start
        compared[f"{solver} {kind}"] = largest(*(variant.normalise(r.cpu()) for r in results))
report["contract"] = compared
images = [side.decode(parts[2], start) for side, parts in ((embedded, ours), (real, theirs))]
report["decode"] = largest(*images)
report["decode outside inference mode"] = real.decode(theirs[2], start.clone()).min().item()
report["stream"] = largest(torch.cat(list(real.decode_stream(theirs[2], start))), images[0])
report["encode"] = largest(*(side.encode(parts[2], images[0]) for side, parts in ((embedded, ours), (real, theirs))))

try:
    import accelerate  # noqa: F401
    from diffusers import WanPipeline
except ImportError as error:
    report["reference"] = f"skipped: {error}"
else:
    pipeline = WanPipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"height": own.height, "width": own.width, "num_frames": own.frames, "num_inference_steps": 20}
    settings |= {"guidance_scale": 4.0, "max_sequence_length": variant.prompts[0].max_tokens}
    generator = torch.Generator().manual_seed(5)
    latents = pipeline(PROMPT, NEGATIVE, generator=generator, output_type="latent", **settings).frames
    generator.manual_seed(5)
    frames = pipeline(PROMPT, NEGATIVE, generator=generator, output_type="pt", **settings).frames
    schedule = make_schedule(variant.scheduler, "reference", steps=20)
    got = real.sample(theirs[0], *conds[1], {"samples": empty}, make_run(schedule, 4.0, 5))
    shown = real.decode(theirs[2], got)
    error = (shown - frames[0].permute(0, 2, 3, 1).cpu()).square().mean().item()
    psnr = -10 * torch.log10(torch.tensor(max(error, 1e-12))).item()
    report["reference"] = {"latents": largest(variant.normalise(got.cpu()), latents), "psnr": psnr}

# Core's own nodes on our objects.
model, clip, vae = theirs
text = call("CLIPTextEncode", clip=clip, text=PROMPT)
report["core text"] = largest(text[0][0], conds[1][0][0][0])
decoded = call("VAEDecode", vae=vae, samples={"samples": start})
report["core decode"] = largest(decoded, images[1])
tiled = call("VAEDecodeTiled", vae=vae, samples={"samples": start}, tile_size=64, overlap=16)
report["core tiled"] = [list(tiled.shape), tiled.min().item(), tiled.max().item()]
encoded = [
    call("VAEEncode", vae=vae, pixels=images[0]),
    call("VAEEncodeTiled", vae=vae, pixels=images[0], tile_size=64, overlap=16, temporal_size=64, temporal_overlap=8),
]
report["core encode"] = [largest(found["samples"], real.encode(vae, images[0])) for found in encoded]

# A LoRA by core's loader, fully and partially loaded, and weights restored afterwards.
name = "blocks.0.attn1.to_q"
down, up = torch.randn(4, 192) * 0.05, torch.randn(192, 4) * 0.05
lora = {f"diffusion_model.{name}.lora_down.weight": down, f"diffusion_model.{name}.lora_up.weight": up}
schedule = lambda: make_schedule(variant.scheduler, "euler", steps=2)  # noqa: E731
before = real.sample(model, *conds[1], {"samples": empty}, make_run(schedule(), 1.0, 3))
patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
with_lora = real.sample(patched, *conds[1], {"samples": empty}, make_run(schedule(), 1.0, 3))
weight = ours[0].part.transformer.get_submodule(name).weight
weight.data += up @ down
merged = embedded.sample(ours[0], *conds[0], {"samples": empty}, make_run(schedule(), 1.0, 3))
weight.data -= up @ down
report["lora"] = {"effect": largest(with_lora, before), "against merge": largest(with_lora, merged)}
mm.unload_all_models()


def once(patcher):
    """One denoised prediction with the patcher's weights as they are."""
    x = torch.randn(empty.shape, generator=torch.Generator().manual_seed(1))
    return patcher.model.apply_model(x, torch.tensor([0.5]), c_crossattn=conds[1][0][0][0])


patched.partially_load(torch.device("cpu"), extra_memory=patched.model_size() // 3)
loaded, partial = patched.model.model_loaded_weight_memory, once(patched)
patched.detach()
patched.patch_model(torch.device("cpu"))
whole = once(patched)
patched.detach()
report["partial"] = {"loaded": loaded, "size": patched.model_size(), "against whole": largest(partial, whole)}
after = real.sample(model, *conds[1], {"samples": empty}, make_run(schedule(), 1.0, 3))
report["restored"] = largest(after, before)
report["models listed"] = str(boot.ROOT / "models" / "diffusers") in folder_paths.get_folder_paths("diffusers")


@case
def contract():
    return report


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
