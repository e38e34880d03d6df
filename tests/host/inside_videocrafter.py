"""Runs inside ComfyUI's Python: VideoCrafter2 on both hosts, in core's samplers, and with core's CLIP and VAE."""

from __future__ import annotations

import boot
from boot import call, case, largest

boot.start()

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy.text_encoders import sd2_clip  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_model, load_pipeline, load_text, load_vae, open_file, open_folder, open_text_file  # noqa: E402
from opent2v.nodes.load_text import find_tokenizer  # noqa: E402
from opent2v.sampling import Guidance, SamplerRequest, make_run, make_schedule, plan_run  # noqa: E402
from opent2v.tests.loaders.text_files import save  # noqa: E402
from opent2v.tests.tiny import videocrafter as tiny  # noqa: E402

torch.set_grad_enabled(False)
scratch = boot.scratch()
file = open_file(tiny.file())
variant = file.parts["transformer"].variant
PROMPT, NEGATIVE = "a green star moving left", "blurry"
SHAPE = (1, 4, 3, 4, 8)


def model(dtype=torch.float32):
    return real.model(load_model(file, dtype))


def prompts():
    return [[[tiny.seeded(n, 1, 7, 16), {}]] for n in (20, 21)]


def ours(patcher, solver="reference", *, steps=10, denoise=1.0, samples=None, **changed):
    """Our sampler's latents, as the UNet sees them."""
    config = {**variant.scheduler, **changed}
    schedule = make_schedule(config, solver, steps=steps, denoise=denoise, kind="eps", seed=3)
    latent = {"samples": torch.zeros(SHAPE) if samples is None else samples}
    return variant.normalise(real.sample(patcher, *prompts(), latent, make_run(schedule, 12.0, 3)).cpu())


def theirs(patcher, sampler, scheduler, *, steps=10, denoise=1.0, samples=None):
    latent = {"samples": torch.zeros(SHAPE) if samples is None else samples}
    made = core.KSampler().sample(patcher, 3, steps, 12.0, sampler, scheduler, *prompts(), latent, denoise)
    return variant.normalise(made[0]["samples"].cpu())


def apart(one, other):
    """Largest difference in parts of the latents' spread."""
    return largest(one, other) / other.std().item()


@case
def recorded():
    """The original's DDIM on the real host."""
    patcher = model()
    return {
        name: apart(ours(patcher, eta=eta), tiny.recorded()[name]) for name, eta in (("ddim", 0.0), ("ddim_noisy", 1.0))
    }


@case
def hosts():
    results = []
    for side in (embedded, real):
        loaded = load_pipeline(
            open_folder(tiny.folder()), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
        )
        one, clip, vae = side.model(loaded.models[0]), side.clip(loaded.text), side.vae(loaded.vae)
        words = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
        made = {}
        for solver in ("reference", "euler", "unipc", "dpm++ 2m"):
            schedule = make_schedule(variant.scheduler, solver, steps=5, kind="eps", seed=3)
            latent = {"samples": torch.zeros(SHAPE)}
            made[solver] = side.sample(one, *words, latent, make_run(schedule, 4.0, 3)).cpu()
        # Normalised attention guidance, by the negative prompt at cfg 1.
        request = SamplerRequest(seed=3, steps=3, cfg=1.0, guidance=Guidance(nag=7.0))
        entry = {**words[1][0][1], "cross_attn": words[1][0][0]}
        run = plan_run(variant, request, SHAPE, negative=entry)
        made["nag"] = side.sample(one, *words, {"samples": torch.zeros(SHAPE)}, run).cpu()
        frames = side.decode(vae, tiny.seeded(1, *SHAPE))
        results.append((words[0][0][0], made, frames, side.encode(vae, frames)))
    text = core.CLIPTextEncode().encode(clip, PROMPT)[0]
    latents = {name: apart(*(result[1][name] for result in results)) for name in results[0][1]}
    return {
        "conditioning": largest(results[0][0], results[1][0]),
        "latents": latents,
        "frames": largest(results[0][2], results[1][2]),
        "encoded": largest(results[0][3], results[1][3]),
        "core text": largest(text[0][0], results[1][0]),
    }


@case
def ksampler():
    """Core's samplers on our MODEL, against our own along the same noise levels."""
    patcher, start = model(), tiny.seeded(9, *SHAPE)
    euler, half = ours(patcher, "euler"), {"steps": 5, "denoise": 0.5, "samples": start}
    stays = {"eta": 0.0}
    found = {f"{name} simple": apart(theirs(patcher, name, "simple"), euler) for name in ("euler", "ddim")}
    # Over the makers' own timesteps, down to the least noise of the table, where their DDIM ends.
    config, sampling = {**variant.scheduler, **stays}, patcher.get_model_object("model_sampling")
    levels = make_schedule(config, steps=5, denoise=0.5, kind="eps").sigmas
    levels[-1] = sampling.sigma_min
    walked = comfy.sample.sample_custom(
        patcher, comfy.sample.prepare_noise(start, 3), 12.0, comfy.samplers.sampler_object("euler"), levels,
        *prompts(), start, disable_pbar=True, seed=3,
    )  # fmt: skip
    seen = variant.normalise(walked.cpu()) / (1 + sampling.sigma_min.cpu() ** 2).sqrt()
    found["euler as ddim"] = apart(seen, ours(patcher, **half, **stays))
    sigmas = make_schedule(config, steps=5, kind="eps").sigmas
    table = comfy.samplers.calculate_sigmas(sampling, "ddim_uniform", 5)
    found["same levels"] = largest(table, sigmas)
    found["range"] = [float(sampling.sigma_min), float(sampling.sigma_max)]
    for name, scheduler in (("dpmpp_2m", "karras"), ("euler_ancestral", "normal"), ("uni_pc", "sgm_uniform")):
        found[f"{name} finite"] = bool(torch.isfinite(theirs(patcher, name, scheduler, steps=4)).all())
    return found


@case
def storage():
    plain, small = model(torch.bfloat16), model(torch.float8_e4m3fn)
    full, stored = (theirs(one, "euler", "simple", steps=2) for one in (plain, small))
    kinds = {str(weight.dtype) for weight in small.model.diffusion_model.parameters()}
    return {
        "kinds": sorted(kinds),
        "size": small.model_size() / plain.model_size(),
        "finite": bool(torch.isfinite(stored).all()),
        "apart": ((full - stored).std() / full.std()).item(),
    }


@case
def partly():
    """The same prediction with the weights whole and a third of them loaded."""
    patcher = model()

    @torch.inference_mode()
    def once(one):
        x = tiny.seeded(1, *SHAPE)
        further = {"c_crossattn": tiny.seeded(20, 1, 7, 16), "frame_rate": torch.tensor([8.0])}
        return one.model.apply_model(x, torch.tensor([3.0]), **further)

    patcher.patch_model(torch.device("cpu"))
    whole = once(patcher)
    patcher.detach()
    patcher.partially_load(torch.device("cpu"), extra_memory=patcher.model_size() // 3)
    share = patcher.model.model_loaded_weight_memory / patcher.model_size()
    return {"share": share, "against whole": largest(once(patcher), whole), "size": whole.std().item()}


@case
def rate():
    """The entry "frame_rate", as core's LTXVConditioning sets it, reaches the UNet."""
    patcher, made = model(), []
    for further in ({}, {"frame_rate": 28}, {"frame_rate": 8}):
        words = [[[c, {**own, **further}] for c, own in one] for one in prompts()]
        latent, schedule = {"samples": torch.zeros(SHAPE)}, make_schedule(variant.scheduler, steps=2, kind="eps")
        made.append(real.sample(patcher, *words, latent, make_run(schedule, 1.0, 3)))
    return {"own": largest(made[0], made[1]), "other": apart(made[2], made[1])}


@case
def sd2_clip_of_core():
    """Core's own CLIP of Stable Diffusion 2, three layers deep, against ours from the same file in OpenCLIP's names."""
    given = tiny.open_clip()
    given["token_embedding.weight"] = 0.1 * tiny.seeded(5, 49408, tiny.WIDTH)
    text = open_text_file(save(scratch / "open_clip.safetensors", {f"model.{n}": t for n, t in given.items()}))
    clip = real.clip(load_text([text], variant, torch.float32, find_tokenizer))
    config = {
        "hidden_size": tiny.WIDTH, "intermediate_size": 32, "num_attention_heads": 1, "num_hidden_layers": tiny.LAYERS,
    }  # fmt: skip
    theirs = sd2_clip.SD2ClipModel(dtype=torch.float32, model_options={"clip_h_model_config": config})
    names = {"text_model.embeddings.token_embedding.weight": given["token_embedding.weight"]}
    names["text_model.embeddings.position_embedding.weight"] = given["positional_embedding"]
    for leaf in ("weight", "bias"):
        names[f"text_model.final_layer_norm.{leaf}"] = given[f"ln_final.{leaf}"]
        for n in range(tiny.LAYERS):
            old, new = f"transformer.resblocks.{n}", f"text_model.encoder.layers.{n}"
            for part, tensor in zip("qkv", given[f"{old}.attn.in_proj_{leaf}"].chunk(3), strict=True):
                names[f"{new}.self_attn.{part}_proj.{leaf}"] = tensor
            for a, b in (
                ("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
            ):  # fmt: skip
                names[f"{new}.{b}.{leaf}"] = given[f"{old}.{a}.{leaf}"]
    missing, unexpected = theirs.clip_h.load_sd(names)
    tokens = sd2_clip.SD2Tokenizer().tokenize_with_weights(PROMPT)
    context = theirs.encode_token_weights(tokens)[0]
    mine = real.embed(clip, PROMPT)[0][0]
    latent = {"samples": torch.zeros(SHAPE)}
    made = [
        call("OpenT2VSampler", model=model(), positive=[[c, {}]], negative=[[c * 0.5, {}]], latent=latent, seed=1,
             steps=2)[0]["samples"]
        for c in (context, mine)
    ]  # fmt: skip
    return {
        "unread": [n for n in [*missing, *unexpected] if "text_projection" not in n and "logit" not in n],
        "shape": list(context.shape),
        "size": context.std().item(),
        "context": largest(mine, context),
        "run": apart(*made),
    }


@case
def vae_of_core():
    """Core's VAE of Stable Diffusion 1 takes our latents in our nodes, and ours are the same."""
    widths = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    names = {tiny.original_vae_name(n): tuple(t.shape) for n, t in tiny.vae(**widths).state_dict().items()}
    weights = {n: tiny.drawn(n, tiny.original_vae_shape(n, shape)) for n, shape in names.items()}
    path = save(scratch / "vae-ft-mse.safetensors", weights)
    mine = real.vae(load_vae(open_file(path), torch.float32))
    theirs = comfy.sd.VAE(sd=dict(weights), dtype=torch.float32)
    latent, frames = {"samples": tiny.seeded(1, 1, 4, 3, 4, 8)}, torch.rand(3, 32, 64, 3)
    decoded = [call("OpenT2VDecode", vae=one, latent=latent)[0] for one in (mine, theirs)]
    streamed = torch.cat(list(real.decode_stream(theirs, latent["samples"])))
    encoded = [real.encode(one, frames) for one in (mine, theirs)]
    return {
        "shape": list(decoded[1].shape),
        "size": decoded[1].std().item(),
        "decoded": largest(*decoded),
        "streamed": largest(streamed, decoded[1]),
        "latent": list(encoded[1].shape),
        "encoded": largest(*encoded),
    }


@case
def preview():
    """Core's previews: the plain one of Stable Diffusion 1, and no tiny decoder of pictures."""
    latent_format = model().model.latent_format
    return {
        "name": type(latent_format).__name__,
        "tiny": latent_format.taesd_decoder_name,
        "factors": len(latent_format.latent_rgb_factors),
        "dimensions": latent_format.latent_dimensions,
        "scale": latent_format.process_in(torch.ones(1, 4, 1, 1, 1)).flatten().tolist(),
    }


boot.run()
