"""Inside ComfyUI's Python: core's MODEL, CLIP, VAE and LATENT in our nodes, from files its own loaders read."""

from __future__ import annotations

import io

import boot
import comfy.lora
import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import folder_paths
import latent_preview
import original
import torch
from boot import call, case, largest

from opent2v.base import VideoModel, VideoVAE
from opent2v.base.few_steps import FewSteps, FewStepsLora
from opent2v.base.strengths import parse
from opent2v.host import embedded, host
from opent2v.loaders import load_model, open_file
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.sampling import Guidance, SamplerRequest, plan_run

scratch = boot.scratch()
for kind in ("diffusion_models", "vae", "text_encoders", "loras"):
    (scratch / kind).mkdir()
    folder_paths.add_model_folder_path(kind, str(scratch / kind))


def save(kind: str, weights: dict) -> str:
    comfy.utils.save_torch_file(weights, str(scratch / kind / "any name.safetensors"))
    return "any name.safetensors"


module, weights = original.transformer()
core = call("UNETLoader", unet_name=save("diffusion_models", weights), weight_dtype="default")
vae_module, vae_weights = original.vae()
core_vae = call("VAELoader", vae_name=save("vae", vae_weights))
variant = host.variant(core)
ours = host.model(VideoModel(variant, module, scratch))
our_vae = host.vae(VideoVAE(variant, vae_module, scratch))

torch.manual_seed(6)
positive, negative = ([[torch.randn(1, 16, 4096) * 0.2, {"pooled_output": None}]] for _ in range(2))


def sample(model=core, latent=None, **given):
    settings = {"seed": 5, "steps": 3, "cfg": 3.0, "positive": positive, "negative": negative}
    settings |= {"latent": latent or {"samples": torch.zeros(1, 16, 3, 4, 4)}}
    return call("OpenT2VSampler", model=model, **settings | given)[0]["samples"]


def refusal(run) -> str:
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


@case
def recognised():
    own = variant.defaults
    latent, *numbers = call("OpenT2VEmptyLatent", model=core, width=40, height=0, frames=6)
    return {
        "family": variant.family.id,
        "own": [own.width, own.height, own.frames, own.fps, own.steps, own.guidance],
        "shift": variant.scheduler["flow_shift"],
        "latent": list(latent["samples"].shape),
        "numbers": numbers,
    }


@case
def sampler():
    found = {}
    for solver in ("reference", "euler", "unipc", "dpm++ 2m"):
        results = [sample(model, solver=solver) for model in (core, ours)]
        found[solver] = {"apart": largest(*results), "finite": bool(torch.isfinite(results[0]).all())}
    return found


@case
def nag():
    """Normalised attention guidance on core's network, on ours, on the embedded host, and without it."""
    settings = Guidance(nag=7.0, nag_tau=1.5, nag_alpha=0.4)
    rows = {}
    for cfg in (1.0, 3.0):
        first, second = (sample(model, cfg=cfg, guidance=settings) for model in (core, ours))
        part = embedded.model(VideoModel(variant, module, scratch))
        request = SamplerRequest(seed=5, steps=3, cfg=cfg, guidance=settings)
        entry = {**negative[0][1], "cross_attn": negative[0][0]}
        run = plan_run(variant, request, (1, 16, 3, 4, 4), negative=entry)
        third = embedded.sample(part, positive, negative, {"samples": torch.zeros(1, 16, 3, 4, 4)}, run)
        rows[str(cfg)] = {
            "ours": largest(first, second),
            "embedded": largest(second, third),
            "without": largest(first, sample(cfg=cfg)),
        }
    return rows


@case
def strengths():
    """A LoRA whose strength changes over the steps: on core's MODEL, ours and the embedded host's."""
    torch.manual_seed(8)
    stem = "diffusion_model.blocks.0.self_attn.q"
    rows, columns = weights["blocks.0.self_attn.q.weight"].shape
    pair = {"lora_down": torch.randn(4, columns) * 0.2, "lora_up": torch.randn(rows, 4) * 0.2}
    name = save("loras", {f"{stem}.{role}.weight": tensor for role, tensor in pair.items()})
    given = {"lora": name, "strength_model": 0.8, "strength_over_steps": "1 until 50 %, 0.5 until 75 %, then 0"}
    part = embedded.model(VideoModel(variant, module, scratch))
    verdict = match(read_lora(scratch / "loras" / name), embedded.patch_target(part))
    part = embedded.apply_patches(part, load_patches(verdict), 0.8, parse(given["strength_over_steps"]))
    run = plan_run(variant, SamplerRequest(seed=5, steps=4, cfg=3.0), (1, 16, 3, 4, 4))
    theirs = embedded.sample(part, positive, negative, {"samples": torch.zeros(1, 16, 3, 4, 4)}, run)
    loaded = [call("OpenT2VLoadLora", model=model, **given)[0] for model in (core, ours)]
    results = [sample(model, steps=4) for model in loaded]
    whole = call("OpenT2VLoadLora", model=ours, lora=name, strength_model=0.8)[0]
    return {
        "core": largest(results[0], theirs),
        "ours": largest(results[1], theirs),
        "whole": largest(results[1], sample(whole, steps=4)),
        "again": largest(sample(ours, steps=4), sample(core, steps=4)),
        "plain": largest(results[1], sample(ours, steps=4)),
    }


@case
def narrower():
    """A LoRA of the text-to-video model's input layer on models that read a picture beside the latents."""
    dice = torch.Generator().manual_seed(9)
    plain = weights["patch_embedding.weight"]
    wide = torch.randn(len(plain), 36, *plain.shape[2:], generator=dice)
    name = "wide.safetensors"
    comfy.utils.save_torch_file({**weights, "patch_embedding.weight": wide}, str(scratch / "diffusion_models" / name))
    theirs = call("UNETLoader", unet_name=name, weight_dtype="default")
    part = load_model(open_file(scratch / "diffusion_models" / name), torch.float32)
    down = torch.randn(2, 16, *plain.shape[2:], generator=dice)
    up = torch.randn(len(plain), 2, 1, 1, 1, generator=dice)
    stem = "diffusion_model.patch_embedding"
    lora = save("loras", {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    merged = wide.clone()
    merged[:, :16] += 0.5 * torch.einsum("or,rctyx->octyx", up[:, :, 0, 0, 0], down)
    found = {}
    for side, model in (("core", theirs), ("ours", host.model(part))):
        changed = call("OpenT2VLoadLora", model=model, lora=lora, strength_model=0.5)[0]
        key = f"{stem}.weight"
        found[side] = largest(comfy.lora.calculate_weight(changed.patches[key], wide.clone(), key), merged)
    return found


@case
def few_steps():
    """A LoRA of few steps travels with core's MODEL and with ours, through clones and other nodes."""
    lora = FewStepsLora(FewSteps("a test", "", "a test", 3, shift=(5.0,)), "a.safetensors", 1.0)
    found = {}
    for name, model in (("core", core), ("ours", ours)):
        has = host.with_few_steps(model, lora)
        shifted = call("ModelSamplingSD3", model=has, shift=7.0)
        line = call(
            "OpenT2VSampler", model=shifted, seed=5, positive=positive, negative=negative,
            latent={"samples": torch.zeros(1, 16, 3, 4, 4)},
        )[1].splitlines()  # fmt: skip
        found[name] = {
            "kept": [one.file for one in host.few_steps(shifted.clone())],
            "before": len(host.few_steps(model)),
            "lines": line[:2],
        }
    return found


@case
def refused():
    _, weights = original.transformer(into=32)
    name = save("diffusion_models", weights)
    control = call("UNETLoader", unet_name=name, weight_dtype="default")
    config = type("Config", (comfy.supported_models_base.BASE,), {"unet_config": {}})({})
    config.set_inference_dtype(torch.float32, None)
    layer = torch.nn.Linear(2, 2)
    layer.dtype = torch.float32
    base = comfy.model_base.BaseModel(config, unet_model=lambda **_: layer)
    unknown = comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
    return {
        "control": refusal(lambda: sample(control)),
        "unknown": refusal(lambda: call("OpenT2VEmptyLatent", model=unknown, width=0, height=0, frames=0)),
        "conditioning": refusal(lambda: sample(positive=[[torch.zeros(1, 4, 768), {}]])),
        "latent": refusal(lambda: call("OpenT2VDecode", vae=core_vae, latent={"samples": torch.zeros(1, 4, 1, 2, 2)})),
    }


@case
def vae():
    latent = {"samples": torch.randn(1, 16, 3, 2, 2)}
    picture = {"samples": torch.randn(1, 16, 2, 2)}
    pair = [call("OpenT2VDecode", vae=vae, latent=latent)[0] for vae in (core_vae, our_vae)]
    one = [call("OpenT2VDecode", vae=vae, latent=picture)[0] for vae in (core_vae, our_vae)]
    return {"apart": largest(*pair), "shape": list(pair[0].shape), "picture": largest(*one), "one": list(one[0].shape)}


@case
def text():
    """Core's own text encoder for Wan, its class and tokenizer, with tiny layers of the real width."""
    import sentencepiece

    tokenizer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red circle moving to the left", "blurry and dark"] * 20), model_writer=tokenizer,
        vocab_size=60, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    raw = torch.frombuffer(bytearray(tokenizer.getvalue()), dtype=torch.uint8)
    size = {"d_ff": 8, "d_kv": 8, "num_heads": 1, "num_layers": 24, "vocab_size": 80}
    torch.manual_seed(7)
    prefix, weights = "encoder.block", {"spiece_model": raw, "shared.weight": torch.randn(80, 4096)}
    weights["encoder.final_layer_norm.weight"] = torch.ones(4096)
    for layer in range(24):
        for name in "qkv":
            weights[f"{prefix}.{layer}.layer.0.SelfAttention.{name}.weight"] = torch.randn(8, 4096) / 64
        weights[f"{prefix}.{layer}.layer.0.SelfAttention.o.weight"] = torch.randn(4096, 8) / 3
        weights[f"{prefix}.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"] = torch.randn(32, 1)
        for part, rows in (("wi_0", 8), ("wi_1", 8)):
            weights[f"{prefix}.{layer}.layer.1.DenseReluDense.{part}.weight"] = torch.randn(rows, 4096) / 64
        weights[f"{prefix}.{layer}.layer.1.DenseReluDense.wo.weight"] = torch.randn(4096, 8) / 3
        for n in (0, 1):
            weights[f"{prefix}.{layer}.layer.{n}.layer_norm.weight"] = torch.ones(4096)
    # What CLIPLoader calls; the sizes are the only thing its node could not pass on. The host tells this encoder by a
    # matrix of 168 MB in each layer, so what it would find is told here too.
    file = scratch / "text_encoders" / save("text_encoders", weights)
    detect, comfy.sd.detect_te_model = comfy.sd.detect_te_model, lambda _: comfy.sd.TEModel.T5_XXL
    try:
        clip = comfy.sd.load_clip(
            [str(file)], clip_type=comfy.sd.CLIPType.WAN, model_options={"umt5xxl_model_config": size}
        )
    finally:
        comfy.sd.detect_te_model = detect
    given = call("CLIPTextEncode", clip=clip, text="a red circle")
    encoded = call("OpenT2VEncodePrompt", clip=clip, positive="a red circle", negative="blurry")
    results = [sample(model, positive=encoded[0], negative=encoded[1]) for model in (ours, core)]
    return {
        "same": largest(given[0][0], encoded[0][0][0]),
        "two": largest(encoded[0][0][0], encoded[1][0][0]),
        "shape": list(given[0][0].shape),
        "class": type(clip.cond_stage_model).__mro__[1].__name__,
        "apart": largest(*results),
        "changed": largest(results[0], sample(ours)),
    }


@case
def latents():
    """Core's latent nodes into our sampler, with our MODEL and core's."""
    empty = call("EmptyHunyuanLatentVideo", width=32, height=32, length=9, batch_size=1)
    start = {"samples": sample(ours)}
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    cases = {
        "EmptyHunyuanLatentVideo": empty,
        "EmptyLatentImage": call("EmptyLatentImage", width=32, height=32, batch_size=1),
        "RepeatLatentBatch": call("RepeatLatentBatch", samples=empty, amount=2),
        "LatentFromBatch": call("LatentFromBatch", samples=call("RepeatLatentBatch", samples=start, amount=3),
                                batch_index=1, length=1),
        "LatentBatch": call("LatentBatch", samples1=start, samples2=start),
        "LatentUpscale": call("LatentUpscale", samples=start, upscale_method="bilinear", width=48, height=32,
                              crop="disabled"),
        "SetLatentNoiseMask": call("SetLatentNoiseMask", samples=start, mask=mask[0]),
    }  # fmt: skip
    found = {}
    for name, latent in cases.items():
        pair = [sample(model, latent, denoise=0.5 if latent["samples"].any() else 1.0) for model in (ours, core)]
        found[name] = {"apart": largest(*pair), "shape": list(pair[0].shape), "finite": bool(pair[0].isfinite().all())}
    masked = sample(ours, cases["SetLatentNoiseMask"], denoise=0.5)
    kept = largest(masked[..., 2:], start["samples"][..., 2:])
    return found | {"kept": kept, "made": largest(masked[..., :2], start["samples"][..., :2])}


def shown(run):
    """The pictures the host's preview sends to the page while something runs."""
    from comfy.cli_args import LatentPreviewMethod

    pictures, before = [], latent_preview.args.preview_method
    latent_preview.args.preview_method = LatentPreviewMethod.Latent2RGB
    comfy.utils.set_progress_bar_global_hook(lambda value, total, picture, node_id=None: pictures.append(picture))
    try:
        result = run()
    finally:
        latent_preview.args.preview_method = before
        comfy.utils.set_progress_bar_global_hook(None)
    return [p for p in pictures if p is not None], result


@case
def previews():
    import numpy as np
    from torch.nn import functional

    model, clip, vae, *_ = call("OpenT2VLoadModel", model="opent2v-quickstart", dtype="fp32")
    prompts = call(
        "OpenT2VEncodePrompt", clip=clip, positive="a red square moving right on a beige background", negative=""
    )
    latent, *_ = call("OpenT2VEmptyLatent", model=model, width=0, height=0, frames=0)
    given = {"positive": prompts[0], "negative": prompts[1], "latent": latent, "seed": 1, "steps": 10}
    pictures, result = shown(lambda: sample(model, **given))
    colours = [torch.from_numpy(np.asarray(p[1]).copy()) / 255 for p in pictures]
    steps, frames = len(pictures), result.shape[2]
    # The last picture is the last step's frame: beside the same frame of the decoded video, made as small.
    turn = (steps - 1) % frames
    video = call("OpenT2VDecode", vae=vae, latent={"samples": result})[0][turn * 4]
    small = functional.interpolate(video.movedim(-1, 0)[None], size=colours[-1].shape[:2], mode="area")[0].movedim(
        0, -1
    )
    # What is shown at each step, if always the first frame: the picture stands still at the end.
    plain, _ = shown(lambda: sample(core))
    expected = core.model.latent_format
    factors, bias = torch.tensor(expected.latent_rgb_factors), torch.tensor(expected.latent_rgb_factors_bias)
    final = expected.process_in(sample(core))[0, :, 2 % 3]
    wanted = ((final.movedim(0, -1) @ factors + bias + 1) / 2).clamp(0, 1)
    last = torch.from_numpy(np.asarray(plain[-1][1]).copy()) / 255
    return {
        "count": steps, "kind": pictures[0][0], "size": list(pictures[-1][1].size), "frames": frames,
        "colour error": (colours[-1] - small).abs().mean().item(),
        "moves": (colours[-1] - colours[-2]).abs().max().item(),
        "core": {"count": len(plain), "size": list(plain[-1][1].size), "error": (last - wanted).abs().max().item()},
    }  # fmt: skip


@case
def sharing():
    """One folder in two loader nodes is one model; it goes when nobody holds it, and changes when its files do."""
    import gc
    import os
    import shutil
    import weakref

    import comfy.model_management as mm

    folder = scratch / "diffusers" / "copy"
    shutil.copytree(boot.ROOT / "models" / "diffusers" / "opent2v-quickstart", folder)
    folder_paths.add_model_folder_path("diffusers", str(folder.parent))
    from opent2v.nodes import OpenT2VLoadModel as Loader

    load = lambda dtype="fp32": call("OpenT2VLoadModel", model="copy", dtype=dtype)  # noqa: E731
    first, again, automatic, other = load(), load(), load("auto"), load("bf16")
    found = {
        "shared": all(a is b for a, b in zip(first, again, strict=True)),
        "auto": first[0] is automatic[0],
        "other dtype": first[0] is not other[0],
    }
    before = Loader.IS_CHANGED(model="copy", dtype="fp32")
    found["state"] = before == Loader.IS_CHANGED(model="copy", dtype="fp32", unique_id="1") != ""
    file = next((folder / "transformer").glob("*.safetensors"))
    os.utime(file, ns=(1, 1))
    found["changed"] = Loader.IS_CHANGED(model="copy", dtype="fp32") != before
    found["new load"] = load()[0] is not first[0]
    cond = call("CLIPTextEncode", clip=first[1], text="a red square")
    sample(first[0], positive=cond, negative=cond, latent={"samples": torch.zeros(1, 16, 2, 8, 8)}, steps=1)
    held = [
        weakref.ref(first[0].model),
        weakref.ref(first[1].cond_stage_model),
        weakref.ref(first[2].first_stage_model),
    ]
    del first, again, automatic, cond
    gc.collect()
    found["alive"] = sum(ref() is not None for ref in held)
    mm.unload_all_models()
    mm.soft_empty_cache()
    gc.collect()
    found["alive after the host freed"] = sum(ref() is not None for ref in held)
    return found
