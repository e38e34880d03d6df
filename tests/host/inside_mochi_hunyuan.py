"""Runs inside ComfyUI's Python: Mochi and HunyuanVideo on both hosts, and core's own networks against ours."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import boot
from boot import largest

boot.start()

import comfy.ldm.genmo.vae.model as genmo_vae  # noqa: E402
import comfy.ldm.hunyuan_video.model as hunyuan  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from in_our_sampler import compared, sampled  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_model, load_pipeline, load_vae, open_file, open_folder  # noqa: E402
from opent2v.sampling import make_run, make_schedule  # noqa: E402
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan  # noqa: E402
from opent2v.tests.tiny import mochi as tiny_mochi  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
report: dict = {}


def randomise(module, seed):
    """Every parameter drawn anew, so that nothing stays at a zero that would hide a wrong name."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        spread = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return module.eval()


def read_back(module, name):
    """What our loader makes of a file with core's own names."""
    path = Path(tempfile.mkdtemp()) / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return open_file(path)


def on_both_hosts(tiny, guidance):
    """Largest differences between the hosts, and core's KSampler on our MODEL."""
    results, parts = [], None
    for side in (embedded, real):
        loaded = load_pipeline(
            open_folder(tiny.folder()), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
        )
        model, clip, vae = side.model(loaded.models[0]), side.clip(loaded.text), side.vae(loaded.vae)
        variant = loaded.models[0].variant
        own = variant.defaults
        shape = (1, *variant.geometry.latent_shape(own.width, own.height, own.frames))
        conds = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
        conds = [[[context, {**further, **guidance}] for context, further in cond] for cond in conds]
        schedule = make_schedule(
            variant.scheduler, steps=4, sigmas=lambda n, v=variant, s=shape: v.family.sampling.sigmas(v, n, None, s)
        )
        latent = {"samples": torch.zeros(shape)}
        samples = side.sample(model, *conds, latent, make_run(schedule, 3.0, 3))
        results.append((conds[0][0][0], variant.normalise(samples.cpu()), side.decode(vae, samples)))
        parts = model, conds, latent
    model, conds, latent = parts
    sampled = core.KSampler().sample(model, 3, 3, 3.0, "euler", "simple", *conds, latent, 1.0)[0]["samples"]
    context = core.CLIPTextEncode().encode(clip, PROMPT)[0]
    return {
        "conditioning": largest(results[0][0], results[1][0]),
        "latents": largest(results[0][1], results[1][1]),
        "frames": largest(results[0][2], results[1][2]),
        "core text": largest(context[0][0], results[1][0]),
        "ksampler": bool(torch.isfinite(sampled).all()) and list(sampled.shape) == list(latent["samples"].shape),
    }


report["mochi hosts"] = on_both_hosts(tiny_mochi, {})
report["hunyuan hosts"] = on_both_hosts(tiny_hunyuan, {"guidance": 6.0})

# Core's Mochi transformer, saved and read back. It has the published width built in, so only the depth is small.
config = comfy.supported_models.GenmoMochi(
    {
        "image_model": "mochi_preview", "patch_size": 2, "in_channels": 12, "hidden_size_x": 3072,
        "hidden_size_y": 1536, "depth": 2, "num_heads": 24, "mlp_ratio_x": 4.0, "mlp_ratio_y": 4.0, "use_t5": True,
        "t5_feat_dim": 16, "learn_sigma": False, "qk_norm": True, "qkv_bias": False, "out_bias": True,
        "attn_drop": 0.0, "posenc_preserve_area": True, "timestep_scale": 1000.0,
    }
)  # fmt: skip
config.set_inference_dtype(torch.float32, None)
base = config.get_model({})
theirs = randomise(base.diffusion_model, 1)
part = load_model(read_back(theirs, "mochi"), torch.float32)
x, context = torch.randn(2, 12, 3, 8, 6), torch.randn(2, 10, 16)
mask = torch.ones(2, 10, dtype=torch.long)  # core adds a mask of floats as it is
mask[:, 7:] = 0
sigma = torch.tensor([0.7, 0.7])
expected = theirs(x, sigma, context, attention_mask=mask, num_tokens=int(mask[0].sum()))
made = part.predict(x, sigma * 1000, part.conditions({"cross_attn": context, "attention_mask": mask}, tuple(x.shape)))
report["mochi prediction"] = {"difference": largest(made, expected), "size": expected.std().item()}
# UNETLoader builds the published depth of 48 whatever the file holds, so what it returns is made by hand.
cpu = torch.device("cpu")
patcher = comfy.model_patcher.ModelPatcher(base, cpu, cpu)
prompts = [[[context[:1], {"attention_mask": mask[:1]}]], [[context[1:], {"attention_mask": mask[1:]}]]]
report["mochi in our sampler"] = compared(
    patcher, real.model(part), prompts, {"samples": torch.zeros(1, 12, 3, 8, 6)}, cfg=4.5
)

# Core's Mochi VAE.
module = torch.nn.Module()
module.encoder = genmo_vae.Encoder(
    in_channels=15, base_channels=32, channel_multipliers=[1, 2, 4, 6], num_res_blocks=[3, 3, 4, 6, 3], latent_dim=12,
    temporal_reductions=[1, 2, 3], spatial_reductions=[2, 2, 2], prune_bottlenecks=[False] * 5,
    has_attentions=[False, True, True, True, True], affine=True, bias=True, input_is_conv_1x1=True,
    padding_mode="replicate",
)  # fmt: skip
module.decoder = genmo_vae.Decoder(
    out_channels=3, base_channels=32, channel_multipliers=[1, 2, 4, 6], temporal_expansions=[1, 2, 3],
    spatial_expansions=[2, 2, 2], num_res_blocks=[3, 3, 4, 6, 3], latent_dim=12,
    has_attention=[False, False, False, False, False], padding_mode="replicate", output_norm=False,
    nonlinearity="silu", output_nonlinearity="silu", causal=True,
)  # fmt: skip
randomise(module, 2)
vae = load_vae(read_back(module, "mochi_vae"), torch.float32)
latent = torch.randn(1, 12, 2, 4, 4)
expected = module.decoder(latent)
report["mochi decode"] = {"difference": largest(vae.decode(latent), expected), "size": expected.std().item()}
# One picture: over time, diffusers' encoder looks back only and core's both ways.
video = torch.rand(1, 3, 1, 32, 32) * 2 - 1
theirs_latent = genmo_vae.VideoVAE.encode(module, video)
report["mochi encode"] = {"difference": largest(vae.encode(video), theirs_latent), "size": theirs_latent.std().item()}

# Newer hosts build relatives of HunyuanVideo with the same class and ask for more.
NEWER = {"use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False}
NEWER = {name: value for name, value in NEWER.items() if name in hunyuan.HunyuanVideoParams.__annotations__}
calls: list[int] = []
# Core's HunyuanVideo transformer, text-to-video and with the picture beside the noise.
for name, channels, tells in (("hunyuan_video_t2v", 16, True), ("hunyuan_video_image_to_video", 33, False)):
    theirs = randomise(
        hunyuan.HunyuanVideo(
            image_model="hunyuan_video", in_channels=channels, out_channels=16, vec_in_dim=768, context_in_dim=16,
            hidden_size=256, mlp_ratio=4.0, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[16, 56, 56],
            theta=256, patch_size=[1, 2, 2], qkv_bias=True, guidance_embed=tells, byt5=False, meanflow=False,
            dtype=torch.float32, operations=comfy.ops.disable_weight_init, **NEWER,
        ),
        3,
    )  # fmt: skip
    file = read_back(theirs, name)
    part = load_model(file, torch.float32)
    # One latent: core's mask takes no more.
    x, t, context, mask = torch.randn(1, 16, 3, 8, 6), torch.tensor([700.0]), context[:1], mask[:1]
    pooled, guidance = torch.randn(1, 768), torch.tensor([6.0])
    picture, known = torch.randn(1, 16, 1, 8, 6), torch.zeros(1, 1, 3, 8, 6)
    known[:, :, :1] = 1
    entry = {"cross_attn": context, "attention_mask": mask, "pooled_output": pooled, "guidance": 6.0}
    entry |= {"concat_latent_image": picture, "concat_mask": 1 - known}
    made = part.predict(x, t, part.conditions(entry, tuple(x.shape)))
    full = torch.zeros(1, 16, 3, 8, 6)
    full[:, :, :1] = part.variant.normalise(picture)
    inputs = x if channels == 16 else torch.cat([x, full, known], dim=1)
    # Core never pads a prompt, and would take padding into its mean.
    said = context[:, : int(mask.sum())]
    expected = theirs(inputs, t, said, y=pooled, guidance=guidance if tells else None)
    report[name] = {"difference": largest(made, expected), "size": expected.std().item()}

    pair = [comfy.sd.load_diffusion_model(str(file.path)), real.model(part)]  # what UNETLoader calls
    further = {"pooled_output": pooled} | ({} if tells else {"concat_latent_image": picture, "concat_mask": 1 - known})
    prompts = [[[said * sign, further]] for sign in (1, -1)]
    latent = {"samples": torch.zeros(1, 16, 3, 8, 6)}
    report[f"{name} in our sampler"] = compared(*pair, prompts, latent, cfg=6.0)
    if tells:
        # As FluxGuidance sets it; and how often core's network is called.
        own = [[[context, {**further, "guidance": 3.0}] for context, further in prompt] for prompt in prompts]
        handle = pair[0].model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
        three, six = sampled(pair[0], prompts, latent, cfg=3.0), sampled(pair[0], prompts, latent, cfg=6.0)
        told = sampled(pair[0], own, latent, cfg=6.0)
        handle.remove()
        report["guidance"] = {
            "effect": largest(three, six), "set by a node": largest(three, told), "calls": len(calls)
        }  # fmt: skip

# Core's MODEL of a relative.
image = comfy.supported_models.HunyuanImage21(
    {
        "image_model": "hunyuan_video", "in_channels": 64, "out_channels": 64, "vec_in_dim": None,
        "context_in_dim": 16, "hidden_size": 256, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
        "depth_single_blocks": 1, "axes_dim": [64, 64], "theta": 256, "patch_size": [1, 1], "qkv_bias": True,
        "guidance_embed": False, "byt5": False, "meanflow": False, **NEWER,
    }
)  # fmt: skip
image.set_inference_dtype(torch.float32, None)
try:
    sampled(comfy.model_patcher.ModelPatcher(image.get_model({}), cpu, cpu), prompts, latent)
except ValueError as error:
    report["relative"] = str(error)
print("REPORT " + json.dumps(report))
