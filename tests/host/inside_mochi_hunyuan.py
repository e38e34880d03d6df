"""Runs inside ComfyUI's Python: Mochi and HunyuanVideo on both hosts, and core's own networks against ours."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import boot
from boot import case, largest

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
from opent2v.sampling import Guidance, SamplerRequest, make_run, make_schedule, plan_run  # noqa: E402
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan  # noqa: E402
from opent2v.tests.tiny import mochi as tiny_mochi  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
CPU = torch.device("cpu")
scratch = boot.scratch()
# Newer hosts build relatives of HunyuanVideo with the same class and ask for more.
NEWER = {"use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False}
NEWER = {name: value for name, value in NEWER.items() if name in hunyuan.HunyuanVideoParams.__annotations__}


def randomise(module, seed):
    """Every parameter drawn anew, so that nothing stays at a zero that would hide a wrong name."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        spread = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return module.eval()


def read_back(module, name):
    """What our loader makes of a file with core's own names."""
    path = scratch / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return open_file(path)


def against(ours, theirs):
    return {"difference": largest(ours, theirs), "size": theirs.std().item()}


def on_both_hosts(tiny, guidance):
    """Largest differences between the hosts, and core's KSampler on our MODEL."""
    results, parts = [], None
    for side in (embedded, real):
        loaded = load_pipeline(
            open_folder(tiny.folder()), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
        )
        model, clip, vae = side.model(loaded.models[0]), side.clip(loaded.text), side.vae(loaded.vae)
        variant = loaded.models[0].variant
        defaults = variant.defaults
        shape = (1, *variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames))
        conds = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
        conds = [[[context, {**entries, **guidance}] for context, entries in cond] for cond in conds]
        schedule = make_schedule(
            variant.scheduler, steps=4, sigmas=lambda n, v=variant, s=shape: v.family.sampling.sigmas(v, n, None, s)
        )
        latent = {"samples": torch.zeros(shape)}
        samples = side.sample(model, *conds, latent, make_run(schedule, 3.0, 3))
        results.append((conds[0][0][0], variant.normalise(samples.cpu()), side.decode(vae, samples)))
        parts = model, conds, latent
    model, conds, latent = parts
    by_core = core.KSampler().sample(model, 3, 3, 3.0, "euler", "simple", *conds, latent, 1.0)[0]["samples"]
    context = core.CLIPTextEncode().encode(clip, PROMPT)[0]
    return {
        "conditioning": largest(results[0][0], results[1][0]),
        "latents": largest(results[0][1], results[1][1]),
        "frames": largest(results[0][2], results[1][2]),
        "core text": largest(context[0][0], results[1][0]),
        "ksampler": bool(torch.isfinite(by_core).all()) and list(by_core.shape) == list(latent["samples"].shape),
    }


@case
def hosts():
    return {
        "mochi": on_both_hosts(tiny_mochi, {}),
        "hunyuan": on_both_hosts(tiny_hunyuan, {"guidance": 6.0}),
    }


@functools.cache
def mochi_models():
    """(core's transformer, its MODEL, our part). It has the published width built in, so only the depth is small."""
    torch.manual_seed(1)
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
    # UNETLoader builds the published depth of 48 whatever the file holds, so what it returns is made by hand.
    return (
        theirs,
        comfy.model_patcher.ModelPatcher(base, CPU, CPU),
        load_model(read_back(theirs, "mochi"), torch.float32),
    )


@case
def mochi():
    """Core's transformer, saved and read back."""
    theirs, patcher, part = mochi_models()
    torch.manual_seed(1)
    x, context = torch.randn(2, 12, 3, 8, 6), torch.randn(2, 10, 16)
    mask = torch.ones(2, 10, dtype=torch.long)  # core adds a mask of floats as it is
    mask[:, 7:] = 0
    sigma = torch.tensor([0.7, 0.7])
    expected = theirs(x, sigma, context, attention_mask=mask, num_tokens=int(mask[0].sum()))
    made = part.predict(
        x, sigma * 1000, part.conditions({"cross_attn": context, "attention_mask": mask}, tuple(x.shape))
    )
    prompts = [[[context[:1], {"attention_mask": mask[:1]}]], [[context[1:], {"attention_mask": mask[1:]}]]]
    latent = {"samples": torch.zeros(1, 12, 3, 8, 6)}
    return {
        "prediction": against(made, expected),
        "in our sampler": compared(patcher, real.model(part), prompts, latent, cfg=4.5),
    }


@case
def mochi_vae():
    torch.manual_seed(2)
    module = torch.nn.Module()
    module.encoder = genmo_vae.Encoder(
        in_channels=15, base_channels=32, channel_multipliers=[1, 2, 4, 6], num_res_blocks=[3, 3, 4, 6, 3],
        latent_dim=12, temporal_reductions=[1, 2, 3], spatial_reductions=[2, 2, 2],
        prune_bottlenecks=[False] * 5,
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
    # One picture: over time, diffusers' encoder looks back only and core's both ways.
    video = torch.rand(1, 3, 1, 32, 32) * 2 - 1
    return {
        "decode": against(vae.decode(latent), expected),
        "encode": against(vae.encode(video), genmo_vae.VideoVAE.encode(module, video)),
    }


@functools.cache
def hunyuan_video(name, channels, tells):
    """Core's transformer, its MODEL and ours of one file, and what they are sampled with.

    Args:
        channels: of what goes in: 16 for text-to-video, 33 with the picture beside the noise.
        tells: the transformer is told the guidance.
    """
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
    torch.manual_seed(3)
    context, mask = torch.randn(1, 10, 16), torch.ones(1, 10, dtype=torch.long)
    mask[:, 7:] = 0
    picture, known = torch.randn(1, 16, 1, 8, 6), torch.zeros(1, 1, 3, 8, 6)
    known[:, :, :1] = 1
    pooled = torch.randn(1, 768)
    # Core never pads a prompt, and would take padding into its mean.
    words = context[:, : int(mask.sum())]
    entries = {"pooled_output": pooled} | ({} if tells else {"concat_latent_image": picture, "concat_mask": 1 - known})
    return SimpleNamespace(
        theirs=theirs, part=part, context=context, mask=mask, words=words, picture=picture, known=known, pooled=pooled,
        entries=entries, pair=[comfy.sd.load_diffusion_model(str(file.path)), real.model(part)],
        prompts=[[[words * sign, entries]] for sign in (1, -1)], latent={"samples": torch.zeros(1, 16, 3, 8, 6)},
    )  # fmt: skip


TEXT, PICTURE = ("hunyuan_video_t2v", 16, True), ("hunyuan_video_image_to_video", 33, False)


def predicted(name, channels, tells):
    model = hunyuan_video(name, channels, tells)
    torch.manual_seed(4)
    # One latent: core's mask takes no more.
    x, t, guidance = torch.randn(1, 16, 3, 8, 6), torch.tensor([700.0]), torch.tensor([6.0])
    entry = {"cross_attn": model.context, "attention_mask": model.mask, "pooled_output": model.pooled, "guidance": 6.0}
    entry |= {"concat_latent_image": model.picture, "concat_mask": 1 - model.known}
    made = model.part.predict(x, t, model.part.conditions(entry, tuple(x.shape)))
    full = torch.zeros(1, 16, 3, 8, 6)
    full[:, :, :1] = model.part.variant.normalise(model.picture)
    inputs = x if channels == 16 else torch.cat([x, full, model.known], dim=1)
    expected = model.theirs(inputs, t, model.words, y=model.pooled, guidance=guidance if tells else None)
    return {
        "prediction": against(made, expected),
        "in our sampler": compared(*model.pair, model.prompts, model.latent, cfg=6.0),
    }


@case
def hunyuan_video_t2v():
    return predicted(*TEXT)


@case
def hunyuan_video_image_to_video():
    return predicted(*PICTURE)


@case
def guidance():
    """cfg told as guidance, as FluxGuidance sets it; and how often core's network is called."""
    model, calls = hunyuan_video(*TEXT), []
    set_by_node = [[[context, {**entries, "guidance": 3.0}] for context, entries in prompt] for prompt in model.prompts]
    handle = model.pair[0].model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
    three, six = (sampled(model.pair[0], model.prompts, model.latent, cfg=cfg) for cfg in (3.0, 6.0))
    told = sampled(model.pair[0], set_by_node, model.latent, cfg=6.0)
    handle.remove()
    return {"effect": largest(three, six), "set by a node": largest(three, told), "calls": len(calls)}


def nag_of(core_model, part, prompts, latent):
    """Normalised attention guidance on core's network, on ours, on the embedded host, and without it."""
    settings = {"steps": 2, "cfg": 1.0, "guidance": Guidance(nag=7.0, nag_tau=1.5, nag_alpha=0.4)}
    first, second = (sampled(model, prompts, latent, **settings) for model in (core_model, real.model(part)))
    positive, negative = prompts
    request = SamplerRequest(seed=3, **settings)
    entry = {**negative[0][1], "cross_attn": negative[0][0]}
    run = plan_run(part.variant, request, tuple(latent["samples"].shape), negative=entry)
    positive = [[c, {"guidance": 1.0, **values}] for c, values in positive]
    third = part.variant.normalise(embedded.sample(embedded.model(part), positive, negative, latent, run))
    return {
        "ours": largest(first, second) / second.abs().max().item(),
        "embedded": largest(second, third) / second.abs().max().item(),
        "without": largest(second, sampled(real.model(part), prompts, latent, cfg=1.0, steps=2)),
    }


@case
def nag_mochi():
    _, patcher, part = mochi_models()
    context, masks = torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(6)), torch.ones(2, 10)
    masks[0, 7:], masks[1, 4:] = 0, 0
    prompts = [[[context[n : n + 1], {"attention_mask": masks[n : n + 1].long()}]] for n in (0, 1)]
    return nag_of(patcher, part, prompts, {"samples": torch.zeros(1, 12, 2, 4, 4)})


def nag_hunyuan(name, channels, tells, masks=False):
    model = hunyuan_video(name, channels, tells)
    words = -model.words[:, :4]
    # The mask of CLIPs that write one, on the positive prompt alone.
    mask = torch.ones(model.words.shape[:2], dtype=torch.long)
    masked = model.entries | ({"attention_mask": mask} if masks else {})
    prompts = [[[model.words, masked]], [[words, model.entries]]]
    return nag_of(model.pair[0], model.part, prompts, model.latent)


@case
def nag_hunyuan_t2v():
    return nag_hunyuan(*TEXT)


@case
def nag_hunyuan_masked():
    return nag_hunyuan(*TEXT, masks=True)


@case
def nag_hunyuan_image_to_video():
    return nag_hunyuan(*PICTURE)


@case
def relative():
    """What our sampler says of core's MODEL of a relative."""
    image = comfy.supported_models.HunyuanImage21(
        {
            "image_model": "hunyuan_video", "in_channels": 64, "out_channels": 64, "vec_in_dim": None,
            "context_in_dim": 16, "hidden_size": 256, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
            "depth_single_blocks": 1, "axes_dim": [64, 64], "theta": 256, "patch_size": [1, 1], "qkv_bias": True,
            "guidance_embed": False, "byt5": False, "meanflow": False, **NEWER,
        }
    )  # fmt: skip
    image.set_inference_dtype(torch.float32, None)
    model = hunyuan_video(*TEXT)
    try:
        sampled(comfy.model_patcher.ModelPatcher(image.get_model({}), CPU, CPU), model.prompts, model.latent)
    except ValueError as error:
        return str(error)
    return ""


boot.run()
