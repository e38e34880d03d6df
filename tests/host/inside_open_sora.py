"""Runs inside ComfyUI's Python: Open-Sora 2.0 on both hosts, with core's nodes, and against the recorded original."""

from __future__ import annotations

import boot
from boot import call, case, largest

boot.start()

import comfy.sd  # noqa: E402
import torch  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.base import Pictures, TextEncoder  # noqa: E402
from opent2v.families import open_sora  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_model, load_pipeline, load_text, open_file, open_folder, open_text_file  # noqa: E402
from opent2v.nodes.load_text import find_tokenizer  # noqa: E402
from opent2v.sampling import Guidance, make_run, make_schedule  # noqa: E402
from opent2v.sampling.caches import StepCache, cache_runs  # noqa: E402
from opent2v.sampling.caches.report import mask_texts  # noqa: E402
from opent2v.sampling.guidance import guides  # noqa: E402
from opent2v.sampling.nag import Nag  # noqa: E402
from opent2v.tests.loaders.text_files import save  # noqa: E402
from opent2v.tests.tiny import open_sora as tiny_open_sora  # noqa: E402
from opent2v.tests.tiny.open_sora import recorded  # noqa: E402

torch.set_grad_enabled(False)
scratch = boot.scratch()
weights = {name: tensor.float() for name, tensor in recorded("weights").items()}
file = open_file(save(scratch / "Open_Sora_v2.safetensors", weights))
PROMPT, NEGATIVE = "a green star moving left", "blurry"
FRAMES = {"t2v": 9, "i2v_head": 9, "i2v_tail": 9, "i2v_loop": 9, "v2v_head": 41, "v2v_tail": 41}


def model(dtype=torch.float32):
    return real.model(load_model(file, dtype))


def prompts(kind="t2v"):
    """(positive, negative, LATENT) of a recorded run."""
    tensors, variant = recorded("loops"), file.parts["transformer"].variant
    width, height = (64, 48) if FRAMES[kind] == 9 else (32, 32)
    both = [[[tensors[f"{n}.context"].clone(), {"pooled_output": tensors[f"{n}.pooled"].clone()}]]
            for n in ("positive", "negative")]  # fmt: skip
    given = [tensors[name] for n in range(2) if (name := f"{kind}.reference.{n}") in tensors]
    if given:
        latents = iter([variant.denormalise(one[None]) for one in given])
        pixels = torch.zeros(1, 3, variant.geometry.frames(given[0].shape[1]), height, width)
        start, end = (None if "tail" in kind else pixels), (None if "head" in kind else pixels)
        made = Pictures(start, end, FRAMES[kind], 1.0, None, lambda _: next(latents))
        entries = open_sora.image_to_video(variant, made).entries
        both = [[[context, {**further, **entries}] for context, further in one] for one in both]
    return *both, {"samples": torch.zeros(1, *variant.geometry.latent_shape(width, height, FRAMES[kind]))}


def sample(patcher, kind="t2v", **given):
    positive, negative, latent = prompts(kind)
    settings = {"seed": 7, "steps": 14, "guidance": Guidance(cfg_schedule="auto"), **given}
    made, _ = call("OpenT2VSampler", model=patcher, positive=positive, negative=negative, latent=latent, **settings)
    return file.parts["transformer"].variant.normalise(made["samples"].cpu())


def ksampled(patcher, kind="t2v"):
    made = core.KSampler().sample(patcher, 3, 3, 3.0, "euler", "simple", *prompts(kind), 1.0)[0]["samples"]
    return {"finite": bool(torch.isfinite(made).all()), "shape": list(made.shape), "size": made.std().item()}


@case
def loops():
    """The original's runs, by our sampler inside ComfyUI."""
    patcher = model()
    return {kind: largest(sample(patcher, kind), recorded("loops")[f"{kind}.latents"]) for kind in FRAMES}


def pictured(side):
    """A folder's parts on one host, its words, and what a run with a picture is given."""
    loaded = load_pipeline(
        open_folder(tiny_open_sora.folder()),
        model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32,
    )  # fmt: skip
    patcher, clip, vae = side.model(loaded.models[0]), side.clip(loaded.text), side.vae(loaded.vae)
    variant = loaded.models[0].variant
    shape = (1, *variant.geometry.latent_shape(48, 32, 9))
    picture = torch.linspace(-1, 1, 3 * 32 * 48).view(1, 3, 1, 32, 48)
    encode = lambda video: side.encode(vae, ((video[0] + 1) / 2).permute(1, 2, 3, 0)).float().cpu()  # noqa: E731
    entries = open_sora.image_to_video(variant, Pictures(picture, None, 9, 1.0, None, encode)).entries
    words = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    prompts = [[[c, {**more, **entries}] for c, more in one] for one in words]

    def sample(cfg_rescale=0.0, with_image=True, step_cache=None, nag_scale=0.0):
        steps, (context, more) = 14, prompts[1][0]
        away = Nag(nag_scale, 2.5, 0.25, {**more, "cross_attn": context}, variant.family.network.joint, "")
        schedule = make_schedule(
            variant.scheduler, steps=steps, sigmas=lambda total: open_sora.sigmas(variant, total, None, shape)
        )
        levels = open_sora.picture_guidance(variant, "oscillating", 3.0, prompts[0][0][1], steps, shape[2])
        cfg = open_sora.cfg(variant, "oscillating", 7.5, schedule.timesteps)

        def guides_of(step, cfg):
            chosen = guides(cfg, cfg_rescale=cfg_rescale, image_scale=levels[step] if with_image else None)
            return (away, *chosen) if nag_scale else chosen

        run = make_run(schedule, cfg, 3, guides=guides_of)
        return side.sample(patcher, *prompts, {"samples": torch.zeros(shape)}, run, step_cache=step_cache).cpu()

    return variant, words, clip, vae, sample


@case
def hosts():
    """Largest differences between the two hosts, from a folder's words and a picture to frames."""
    results = []
    for side in (embedded, real):
        variant, words, clip, vae, run = pictured(side)
        samples = run(cfg_rescale=0.5)
        results.append((words[0][0][0], variant.normalise(samples), side.decode(vae, samples)))
    text = core.CLIPTextEncode().encode(clip, PROMPT)[0]
    return {
        "conditioning": largest(results[0][0], results[1][0]),
        "latents": largest(results[0][1], results[1][1]),
        "frames": largest(results[0][2], results[1][2]),
        "core text": largest(text[0][0], results[1][0]),
        "pooled": largest(text[0][1]["pooled_output"], words[0][0][1]["pooled_output"]),
    }


@case
def nag():
    """Normalised attention guidance beside guidance by a picture, on both hosts; and what it changes."""
    results = []
    for side in (embedded, real):
        variant, *_, run = pictured(side)
        results += [variant.normalise(run(nag_scale=scale)) for scale in (7.0, 0.0)]
    return {"apart": largest(results[0], results[2]), "without": largest(*results[:2])}


@case
def cached_pictures():
    """Step caches in runs that are guided by a picture as well, on both hosts."""
    sides, found = [pictured(side) for side in (embedded, real)], {}
    for name, given in {
        "all computed": {"policy": "plan", "plan": "1"},
        "plan": {"policy": "plan", "plan": "2"},
        "easycache": {"threshold": 2.0},
        "first block": {"policy": "first block", "threshold": 2.0},
        "blocks": {"policy": "plan", "plan": "2", "predictor": "last", "boundary": "blocks"},
    }.items():
        results, done = [], []
        for variant, *_, run in sides:
            cache = cache_runs(StepCache(**{"start": 0.0, "end": 1.0, **given}), variant)()
            results.append(variant.normalise(run(step_cache=cache)))
            done.append(mask_texts(cache))
        variant, *_, run = sides[0]
        found[name] = {
            "apart": largest(*results), "steps": done,
            "from full": largest(results[0], variant.normalise(run())),
            "from words alone": largest(results[0], variant.normalise(run(with_image=False))),
        }  # fmt: skip
    return found


@case
def ksampler():
    patcher = model()
    found = {kind: ksampled(patcher, kind) for kind in ("t2v", "i2v_loop", "v2v_head")}
    found["shift"] = patcher.model.model_sampling.shift
    found["fp8"] = ksampled(model(torch.float8_e4m3fn))
    return found


@case
def storage():
    """What fp8 keeps of the blocks, and how far the prediction moves."""
    plain, small = model(torch.bfloat16), model(torch.float8_e4m3fn)
    transformer = small.model.diffusion_model
    inside = [weight for name, weight in transformer.named_parameters()
              if "blocks" in name and weight.ndim == 2 and "norm" not in name]  # fmt: skip
    return {
        "fp8": all(weight.dtype == torch.float8_e4m3fn for weight in inside),
        "outside": str(transformer.x_embedder.weight.dtype),
        "size": small.model_size() / plain.model_size(),
        "apart": largest(sample(small, steps=2), sample(plain, steps=2)),
    }


@case
def partly():
    """The same prediction with the weights whole and a third of them loaded."""
    patcher, given = model(), recorded("denoiser")

    @torch.inference_mode()
    def once(one):
        further = {"pooled": given["pooled"][:1], "known": given["condition"][:1]}
        return one.model.apply_model(given["x"][:1], torch.tensor([0.7]), c_crossattn=given["context"][:1], **further)

    patcher.patch_model(torch.device("cpu"))
    whole = once(patcher)
    patcher.detach()
    patcher.partially_load(torch.device("cpu"), extra_memory=patcher.model_size() // 3)
    return {
        "share": patcher.model.model_loaded_weight_memory / patcher.model_size(),
        "against whole": largest(once(patcher), whole),
        "size": whole.std().item(),
    }


@case
def step_cache():
    patcher = model()
    setting = call("OpenT2VStepCache", policy="first block", threshold=10.0, start=0.0, end=1.0)
    full, cached = sample(patcher, "i2v_head"), sample(patcher, "i2v_head", step_cache=setting)
    on_model = call("OpenT2VApplyStepCache", model=patcher, step_cache=setting)
    is_finite = bool(torch.isfinite(cached).all())
    return {"moved": largest(full, cached), "finite": is_finite, "ksampler": ksampled(on_model)}


@case
def lora():
    """Core's LoRA loader on both kinds of blocks, and the weights afterwards."""
    patcher = model()
    before = {name: weight.clone() for name, weight in patcher.model.state_dict().items()}
    generator = torch.Generator().manual_seed(3)
    lora = {}
    for name in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp"):
        rows, columns = patcher.model.diffusion_model.get_submodule(name).weight.shape
        lora[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
        lora[f"diffusion_model.{name}.lora_B.weight"] = torch.randn(rows, 2, generator=generator)
    changed = comfy.sd.load_lora_for_models(patcher, None, lora, 0.5, 0.0)[0]
    plain, moved = sample(patcher, steps=2), sample(changed, steps=2)
    changed.detach()
    after = patcher.model.state_dict()
    return {
        "patched": len(changed.patches),
        "moved": largest(plain, moved),
        "restored": all(torch.equal(after[name], weight) for name, weight in before.items()),
    }


@case
def dual_clip():
    """Core's DualCLIPLoader, type flux, and T5TokenizerOptions, against our text encoders of the same two files."""
    generator = torch.Generator().manual_seed(7)
    rand = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    t5 = {"shared.weight": rand(32128, 16), "encoder.final_layer_norm.weight": 1 + 0.1 * rand(16)}
    for n in range(24):
        block = f"encoder.block.{n}.layer"
        t5 |= {f"{block}.0.SelfAttention.{x}.weight": rand(16, 16) / 4 for x in "qkvo"}
        t5 |= {f"{block}.1.DenseReluDense.{x}.weight": rand(32, 16) / 4 for x in ("wi_0", "wi_1")}
        t5[f"{block}.1.DenseReluDense.wo.weight"] = rand(16, 32) / 6
        t5 |= {f"{block}.{x}.layer_norm.weight": 1 + 0.1 * rand(16) for x in (0, 1)}
    t5["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = rand(32, 2)
    stem = "text_model"
    clip = {
        f"{stem}.embeddings.token_embedding.weight": rand(49408, 8),
        f"{stem}.embeddings.position_embedding.weight": rand(77, 8),
        f"{stem}.final_layer_norm.weight": 1 + 0.1 * rand(8), f"{stem}.final_layer_norm.bias": rand(8),
    }  # fmt: skip
    for n in range(2):
        layer = f"{stem}.encoder.layers.{n}"
        for name, rows, columns in (*((f"self_attn.{x}_proj", 8, 8) for x in ("q", "k", "v", "out")),
                                    ("mlp.fc1", 16, 8), ("mlp.fc2", 8, 16)):  # fmt: skip
            clip |= {f"{layer}.{name}.weight": rand(rows, columns) / 3, f"{layer}.{name}.bias": rand(rows) / 9}
        for name in ("layer_norm1", "layer_norm2"):
            clip |= {f"{layer}.{name}.weight": 1 + 0.1 * rand(8), f"{layer}.{name}.bias": rand(8) / 9}
    # Core keeps text encoders as fp16: weights that fp16 holds exactly.
    rounded = lambda tensors: {name: tensor.half().float() for name, tensor in tensors.items()}  # noqa: E731
    paths = [save(scratch / "t5xxl.safetensors", rounded(t5)), save(scratch / "clip_l.safetensors", rounded(clip))]
    # What DualCLIPLoader calls; the sizes are the only thing its node could not pass on.
    sizes = {
        "t5xxl_model_config": {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2},
        "model_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
                                "num_attention_heads": 1, "hidden_act": "gelu"},
    }  # fmt: skip
    theirs = comfy.sd.load_clip([str(p) for p in paths], clip_type=comfy.sd.CLIPType.FLUX, model_options=sizes)
    theirs = call("T5TokenizerOptions", clip=theirs, min_padding=0, min_length=512)
    told = "a green star. 24 FPS. 4 motion score."
    core_words = call("CLIPTextEncode", clip=theirs, text=told)
    ours: TextEncoder = load_text(
        [open_text_file(p) for p in paths], file.parts["transformer"].variant, torch.float32, find_tokenizer
    )
    mine = call("OpenT2VEncodePrompt", clip=real.clip(ours), positive="a green star", negative="blurry")[0]
    patcher = model()
    latent = prompts()[-1]
    empty = call("CLIPTextEncode", clip=theirs, text="")
    given = {"model": patcher, "latent": latent, "seed": 1, "steps": 3, "guidance": Guidance(cfg_schedule="auto")}
    results = [
        call("OpenT2VSampler", positive=one, negative=empty, **given)[0]["samples"] for one in (core_words, mine)
    ]
    try:
        call("OpenT2VEncodePrompt", clip=theirs, positive="a green star", negative="", fps=24.0)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    variant = patcher.model.opent2v.variant
    return {
        "shape": list(core_words[0][0].shape),
        "context": largest(core_words[0][0], mine[0][0]), "size": mine[0][0].std().item(),
        "pooled": largest(core_words[0][1]["pooled_output"], mine[0][1]["pooled_output"]),
        "run": largest(*map(variant.normalise, results)),
        "shorter": list(call("CLIPTextEncode", clip=comfy.sd.load_clip(
            [str(p) for p in paths], clip_type=comfy.sd.CLIPType.FLUX, model_options=sizes), text=told)[0][0].shape),
        "refusal": refusal,
    }  # fmt: skip


boot.run()
