"""Runs inside ComfyUI's Python: LTX-Video on both hosts, against core's own classes, and with core's nodes."""

from __future__ import annotations

import functools
import inspect
from types import SimpleNamespace

import boot
from boot import case, largest

boot.start()

import comfy.ldm.lightricks.vae.causal_video_autoencoder as causal_vae  # noqa: E402
import comfy.model_management as mm  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.sd1_clip  # noqa: E402
import comfy.text_encoders.t5  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from comfy_extras import nodes_lt  # noqa: E402  # pyright: ignore[reportMissingImports]
from diffusers import LTXVideoTransformer3DModel  # noqa: E402
from in_our_sampler import compared  # noqa: E402
from in_our_sampler import sampled as sampled_by_node  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import T5Config, T5EncoderModel  # noqa: E402

import nodes as core  # noqa: E402
from opent2v.base import Pictures  # noqa: E402
from opent2v.base.stg import Stg  # noqa: E402
from opent2v.families import ltx_video  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.loaders import load_pipeline, open_folder  # noqa: E402
from opent2v.loaders.single import load_model, load_vae, open_file  # noqa: E402
from opent2v.sampling import Guidance, make_run, make_schedule  # noqa: E402
from opent2v.sampling.caches import CacheRequest, StepCache, cache_runs  # noqa: E402
from opent2v.sampling.caches.report import summary  # noqa: E402
from opent2v.sampling.guidance import guides  # noqa: E402
from opent2v.tests.families.layouts.ltx_video import original_transformer, original_vae  # noqa: E402
from opent2v.tests.tiny import ltx_video as tiny  # noqa: E402

torch.set_grad_enabled(False)
PROMPT, NEGATIVE = "a green star moving left on a sky-blue background", "blurry"
SIZE = (96, 64, 17)
EMPTY = {"samples": torch.zeros(1, tiny.CHANNELS, 3, 2, 3)}
scratch = boot.scratch()
folder_paths.add_model_folder_path("diffusion_models", str(scratch))


@functools.cache
def load(side, kind):
    parts = load_pipeline(
        open_folder(tiny.folder(kind)), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    clip, model = side.clip(parts.text), side.model(parts.models[0])
    prompts = [side.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    return SimpleNamespace(side=side, model=model, vae=side.vae(parts.vae), part=parts.vae, clip=clip,
                           variant=side.variant(model), prompts=prompts)  # fmt: skip


def both(kind):
    return load(embedded, kind), load(real, kind)


def sampled(parts, prompts, latent, cfg=3.0, rescale=0.0, stg=None, star=False, **options):
    variant, shape = parts.variant, tuple(latent["samples"].shape)
    levels = lambda total: ltx_video.sigmas(variant, total, None, shape)  # noqa: E731
    schedule = make_schedule(variant.scheduler, steps=4, sigmas=levels)

    def guides_of(step, cfg):
        in_step = stg and stg[step]
        return guides(cfg, stg=in_step, blocks=variant.family.network.blocks, cfg_star=star, cfg_rescale=rescale)

    run = make_run(schedule, cfg, 3, guides=guides_of)
    return parts.side.sample(parts.model, *prompts, latent, run, **options)


def started(parts, has_start, has_end, strength=1.0):
    """(prompts, latent) from pictures."""
    pictures = [tiny_picture(n) if is_there else None for n, is_there in enumerate((has_start, has_end))]
    guided = ltx_video.image_to_video(parts.variant, Pictures(*pictures, SIZE[2], strength, None, parts.part.encode))
    prompts = [[[context, {**entries, **guided.entries}]] for ((context, entries),) in parts.prompts]
    latent = {"samples": guided.samples} | ({} if guided.mask is None else {"noise_mask": guided.mask})
    return prompts, latent


def tiny_picture(seed):
    return torch.rand(1, 3, 1, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(seed)) * 2 - 1


@case
def hosts():
    """The same latents on both hosts."""
    apart = {}
    for name, kind, start, end, strength, cfg, rescale in (
        ("text", "0.9.0", False, False, 1.0, 3.0, 0.0),
        ("text, cfg 1", "0.9.7", False, False, 1.0, 1.0, 0.7),
        ("rescaled", "0.9.0", False, False, 1.0, 8.0, 0.7),
        ("start", "0.9.0", True, False, 1.0, 3.0, 0.0),
        ("start, rescaled", "0.9.7", True, False, 1.0, 8.0, 0.7),
        ("start and end, half strength", "0.9.7", True, True, 0.5, 3.0, 0.0),
    ):
        results = []
        for parts in both(kind):
            prompts, latent = started(parts, start, end, strength) if start or end else (parts.prompts, EMPTY)
            results.append(sampled(parts, prompts, latent, cfg, rescale).cpu())
        apart[name] = largest(*results)
    return apart


STG, MIXED = [Stg(1.0, (1,), 0.7)] * 4, [Stg(), Stg(4.0, (0, 1), 0.5), Stg(2.0, (1,)), Stg(1.0, (0,))]
BY_STEP = (1.0, 6.0, 8.0, 1.0)
# Spatio-temporal guidance; with step caches that decide, that follow a plan, and that compute everything:
# name -> (starts from a picture, cfg, rescale, stg, star, step cache).
GUIDANCE = {
    "constant": (False, 3.0, 0.0, STG, False, None),
    "cfg 1": (False, 1.0, 0.0, STG, False, None),
    "by step, star": (False, BY_STEP, 0.0, MIXED, True, None),
    "start, star, rescaled": (True, 3.0, 0.7, STG, True, None),
    "cached": (False, 3.0, 0.0, STG, False, StepCache(threshold=0.5, start=0.0, end=1.0)),
    "cached, plan, by step, star": (False, BY_STEP, 0.0, MIXED, True, StepCache(policy="plan", plan="crrc")),
    "cached, blocks, start, rescaled": (
        True, 3.0, 0.7, STG, True, StepCache(policy="plan", plan="crrc", predictor="last", boundary="blocks"),
    ),
    "cached, all computed": (False, 3.0, 0.0, STG, False, StepCache(threshold=1e-9, start=0.0, end=1.0)),
}  # fmt: skip


@case
def guidance():
    """[apart, effect, what both caches computed, effect of the cache] of each."""
    report = {}
    for name, (starts, cfg, rescale, stg, star, cache) in GUIDANCE.items():
        results, plain, counts, full = [], None, [], None
        for parts in both("0.9.7"):
            prompts, latent = started(parts, True, False) if starts else (parts.prompts, EMPTY)
            run = cache_runs(cache, parts.variant)() if cache else None
            results.append(sampled(parts, prompts, latent, cfg, rescale, stg=stg, star=star, step_cache=run).cpu())
            plain = sampled(parts, prompts, latent, cfg, rescale).cpu()
            full = sampled(parts, prompts, latent, cfg, rescale, stg=stg, star=star).cpu() if run else results[-1]
            counts.append(summary(run) if run else "")
        report[name] = [largest(*results), largest(results[0], plain), *counts, largest(results[1], full)]
    return report


@case
def options_left_alone():
    """Whether a run with rescaled guidance leaves the user's model as it is."""
    theirs = load(real, "0.9.7")
    sampled(theirs, theirs.prompts, EMPTY, cfg=8.0, rescale=0.7)
    return "sampler_post_cfg_function" not in theirs.model.model_options


@case
def decode():
    latent = torch.randn(1, tiny.CHANNELS, 2, 2, 3)
    return largest(*(parts.side.decode(parts.vae, latent) for parts in both("0.9.7")))


@case
def core_text():
    """Core's T5 with our weights: its CONDITIONING is ours."""
    torch.manual_seed(2)
    theirs = load(real, "0.9.7")
    encoder = theirs.clip.cond_stage_model.transformer
    config = {
        k: getattr(encoder.config, k) for k in ("d_ff", "d_kv", "d_model", "num_heads", "num_layers", "vocab_size")
    }
    config |= {"dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True, "model_type": "t5"}
    cores = comfy.sd1_clip.SDClipModel(
        textmodel_json_config=config, special_tokens={"end": 1, "pad": 0}, model_class=comfy.text_encoders.t5.T5,
        enable_attention_masks=True, return_attention_masks=True, dtype=torch.float32,
    )  # fmt: skip
    # Core's T5 has 32 buckets of positions, the tiny one 8.
    weights = {k: v.clone() for k, v in encoder.state_dict().items()}
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    weights[bias] = torch.randn(32, config["num_heads"])
    missing = [k for k in cores.load_sd(weights)[0] if "logit_scale" not in k]
    settings = {k: v for k, v in config.items() if k not in ("dense_act_fn", "is_gated_act", "model_type")}
    twin = T5EncoderModel(
        T5Config(**settings, relative_attention_num_buckets=32, feed_forward_proj="gated-gelu")
    ).eval()
    twin.load_state_dict(weights)
    ids = theirs.clip.tokenizer.part.tokens(PROMPT)[0]["text_encoder"]
    context, _, entries = cores.encode_token_weights([[(token, 1.0) for token in ids + [0] * (128 - len(ids))]])
    padded = torch.tensor([ids + [0] * (256 - len(ids))])
    mask = (torch.arange(256) < len(ids)).long()[None]
    mine, our_entries = ltx_video.embed({"text_encoder": twin}, {"text_encoder": (padded, mask)})
    samples = [
        sampled(theirs, [[[embedding, with_it]], theirs.prompts[1]], EMPTY)
        for embedding, with_it in ((context, entries), (mine, our_entries))
    ]
    return {
        "missing": missing,
        "text": largest(context[:, : len(ids)], mine[:, : len(ids)]),
        "conditioning": largest(*samples),
    }


def guide(theirs):
    """(prompts, latent) with core's keyframe at the end."""
    made = nodes_lt.LTXVAddGuide.execute(*theirs.prompts, theirs.vae, EMPTY, start_image(), -1, 1.0).result
    return made[:2], made[2]


def start_image():
    return (tiny_picture(0)[0].permute(1, 2, 3, 0) + 1) / 2


@case
def core_nodes():
    """Core's nodes with our MODEL and VAE."""
    theirs = load(real, "0.9.7")
    made = nodes_lt.LTXVImgToVideo.execute(*theirs.prompts, start_image(), theirs.vae, *SIZE, 1, 1.0).result
    prompts, latent = started(theirs, True, False)
    rated = nodes_lt.LTXVConditioning.execute(*theirs.prompts, 12.0).result
    guided, guide_latent = guide(theirs)
    run = sampled(theirs, guided, guide_latent)
    cropped = nodes_lt.LTXVCropGuides.execute(*guided, {**guide_latent, "samples": run}).result[2]["samples"]
    return {
        "LTXVImgToVideo": largest(sampled(theirs, made[:2], made[2]), sampled(theirs, prompts, latent)),
        "LTXVConditioning": largest(sampled(theirs, rated, EMPTY), sampled(theirs, theirs.prompts, EMPTY)),
        "LTXVAddGuide": [
            list(run.shape), list(cropped.shape), largest(run[:, :, -1:], guide_latent["samples"][:, :, -1:]),
        ],
    }  # fmt: skip


@case
def core_ksampler():
    theirs, good = load(real, "0.9.7"), []
    for prompts, latent in ((theirs.prompts, EMPTY), started(theirs, True, True), guide(theirs)):
        run = core.KSampler().sample(theirs.model, 3, 3, 3.0, "euler", "simple", *prompts, latent, 1.0)[0]["samples"]
        good.append(bool(torch.isfinite(run).all()) and run.shape == latent["samples"].shape)
    return good


def written(name):
    """A file of this name with a transformer in core's names."""
    torch.manual_seed(1)
    twin = LTXVideoTransformer3DModel(
        num_attention_heads=32, attention_head_dim=4, cross_attention_dim=128, num_layers=2
    )
    path = scratch / f"{name}.safetensors"
    save_file(
        {f"model.diffusion_model.{original_transformer(k)}": v.clone() for k, v in twin.state_dict().items()}, path
    )
    return path


@functools.cache
def single_file(version):
    """(core's MODEL, ours) of one file."""
    path = written(f"ltxv-2b-{version}")
    theirs, ours = comfy.sd.load_diffusion_model(str(path)), real.model(load_model(open_file(path), torch.float32))
    # Core reads it from a checkpoint's config.
    theirs.model.diffusion_model.causal_temporal_positioning = version == "0.9.5"
    return theirs, ours


@case
def core_model():
    """One prediction of core's own model class against ours: [apart, scale]."""
    results = {}
    for version in ("0.9.1", "0.9.5"):
        patchers = single_file(version)
        torch.manual_seed(3)
        noise, context = torch.randn(1, 128, 3, 4, 5), torch.randn(1, 20, 4096)
        full, partial = torch.ones(1, 20, dtype=torch.long), (torch.arange(20) < 7).long()[None]
        kept = torch.ones_like(noise)
        kept[:, :, :1] = 0.25
        guide = torch.randn(1, 3, 20).mul(50).abs().round()
        if getattr(patchers[0].model.diffusion_model.patchifier, "start_end", False):
            guide = torch.stack([guide, guide + 1], -1)
        variants = {
            "no mask": {},
            "full mask": {"attention_mask": full},
            "partial mask": {"attention_mask": partial, "frame_rate": 30.0},
            "kept frame": {"attention_mask": partial, "denoise_mask": kept},
            "keyframe": {"attention_mask": partial, "denoise_mask": kept, "keyframe_idxs": guide},
        }
        for name, entries in variants.items():
            outputs = []
            for patcher in patchers:
                mm.load_models_gpu([patcher], force_full_load=True)
                inputs = {
                    "cross_attn": context, "noise": noise, "device": torch.device("cpu"), "frame_rate": 25, **entries
                }  # fmt: skip
                inputs = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
                conds = {"attention_mask": None} | {k: v.cond for k, v in patcher.model.extra_conds(**inputs).items()}
                outputs.append(patcher.model.apply_model(noise.clone(), torch.tensor([0.6]), **conds))
            results[f"{version} {name}"] = [largest(*outputs), outputs[0].abs().max().item()]
        mm.unload_all_models()
    return {"class": type(single_file("0.9.5")[0].model.diffusion_model).__name__, "predictions": results}


@case
def in_our_sampler():
    """What our sampler makes of core's MODEL, beside ours of the same file."""
    # The file's name is not known to core, so ours has none that tells a version either.
    path = written("ltxv-2b")
    patchers = [
        core.UNETLoader().load_unet(path.name, "default")[0], real.model(load_model(open_file(path), torch.float32))
    ]  # fmt: skip
    torch.manual_seed(4)
    full, partial = torch.ones(1, 20, dtype=torch.long), (torch.arange(20) < 7).long()[None]
    prompts = [[[torch.randn(1, 20, 4096), {"attention_mask": mask}]] for mask in (partial, full)]
    slower = [[[context, {**entries, "frame_rate": 12.0}] for context, entries in prompt] for prompt in prompts]
    clip = {"samples": torch.randn(1, 128, 3, 4, 5)}
    first = torch.ones(1, 1, 3, 4, 5)
    first[:, :, :1] = 0
    latents = {"empty": {"samples": torch.zeros_like(clip["samples"])}, "kept frame": {**clip, "noise_mask": first}}
    results = {name: compared(*patchers, prompts, latent) for name, latent in latents.items()}
    results["12 fps"] = compared(*patchers, slower, latents["empty"])
    unmasked = [[[prompts[0][0][0], {"attention_mask": full}]], prompts[1]]
    runs = [sampled_by_node(patchers[0], conds, latents["empty"]) for conds in (prompts, unmasked, slower)]
    steered = {"guidance": Guidance(stg=1.0, stg_blocks="1", cfg_star=True)}
    results["guidance"] = compared(*patchers, prompts, latents["empty"], **steered)
    run = sampled_by_node(patchers[0], prompts, latents["empty"], **steered)
    reads = {
        "mask": largest(runs[0], runs[1]), "frame rate": largest(runs[0], runs[2]), "guidance": largest(run, runs[0])
    }  # fmt: skip
    steered["step_cache"] = CacheRequest.exactly(StepCache(policy="plan", plan="crc"))
    cached = compared(*patchers, prompts, latents["empty"], **steered)
    by_cache = sampled_by_node(patchers[0], prompts, latents["empty"], **steered)
    kept = sampled_by_node(patchers[0], prompts, latents["kept frame"])
    return {
        "apart": results,
        "reads": reads,
        "cached": cached | {"from full": largest(by_cache, run)},
        "keeps": [largest(kept[:, :, n], clip["samples"][:, :, n]) for n in (0, 1)],
    }


# Core's own VAE class, 1/16 as wide, on the same file.
NARROW = {"encoder_base_channels": 8, "decoder_base_channels": 8}
if "encoder_base_channels" not in inspect.getsource(causal_vae.VideoVAE):  # 0.8 knows the published width only
    causal_vae.Encoder = functools.partial(causal_vae.Encoder, base_channels=8)
    causal_vae.Decoder = functools.partial(causal_vae.Decoder, base_channels=8)


def res(layers, inject=False):
    return ["res_x", {"num_layers": layers, "inject_noise": inject}]


WIDEN, HALVE, DOUBLE = ["res_x_y", 1], ["compress_all", {}], ["compress_all", {"residual": True, "multiplier": 2}]
OLD = [res(2), HALVE, WIDEN, res(1), HALVE, WIDEN, res(1), HALVE, res(1), res(2)]
NEW = [res(1), ["compress_space_res", {"multiplier": 2}], res(2), ["compress_time_res", {"multiplier": 2}], res(2),
       ["compress_all_res", {"multiplier": 2}], res(1), ["compress_all_res", {"multiplier": 2}], res(1)]  # fmt: skip
BLOCKS = {
    "0.9.0": (OLD, OLD),
    "0.9.1": (OLD, [res(1, True), DOUBLE, res(2, True), DOUBLE, res(1, True), DOUBLE, res(2)]),
    "0.9.5": (NEW, [res(1), DOUBLE, res(1), DOUBLE, res(1), DOUBLE, res(1)]),
}


@case
def core_vae():
    results = {}
    for version, (down, up) in BLOCKS.items():
        twin = tiny.vae(version, latent_channels=128)
        state = {original_vae(k, version): v.clone() for k, v in twin.state_dict().items()}
        path = scratch / f"vae-{version}.safetensors"
        save_file(state, path)
        mine = load_vae(open_file(path), torch.float32)
        by_padding = {}
        for padding in ("zeros", None):
            config = {
                "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 128, "encoder_blocks": down,
                "decoder_blocks": up, "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform",
                "timestep_conditioning": version != "0.9.0", **NARROW,
            }  # fmt: skip
            cores = causal_vae.VideoVAE(config=config | ({"spatial_padding_mode": padding} if padding else {})).eval()
            missing, unexpected = cores.load_state_dict(state, strict=False)
            assert not unexpected and all("per_channel_statistics" in key for key in missing), (missing, unexpected)
            pixels = torch.rand(1, 3, 9, 128, 160) * 2 - 1
            latent = cores.encode(pixels)
            ltx_video.DECODE_NOISE = 0.0  # core draws it from the global generator
            torch.manual_seed(0)
            shown = cores.decoder(cores.per_channel_statistics.un_normalize(latent), timestep=0.05)
            by_padding[padding or "default"] = {
                "encode": largest(mine.encode(pixels), latent),
                "decode": largest(mine.decode(latent, 0), shown),
                "inner": largest(mine.decode(latent, 0)[..., 48:80, 64:96], shown[..., 48:80, 64:96]),
                "scale": shown.abs().max().item(),
            }
        results[version] = by_padding
    return results


boot.run()
