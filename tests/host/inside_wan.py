"""Runs inside ComfyUI's Python: Wan's variants on both hosts, against core's own Wan classes, and with core's nodes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import boot
from boot import largest

boot.start()

import comfy.clip_vision  # noqa: E402
import comfy.ldm.wan.vae  # noqa: E402
import comfy.ldm.wan.vae2_2  # noqa: E402
import comfy.model_management as mm  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy_extras import nodes_wan  # noqa: E402  # pyright: ignore[reportMissingImports]
from in_our_sampler import compared  # noqa: E402
from in_our_sampler import sampled as sampled_by_node  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.base.stg import Stg  # noqa: E402
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
report: dict = {}


def load(side, kind, dtype=torch.float32):
    path = tiny_wan.folder(kind) if kind in tiny_wan.KINDS else tiny.folder(kind)
    parts = load_pipeline(open_folder(path), model_dtype=dtype, text_dtype=torch.float32, vae_dtype=torch.float32)
    high, *low = (side.model(part) for part in parts.models)
    clip = side.clip(parts.text)
    return SimpleNamespace(
        side=side, kind=kind, model=high, low=low[0] if low else None, vae=side.vae(parts.vae),
        prompts=[side.embed(clip, text) for text in (PROMPT, NEGATIVE)],
        vision=None if parts.image_encoder is None else side.clip_vision(parts.image_encoder),
    )  # fmt: skip


def images_of(one, names=("start_image",)):
    size = (64, 64) if one.kind == "ti2v" else (32, 32)
    return {name: tiny_wan.picture(n, *size) for n, name in enumerate(names)}


def started(one, images, seen=None):
    """(prompts, latent) of our node, its door pointed at one side."""
    module = sys.modules["opent2v.nodes.picture"]
    before, module.host = module.host, one.side
    sys.modules["opent2v.nodes.inputs"].host = one.side
    try:
        if seen is None and one.vision is not None:
            seen = one.vision.encode_image(torch.cat(list(images.values())))
        node = NODE_CLASS_MAPPINGS["OpenT2VImageToVideo"]()
        made = node.prepare(
            one.model, one.vae, *one.prompts, 0, 0, 0, 1.0, clip_vision_output=seen, **images
        )["result"]  # fmt: skip
    finally:
        module.host = sys.modules["opent2v.nodes.inputs"].host = before
    return made[:2], made[2]


def sampled(one, prompts, latent, cfg=4.0, steps=4, **guidance):
    variant = one.side.variant(one.model)
    schedule = make_schedule(variant.scheduler, steps=steps)
    boundary, second = variant.boundary, None if one.low is None else 2.0
    run = make_run(
        schedule, cfg, 3, second_cfg=second, boundary=boundary, guides=lambda step, cfg: guides(cfg, **guidance)
    )  # fmt: skip
    return one.side.sample(one.model, *prompts, latent, run, second_expert=one.low)


# The same on both hosts.
FIRST, BOTH = ("start_image",), ("start_image", "end_image")
sides = {}
report["hosts"], report["clip vision"] = {}, {}
for kind, names in (
    ("t2v_a14b", ()),
    ("i2v", FIRST),
    ("flf2v", BOTH),
    ("i2v_a14b", BOTH),
    ("ti2v", FIRST),
    ("ti2v", ()),
):
    pair = sides.setdefault(kind, [load(side, kind) for side in (embedded, real)])
    results = []
    for one in pair:
        variant = one.side.variant(one.model)
        own = variant.defaults
        empty = {"samples": torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))}
        prompts, latent = started(one, images_of(one, names)) if names else (one.prompts, empty)
        results.append(variant.normalise(sampled(one, prompts, latent).cpu()))
    report["hosts"][f"{kind} {' '.join(names)}".strip()] = largest(*results)
# Guidance goes on over the second expert, step by step, on both hosts.
report["guided"] = {}
for name, guidance in {
    "stg": {"stg": Stg(2.0, (1,), 0.7), "blocks": "blocks"},
    "all": {"stg": Stg(2.0, (0, 1), 0.5), "blocks": "blocks", "cfg_star": True, "cfg_rescale": 0.7},
}.items():
    results = []
    for one in sides["t2v_a14b"]:
        variant, own = one.side.variant(one.model), one.side.variant(one.model).defaults
        empty = {"samples": torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))}
        results += [variant.normalise(sampled(one, one.prompts, empty, **given).cpu()) for given in (guidance, {})]
    report["guided"][name] = [largest(results[0], results[2]), largest(results[0], results[1])]
# Half the storage: every tensor the transformer gets has the dtype it computes in.
report["bf16"] = {}
for kind in ("i2v", "ti2v"):
    results = []
    for one in (sides[kind][1], load(real, kind, torch.bfloat16)):
        prompts, latent = started(one, images_of(one))
        results.append(real.variant(one.model).normalise(sampled(one, prompts, latent, cfg=1.0).cpu()))
    report["bf16"][kind] = ((results[1] - results[0]).norm() / results[0].norm()).item()
video = torch.cat([tiny_wan.picture(n) for n in range(9)])
report["encode"] = largest(*(one.side.encode(one.vae, video) for one in sides["i2v"]))
image = tiny_wan.picture(9, 48, 40)
for crop in (True, False):
    ours, theirs = (one.vision.encode_image(image, crop).penultimate_hidden_states for one in sides["i2v"])
    report["clip vision"][f"hosts, crop {crop}"] = largest(ours, theirs)

# Core's CLIP vision with the same weights.
i2v, flf2v, ti2v = (sides[kind][1] for kind in ("i2v", "flf2v", "ti2v"))
scratch = Path(tempfile.mkdtemp())
encoder = sides["i2v"][0].vision.encoder
config = encoder.config.to_dict() | {"model_type": "clip_vision_model"}
(scratch / "clip.json").write_text(json.dumps({k: v for k, v in config.items() if isinstance(v, int | float | str)}))
cores = comfy.clip_vision.ClipVisionModel(str(scratch / "clip.json"))
cores.model.float()  # the host stores it in fp16
state = {k.removeprefix("vision_model."): v for k, v in encoder.state_dict().items()}
missing, _ = cores.load_sd({f"vision_model.{k}": v for k, v in state.items()})
report["clip vision missing"] = [k for k in missing if "visual_projection" not in k]
for crop in ("center", "none"):
    seen = core.CLIPVisionEncode().encode(cores, image, crop)[0]
    mine = core.CLIPVisionEncode().encode(i2v.vision, image, crop)[0]
    report["clip vision"][f"core, {crop}"] = largest(seen.penultimate_hidden_states, mine.penultimate_hidden_states)

# Our node with core's CLIP vision output; core's nodes with our MODEL.
images = images_of(i2v)
prompts, latent = started(i2v, images)
ours = sampled(i2v, prompts, latent)
seen = core.CLIPVisionEncode().encode(cores, images["start_image"], "center")[0]
report["core clip vision into ours"] = largest(sampled(i2v, *started(i2v, images, seen)), ours)
made = nodes_wan.WanImageToVideo.execute(*i2v.prompts, i2v.vae, 32, 32, 9, 1, images["start_image"], seen).result
report["core WanImageToVideo"] = largest(sampled(i2v, made[:2], made[2]), ours)
run = core.KSampler().sample(i2v.model, 3, 3, 4.0, "uni_pc", "simple", *made, 1.0)[0]["samples"]
report["core ksampler"] = {"i2v": bool(torch.isfinite(run).all()) and list(run.shape) == list(ours.shape)}
images = images_of(flf2v, BOTH)
ours = sampled(flf2v, *started(flf2v, images))
first, last = (core.CLIPVisionEncode().encode(cores, one, "center")[0] for one in images.values())
made = nodes_wan.WanFirstLastFrameToVideo.execute(
    *flf2v.prompts, flf2v.vae, 32, 32, 9, 1, images["start_image"], images["end_image"], first, last
).result
report["core WanFirstLastFrameToVideo"] = largest(sampled(flf2v, made[:2], made[2]), ours)
images = images_of(ti2v)
prompts, latent = started(ti2v, images)
ours = sampled(ti2v, prompts, latent)
made = nodes_wan.Wan22ImageToVideoLatent.execute(ti2v.vae, 64, 64, 9, 1, images["start_image"]).result
report["core Wan22ImageToVideoLatent"] = largest(sampled(ti2v, ti2v.prompts, made[0]), ours)
run = core.KSampler().sample(ti2v.model, 3, 3, 4.0, "euler", "simple", *prompts, latent, 1.0)[0]["samples"]
report["core ksampler"]["ti2v"] = bool(torch.isfinite(run).all()) and largest(run[:, :, :1], ours[:, :, :1]) < 1e-4
t2v = sides["t2v_a14b"][1]
for name, one in (("high", t2v.model), ("low", t2v.low)):
    run = core.KSampler().sample(
        one, 3, 3, 4.0, "euler", "simple", *t2v.prompts, {"samples": torch.zeros(1, 16, 3, 4, 4)}, 1.0
    )
    report["core ksampler"][name] = bool(torch.isfinite(run[0]["samples"]).all())
try:
    sampled(i2v, i2v.prompts, {"samples": torch.zeros(1, 16, 3, 4, 4)})
except ValueError as error:
    report["without picture"] = str(error)

# Core's own model classes on the same file.
from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: E402

TINY = {
    "num_attention_heads": 2, "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256, "ffn_dim": 64,
    "num_layers": 2,
}  # fmt: skip
VISION = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 256}
CASES = {
    "wan2.1_t2v": {"in_channels": 16},
    "wan2.1_i2v": VISION,
    "wan2.1_flf2v": VISION | {"pos_embed_seq_len": 514},
    "wan2.2_i2v_high_noise": {"in_channels": 36},
    "wan2.2_ti2v": {"in_channels": 48, "out_channels": 48},
}
report["core model"], report["in our sampler"] = {}, {}
for name, further in CASES.items():
    torch.manual_seed(1)
    twin = WanTransformer3DModel(**TINY, **further)
    if "pos_embed_seq_len" in further:
        torch.nn.init.normal_(twin.condition_embedder.image_embedder.pos_embed)
    path = scratch / f"{name}.safetensors"
    save_file({f"model.diffusion_model.{original(k)}": v.clone() for k, v in twin.state_dict().items()}, path)
    file = open_file(path)
    mine = real.model(load_model(file, torch.float32))
    patchers = [comfy.sd.load_diffusion_model(str(path)), mine]
    channels = further.get("out_channels", 16)
    noise = torch.randn(1, channels, 3, 8, 6)
    given = {"cross_attn": torch.randn(1, 512, 4096), "noise": noise, "device": torch.device("cpu")}
    if further["in_channels"] == 36:
        given["concat_latent_image"] = torch.randn(1, 16, 3, 8, 6)
        given["concat_mask"] = torch.ones(1, 4, 3, 8, 6)
        given["concat_mask"][:, :, :1] = 0
        given["concat_mask"][:, 3:, 2:] = 0
    if "image_dim" in further:
        tokens = further.get("pos_embed_seq_len", 257)
        given["clip_vision_output"] = SimpleNamespace(penultimate_hidden_states=torch.randn(1, tokens, 1280))
    if channels == 48:
        given["denoise_mask"] = torch.ones_like(noise)
        given["denoise_mask"][:, :, :1] = 0
    sigma = torch.tensor([0.6])
    outputs = []
    for patcher in patchers:
        mm.load_models_gpu([patcher], force_full_load=True)
        copies = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        conds = {k: v.cond for k, v in patcher.model.extra_conds(**copies).items()}
        outputs.append(patcher.model.apply_model(noise.clone(), sigma, **conds))
    # Core never knows the file's name, so ours has none that tells a version either.
    nameless = real.model(load_model(open_file(path.rename(scratch / "wan.safetensors")), torch.float32))
    entries = {k: v for k, v in given.items() if k.startswith(("concat", "clip_vision"))}
    prompts = [[[given["cross_attn"] * sign, dict(entries)]] for sign in (1, -1)]
    latent = {"samples": torch.zeros_like(noise)}
    if channels == 48:
        latent = {"samples": torch.randn_like(noise), "noise_mask": given["denoise_mask"][:, :1]}
    found = compared(patchers[0], nameless, prompts, latent)
    if channels == 48:
        kept = sampled_by_node(patchers[0], prompts, latent)[:, :, 0]
        found["kept"] = largest(kept, real.variant(nameless).normalise(latent["samples"])[:, :, 0])
    report["in our sampler"][name] = found
    scale = outputs[0].abs().max().item()
    report["core model"][name] = {
        "class": type(patchers[0].model.diffusion_model).__name__, "difference": largest(*outputs), "scale": scale,
        "shift": patchers[1].model.model_sampling.shift,
    }  # fmt: skip
    if "image_dim" in further and "pos_embed_seq_len" not in further:
        # core's text encoder may give more than 512 tokens; only zeros are behind the prompt
        longer = torch.cat([given["cross_attn"], torch.zeros(1, 40, 4096)], 1)
        conds = {k: v.cond for k, v in mine.model.extra_conds(**{**given, "cross_attn": longer}).items()}
        report["longer prompt"] = largest(mine.model.apply_model(noise.clone(), sigma, **conds), outputs[1])
    mm.unload_all_models()

# Core's own VAE classes on the same weights.
from opent2v.families.wan.variants import VAES  # noqa: E402

report["core vae"] = {}
common = {"num_res_blocks": 2, "attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0}
for channels, module in ((16, comfy.ldm.wan.vae), (48, comfy.ldm.wan.vae2_2)):
    is_residual = channels == 48
    widths = {"base_dim": 8} | ({"decoder_base_dim": 16} if is_residual else {})
    torch.manual_seed(2)
    twin = AutoencoderKLWan(**(VAES[channels] | widths))
    state = {original_vae(k, is_residual): v.clone() for k, v in twin.state_dict().items()}
    save_file(state, scratch / "wan_vae.safetensors")
    mine = load_vae(open_file(scratch / "wan_vae.safetensors"), torch.float32)
    further = {"dec_dim": 16} if is_residual else {}
    cores = module.WanVAE(dim=8, z_dim=channels, dim_mult=[1, 2, 4, 4], **common, **further).float().eval()
    cores.load_state_dict(state, strict=True)
    pixels = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latent = cores.encode(pixels)
    report["core vae"][str(channels)] = {
        "encode": largest(mine.encode(pixels), latent),
        "decode": largest(mine.decode(latent), cores.decode(latent).clamp(-1, 1)),
    }
print("REPORT " + json.dumps(report))
