"""Runs inside ComfyUI's Python: Wan's variants on both hosts, against core's own Wan classes, and with core's nodes."""

from __future__ import annotations

import functools
import json
import sys
from types import SimpleNamespace

import boot
from boot import case, largest

boot.start()

import comfy.clip_vision  # noqa: E402
import comfy.ldm.wan.vae  # noqa: E402
import comfy.ldm.wan.vae2_2  # noqa: E402
import comfy.model_management as mm  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy_extras import nodes_wan  # noqa: E402  # pyright: ignore[reportMissingImports]
from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: E402
from in_our_sampler import compared  # noqa: E402
from in_our_sampler import sampled as sampled_by_node  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.base.stg import Stg  # noqa: E402
from opent2v.families.wan.variants import VAES  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_pipeline, open_folder  # noqa: E402
from opent2v.loaders.single import load_model, load_vae, open_file  # noqa: E402
from opent2v.nodes import NODE_CLASS_MAPPINGS  # noqa: E402
from opent2v.sampling import make_run, make_schedule  # noqa: E402
from opent2v.sampling.guidance import guides  # noqa: E402
from opent2v.tests.families.layouts.wan import original, original_vae  # noqa: E402
from opent2v.tests.tiny import wan as tiny  # noqa: E402
from opent2v.tests.tiny import wan_variants as tiny_wan  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
FIRST, BOTH = ("start_image",), ("start_image", "end_image")
scratch = boot.scratch()


@functools.cache
def load(side, kind, dtype=torch.float32):
    path = tiny_wan.folder(kind) if kind in tiny_wan.KINDS else tiny.folder(kind)
    parts = load_pipeline(open_folder(path), model_dtype=dtype, text_dtype=torch.float32, vae_dtype=torch.float32)
    high, *low = (side.model(part) for part in parts.models)
    clip = side.clip(parts.text)
    return SimpleNamespace(
        side=side, kind=kind, model=high, low=low[0] if low else None, vae=side.vae(parts.vae),
        variant=side.variant(high), prompts=[side.embed(clip, text) for text in (PROMPT, NEGATIVE)],
        vision=None if parts.image_encoder is None else side.clip_vision(parts.image_encoder),
    )  # fmt: skip


def both(kind):
    return load(embedded, kind), load(real, kind)


def images_of(parts, names=FIRST):
    size = (64, 64) if parts.kind == "ti2v" else (32, 32)
    return {name: tiny_wan.picture(n, *size) for n, name in enumerate(names)}


def empty_of(parts):
    defaults = parts.variant.defaults
    shape = parts.variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames)
    return {"samples": torch.zeros(1, *shape)}


def started(parts, images, seen=None):
    """(prompts, latent) of our node, its door pointed at one side."""
    module = sys.modules["opent2v.nodes.picture"]
    before, module.host = module.host, parts.side
    sys.modules["opent2v.nodes.inputs"].host = parts.side
    try:
        if seen is None and parts.vision is not None:
            seen = parts.vision.encode_image(torch.cat(list(images.values())))
        node = NODE_CLASS_MAPPINGS["OpenT2VImageToVideo"]()
        made = node.prepare(
            parts.model, parts.vae, *parts.prompts, 0, 0, 0, 1.0, clip_vision_output=seen, **images
        )["result"]  # fmt: skip
    finally:
        module.host = sys.modules["opent2v.nodes.inputs"].host = before
    return made[:2], made[2]


def sampled(parts, prompts, latent, cfg=4.0, steps=4, **guidance):
    schedule = make_schedule(parts.variant.scheduler, steps=steps)
    boundary, second = parts.variant.boundary, None if parts.low is None else 2.0
    run = make_run(
        schedule, cfg, 3, second_cfg=second, boundary=boundary, guides=lambda step, cfg: guides(cfg, **guidance)
    )  # fmt: skip
    return parts.side.sample(parts.model, *prompts, latent, run, second_expert=parts.low)


def core_seen(images, crop="center"):
    return core.CLIPVisionEncode().encode(cores_vision()[0], images, crop)[0]


@case
def hosts():
    """The same latents on both hosts, with experts and with pictures."""
    apart = {}
    for kind, names in (
        ("t2v_a14b", ()),
        ("i2v", FIRST),
        ("flf2v", BOTH),
        ("i2v_a14b", BOTH),
        ("ti2v", FIRST),
        ("ti2v", ()),
    ):
        results = []
        for parts in both(kind):
            prompts, latent = started(parts, images_of(parts, names)) if names else (parts.prompts, empty_of(parts))
            results.append(parts.variant.normalise(sampled(parts, prompts, latent).cpu()))
        apart[f"{kind} {' '.join(names)}".strip()] = largest(*results)
    return apart


@case
def guided():
    """Guidance goes on over the second expert, step by step, on both hosts: (apart, moved)."""
    differences = {}
    for name, guidance in {
        "stg": {"stg": Stg(2.0, (1,), 0.7), "blocks": "blocks"},
        "all": {"stg": Stg(2.0, (0, 1), 0.5), "blocks": "blocks", "cfg_star": True, "cfg_rescale": 0.7},
    }.items():
        results = []
        for parts in both("t2v_a14b"):
            latent = empty_of(parts)
            for settings in (guidance, {}):
                results.append(parts.variant.normalise(sampled(parts, parts.prompts, latent, **settings).cpu()))
        differences[name] = [largest(results[0], results[2]), largest(results[0], results[1])]
    return differences


@case
def bf16():
    """What half the storage changes; every tensor the transformer gets has the dtype it computes in."""
    changed = {}
    for kind in ("i2v", "ti2v"):
        results = []
        for parts in (load(real, kind), load(real, kind, torch.bfloat16)):
            prompts, latent = started(parts, images_of(parts))
            results.append(parts.variant.normalise(sampled(parts, prompts, latent, cfg=1.0).cpu()))
        changed[kind] = ((results[1] - results[0]).norm() / results[0].norm()).item()
    return changed


@case
def encode():
    video = torch.cat([tiny_wan.picture(n) for n in range(9)])
    return largest(*(parts.side.encode(parts.vae, video) for parts in both("i2v")))


@functools.cache
def cores_vision():
    """Core's CLIP vision with the weights of ours, and the names of what it lacks then."""
    encoder = load(embedded, "i2v").vision.encoder
    config = encoder.config.to_dict() | {"model_type": "clip_vision_model"}
    file = scratch / "clip.json"
    file.write_text(json.dumps({k: v for k, v in config.items() if isinstance(v, int | float | str)}))
    cores = comfy.clip_vision.ClipVisionModel(str(file))
    cores.model.float()  # the host stores it in fp16
    state = {k.removeprefix("vision_model."): v for k, v in encoder.state_dict().items()}
    missing, _ = cores.load_sd({f"vision_model.{k}": v for k, v in state.items()})
    return cores, [k for k in missing if "visual_projection" not in k]


@case
def clip_vision():
    """Differences of the image encoder between the hosts, and from core's."""
    image, apart = tiny_wan.picture(9, 48, 40), {}
    for crop in (True, False):
        seen = [parts.vision.encode_image(image, crop).penultimate_hidden_states for parts in both("i2v")]
        apart[f"hosts, crop {crop}"] = largest(*seen)
    for crop in ("center", "none"):
        mine = core.CLIPVisionEncode().encode(load(real, "i2v").vision, image, crop)[0]
        seen = core_seen(image, crop)
        apart[f"core, {crop}"] = largest(seen.penultimate_hidden_states, mine.penultimate_hidden_states)
    return {"missing": cores_vision()[1], "apart": apart}


@case
def core_nodes():
    """Runs that core's nodes prepare against those of ours."""
    parts, apart = load(real, "i2v"), {}
    images = images_of(parts)
    ours, seen = sampled(parts, *started(parts, images)), core_seen(images["start_image"])
    apart["clip vision into ours"] = largest(sampled(parts, *started(parts, images, seen)), ours)
    made = nodes_wan.WanImageToVideo.execute(*parts.prompts, parts.vae, 32, 32, 9, 1, images["start_image"], seen)
    apart["WanImageToVideo"] = largest(sampled(parts, made.result[:2], made.result[2]), ours)

    parts = load(real, "flf2v")
    images = images_of(parts, BOTH)
    ours = sampled(parts, *started(parts, images))
    first, last = (core_seen(image) for image in images.values())
    made = nodes_wan.WanFirstLastFrameToVideo.execute(
        *parts.prompts, parts.vae, 32, 32, 9, 1, images["start_image"], images["end_image"], first, last
    )
    apart["WanFirstLastFrameToVideo"] = largest(sampled(parts, made.result[:2], made.result[2]), ours)

    parts = load(real, "ti2v")
    images = images_of(parts)
    ours = sampled(parts, *started(parts, images))
    made = nodes_wan.Wan22ImageToVideoLatent.execute(parts.vae, 64, 64, 9, 1, images["start_image"]).result
    apart["Wan22ImageToVideoLatent"] = largest(sampled(parts, parts.prompts, made[0]), ours)
    return apart


@case
def core_ksampler():
    """Whether core's sampler makes something of our MODELs."""
    good = {}
    for kind, solver in (("i2v", "uni_pc"), ("ti2v", "euler")):
        parts = load(real, kind)
        prompts, latent = started(parts, images_of(parts))
        run = core.KSampler().sample(parts.model, 3, 3, 4.0, solver, "simple", *prompts, latent, 1.0)[0]["samples"]
        good[kind] = bool(torch.isfinite(run).all()) and run.shape == latent["samples"].shape
        if kind == "ti2v":  # the first frame is kept
            good[kind] = good[kind] and largest(run[:, :, :1], sampled(parts, prompts, latent)[:, :, :1]) < 1e-4
    parts = load(real, "t2v_a14b")
    for name, model in (("high", parts.model), ("low", parts.low)):
        latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
        run = core.KSampler().sample(model, 3, 3, 4.0, "euler", "simple", *parts.prompts, latent, 1.0)
        good[name] = bool(torch.isfinite(run[0]["samples"]).all())
    return good


@case
def without_picture():
    """What our sampler says where the picture is missing."""
    parts = load(real, "i2v")
    try:
        sampled(parts, parts.prompts, {"samples": torch.zeros(1, 16, 3, 4, 4)})
    except ValueError as error:
        return str(error)
    return ""


TINY = {
    "num_attention_heads": 2, "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256, "ffn_dim": 64,
    "num_layers": 2,
}  # fmt: skip
VISION = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 256}
MODELS = {
    "wan2.1_t2v": {"in_channels": 16},
    "wan2.1_i2v": VISION,
    "wan2.1_flf2v": VISION | {"pos_embed_seq_len": 514},
    "wan2.2_i2v_high_noise": {"in_channels": 36},
    "wan2.2_ti2v": {"in_channels": 48, "out_channels": 48},
}


@functools.cache
def single_file(name):
    """Core's MODEL and ours of one file, ours of it under a name that tells no version, and what both are given."""
    config = MODELS[name]
    torch.manual_seed(1)
    twin = WanTransformer3DModel(**TINY, **config)
    if "pos_embed_seq_len" in config:
        torch.nn.init.normal_(twin.condition_embedder.image_embedder.pos_embed)
    path = scratch / f"{name}.safetensors"
    save_file({f"model.diffusion_model.{original(k)}": v.clone() for k, v in twin.state_dict().items()}, path)
    ours, theirs = real.model(load_model(open_file(path), torch.float32)), comfy.sd.load_diffusion_model(str(path))
    # Core never knows the file's name, so ours has none that tells a version either.
    nameless = real.model(load_model(open_file(path.rename(scratch / "wan.safetensors")), torch.float32))
    noise = torch.randn(1, config.get("out_channels", 16), 3, 8, 6)
    inputs = {"cross_attn": torch.randn(1, 512, 4096), "noise": noise, "device": torch.device("cpu")}
    if config["in_channels"] == 36:
        inputs["concat_latent_image"] = torch.randn(1, 16, 3, 8, 6)
        inputs["concat_mask"] = torch.ones(1, 4, 3, 8, 6)
        inputs["concat_mask"][:, :, :1] = 0
        inputs["concat_mask"][:, 3:, 2:] = 0
    if "image_dim" in config:
        tokens = config.get("pos_embed_seq_len", 257)
        inputs["clip_vision_output"] = SimpleNamespace(penultimate_hidden_states=torch.randn(1, tokens, 1280))
    if "out_channels" in config:
        inputs["denoise_mask"] = torch.ones_like(noise)
        inputs["denoise_mask"][:, :, :1] = 0
    return SimpleNamespace(ours=ours, theirs=theirs, nameless=nameless, inputs=inputs, noise=noise)


def predicted(patcher, model, **changes):
    mm.load_models_gpu([patcher], force_full_load=True)
    inputs = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in {**model.inputs, **changes}.items()}
    conds = {k: v.cond for k, v in patcher.model.extra_conds(**inputs).items()}
    return patcher.model.apply_model(model.noise.clone(), torch.tensor([0.6]), **conds)


@case
def core_model():
    """One prediction of core's own model class against ours."""
    results = {}
    for name in MODELS:
        model = single_file(name)
        theirs, ours = (predicted(patcher, model) for patcher in (model.theirs, model.ours))
        results[name] = {
            "class": type(model.theirs.model.diffusion_model).__name__, "difference": largest(theirs, ours),
            "scale": theirs.abs().max().item(), "shift": model.ours.model.model_sampling.shift,
        }  # fmt: skip
        mm.unload_all_models()
    return results


@case
def longer_prompt():
    """Core's text encoder may give more than 512 tokens; only zeros are behind the prompt."""
    model = single_file("wan2.1_i2v")
    longer = torch.cat([model.inputs["cross_attn"], torch.zeros(1, 40, 4096)], 1)
    return largest(predicted(model.ours, model, cross_attn=longer), predicted(model.ours, model))


@case
def in_our_sampler():
    """Core's MODEL in our sampler against ours of the same file."""
    results = {}
    for name in MODELS:
        model = single_file(name)
        entries = {k: v for k, v in model.inputs.items() if k.startswith(("concat", "clip_vision"))}
        prompts = [[[model.inputs["cross_attn"] * sign, dict(entries)]] for sign in (1, -1)]
        latent = {"samples": torch.zeros_like(model.noise)}
        keeps = "denoise_mask" in model.inputs
        if keeps:
            latent = {"samples": torch.randn_like(model.noise), "noise_mask": model.inputs["denoise_mask"][:, :1]}
        results[name] = compared(model.theirs, model.nameless, prompts, latent)
        if keeps:
            kept = sampled_by_node(model.theirs, prompts, latent)[:, :, 0]
            start = real.variant(model.nameless).normalise(latent["samples"])
            results[name]["kept"] = largest(kept, start[:, :, 0])
        mm.unload_all_models()
    return results


@case
def core_vae():
    """Core's own VAE classes with the weights of ours."""
    apart = {}
    common = {"num_res_blocks": 2, "attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0}
    for channels, module in ((16, comfy.ldm.wan.vae), (48, comfy.ldm.wan.vae2_2)):
        is_residual = channels == 48
        widths = {"base_dim": 8} | ({"decoder_base_dim": 16} if is_residual else {})
        torch.manual_seed(2)
        twin = AutoencoderKLWan(**(VAES[channels] | widths))
        state = {original_vae(k, is_residual): v.clone() for k, v in twin.state_dict().items()}
        save_file(state, scratch / "wan_vae.safetensors")
        mine = load_vae(open_file(scratch / "wan_vae.safetensors"), torch.float32)
        decoder = {"dec_dim": 16} if is_residual else {}
        cores = module.WanVAE(dim=8, z_dim=channels, dim_mult=[1, 2, 4, 4], **common, **decoder).float().eval()
        cores.load_state_dict(state, strict=True)
        pixels = torch.rand(1, 3, 9, 32, 48) * 2 - 1
        latent = cores.encode(pixels)
        apart[str(channels)] = {
            "encode": largest(mine.encode(pixels), latent),
            "decode": largest(mine.decode(latent), cores.decode(latent).clamp(-1, 1)),
        }
    return apart


boot.run()
