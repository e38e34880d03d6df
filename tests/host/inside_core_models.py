"""Runs inside ComfyUI's Python: what our nodes say of every class of model that ComfyUI itself loads. Prints JSON."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import boot

boot.start()

import comfy.sample  # noqa: E402
import comfy.supported_models  # noqa: E402
import comfy.utils  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from boot import call, case, largest  # noqa: E402

from opent2v.base import FamilyError  # noqa: E402
from opent2v.host import host  # noqa: E402
from opent2v.loaders import load_model, open_file  # noqa: E402
from opent2v.nodes.inputs import require_variant  # noqa: E402
from opent2v.sampling import Guidance  # noqa: E402

scratch = boot.scratch()
folder_paths.add_model_folder_path("diffusion_models", str(scratch))
folder_paths.set_output_directory(str(scratch))

_WAN = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 2, "in_dim": 16, "out_dim": 16}
_PICTURE = _WAN | {"in_dim": 36}
_HUNYUAN = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096,
    "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24, "depth": 2, "depth_single_blocks": 2,
    "axes_dim": [16, 56, 56], "theta": 256, "patch_size": [1, 2, 2], "qkv_bias": True, "guidance_embed": True,
    "byt5": False, "meanflow": False, "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
_NEWER = _HUNYUAN | {
    "in_channels": 65, "out_channels": 32, "vec_in_dim": None, "context_in_dim": 3584, "hidden_size": 2048,
    "num_heads": 16, "patch_size": [1, 1, 1], "guidance_embed": False, "byt5": True, "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
}  # fmt: skip
_PICTURES = _NEWER | {"in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [64, 64],
                      "vision_in_dim": None, "use_cond_type_embedding": False}  # fmt: skip
_COG = {
    "image_model": "cogvideox", "num_attention_heads": 48, "attention_head_dim": 64, "in_channels": 16,
    "out_channels": 16, "num_layers": 2, "use_rotary_positional_embeddings": True,
}  # fmt: skip
_COG_15 = _COG | {"patch_size_t": 2, "sample_height": 96, "sample_width": 170, "sample_frames": 81}
_COSMOS = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
    "patch_temporal": 1, "model_channels": 256, "block_config": "FA-CA-MLP", "num_blocks": 2, "num_heads": 2,
    "concat_padding_mask": True, "pos_emb_cls": "rope3d", "pos_emb_learnable": False, "pos_emb_interpolation": "crop",
    "block_x_format": "THWBD", "affline_emb_norm": True, "use_adaln_lora": True, "adaln_lora_dim": 64,
    "crossattn_emb_channels": 1024, "extra_per_block_abs_pos_emb": False,
}  # fmt: skip
_PREDICT = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
    "patch_temporal": 1, "model_channels": 256, "num_blocks": 2, "num_heads": 2, "concat_padding_mask": True,
    "crossattn_emb_channels": 1024, "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "use_adaln_lora": True,
    "pos_emb_interpolation": "crop", "min_fps": 1, "max_fps": 30, "adaln_lora_dim": 64,
    "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0, "rope_t_extrapolation_ratio": 1.0,
    "extra_per_block_abs_pos_emb": False, "rope_enable_fps_modulation": False, "mlp_ratio": 4.0,
}  # fmt: skip
# Class -> the configs that ComfyUI finds in files of it, with two blocks. A class of a newer ComfyUI that is neither
# here nor below fails the test: say here what it is built from, or below that it makes no videos.
VIDEO = {
    "GenmoMochi": [{
        "depth": 2, "hidden_size_x": 3072, "hidden_size_y": 1536, "num_heads": 24, "patch_size": 2, "in_channels": 12,
        "mlp_ratio_x": 4.0, "mlp_ratio_y": 4.0, "t5_feat_dim": 4096, "t5_token_length": 256, "use_t5": True,
        "learn_sigma": False, "qk_norm": True, "qkv_bias": False, "attn_drop": 0.0, "patch_embed_bias": True,
        "out_bias": True, "timestep_mlp_bias": True, "timestep_scale": 1000.0, "rope_theta": 10000.0,
    }],
    "LTXV": [{"num_layers": 2}, {"num_layers": 2, "attention_head_dim": 128, "cross_attention_dim": 4096}],
    "LTXAV": [{"num_layers": 2, "attention_head_dim": 128, "cross_attention_dim": 4096}],
    "MiniMaxH3": [{}],
    "HunyuanVideo": [_HUNYUAN],
    "HunyuanVideoI2V": [_HUNYUAN | {"in_channels": 33, "guidance_embed": False}],
    "HunyuanVideoSkyreelsI2V": [_HUNYUAN | {"in_channels": 32}],
    "HunyuanVideo15": [_NEWER],
    "HunyuanVideo15_SR_Distilled": [_NEWER | {"in_channels": 98}],
    "HunyuanImage21": [_PICTURES],
    "HunyuanImage21Refiner": [_PICTURES | {"in_channels": 128, "patch_size": [1, 1, 1], "axes_dim": [16, 56, 56]}],
    "CosmosT2V": [_COSMOS],
    "CosmosI2V": [_COSMOS | {"in_channels": 17}],
    "CosmosT2IPredict2": [_PREDICT],
    "CosmosI2VPredict2": [_PREDICT | {"in_channels": 17}],
    "WAN21_T2V": [
        {"model_type": "t2v", **_WAN, "dim": 1536, "ffn_dim": 8960, "num_heads": 12},
        {"model_type": "t2v", **_WAN},
        {"model_type": "t2v", **_PICTURE},
    ],
    "WAN21_I2V": [{"model_type": "i2v", **_PICTURE}],
    "WAN22_T2V": [{"model_type": "t2v", "dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 2,
                   "in_dim": 48, "out_dim": 48}],
    "WAN21_CausalAR_T2V": [{"model_type": "t2v", "causal_ar": True, **_WAN}],
    "WAN21_FunControl2V": [{"model_type": "i2v", **_WAN, "in_dim": 48}],
    "WAN21_Vace": [{"model_type": "vace", "vace_layers": 1, "vace_in_dim": 96, **_WAN}],
    "WAN21_Camera": [{"model_type": "camera", "in_dim_control_adapter": 24, **_WAN, "in_dim": 32}],
    "WAN22_Camera": [{"model_type": "camera_2.2", "in_dim_control_adapter": 24, **_PICTURE}],
    "WAN22_S2V": [{"model_type": "s2v", **_WAN}],
    "WAN21_HuMo": [{"model_type": "humo", **_PICTURE}],
    "WAN22_Animate": [{"model_type": "animate", **_PICTURE}],
    "WAN_Animate2": [{"model_type": "animate2", **_PICTURE}],
    "WAN21_FlowRVS": [{"model_type": "flow_rvs", **_WAN}],
    "WAN21_SCAIL": [{"model_type": "scail", **_WAN, "in_dim": 20}, {"model_type": "scail", **_PICTURE}],
    "WAN21_SCAIL2": [{"model_type": "scail2", **_WAN, "in_dim": 20}],
    "WAN22_WanDancer": [{"model_type": "wandancer", **_PICTURE}],
    "Kandinsky5": [{"num_visual_blocks": 2}],
    "Kandinsky5Image": [{"num_visual_blocks": 2, "model_dim": 2560}],
    "CogVideoX_T2V": [_COG_15, _COG, _COG | {"num_attention_heads": 30, "use_rotary_positional_embeddings": False}],
    "CogVideoX_I2V": [
        _COG_15 | {"in_channels": 32, "ofs_embed_dim": 512},
        _COG | {"in_channels": 32, "use_learned_positional_embeddings": True},
    ],
    "CogVideoX_Inpaint": [_COG | {"in_channels": 48}],
    "SeedVR2": [],
    "SVD_img2vid": [],
}  # fmt: skip
OTHERS = """
    ACEStep ACEStep15 Anima AuraFlow Boogu Chroma ChromaRadiance DepthAnything3 ErnieImage Flux Flux2 FluxInpaint
    FluxSchnell HiDream HiDreamO1 Hunyuan3Dv2 Hunyuan3Dv2_1 Hunyuan3Dv2mini HunyuanDiT HunyuanDiT1 Ideogram4 JoyImage
    KOALA_1B KOALA_700M Krea2 Lens LongCatImage LotusD Lumina2 MageFlow MiniMaxMusic3 Omnigen2 PiD PixArtAlpha
    PixArtSigma PixelDiTT2I QwenImage RT_DETR_v4 SAM3 SAM31 SD15 SD15_instructpix2pix SD20 SD21UnclipH SD21UnclipL SD3
    SDXL SDXLRefiner SDXL_instructpix2pix SSD1B SV3D_p SV3D_u SD_X4Upscaler Segmind_Vega StableAudio StableAudio3
    Stable_Cascade_B Stable_Cascade_C Stable_Zero123 Trellis2 TripoSplat ZImage ZImagePixelSpace
""".split()  # noqa: SIM905


def model_of(kind: type, config: dict):
    """A MODEL as ComfyUI's loaders make one of this class, without weights."""
    own = kind({"image_model": kind.unet_config.get("image_model"), **kind.unet_config, **config})
    own.set_inference_dtype(torch.float32, None)
    with torch.device("meta"):
        base = own.get_model({}, "", device="meta")
    return SimpleNamespace(model=base, get_model_object={"model_sampling": base.model_sampling}.get)


@case
def classes():
    """Class -> [what our nodes take it for, or how they refuse it]."""
    found = {}
    for kind in comfy.supported_models.models:
        said = found.setdefault(kind.__name__, [])
        for config in VIDEO.get(kind.__name__, []):
            try:
                model = model_of(kind, config)
            except Exception as error:
                said.append(f"not built: {type(error).__name__}: {error}"[:300])
                continue
            try:
                said.append(require_variant(model).title)
            except FamilyError as error:
                said.append(str(error))
    return {"found": found, "others": OTHERS}


def random(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator, weights = torch.Generator().manual_seed(1), net.state_dict()
    for name, tensor in weights.items():
        if "pos_embedding" not in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.3 if tensor.ndim < 2 else 0.02))
            if "norm" in name and name.endswith(("weight", "scale")) and tensor.ndim == 1:
                tensor.add_(1)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def sampled(model, positive, samples, **given):
    settings = {"seed": 3, "steps": 3, "cfg": 2.0, "positive": positive, "negative": positive} | given
    return call("OpenT2VSampler", model=model, latent={"samples": samples}, **settings)[0]["samples"]


@case
def cogvideox_15():
    """Core's MODEL and ours of one file in Video Sampler, by run; empty where this ComfyUI has none."""
    try:
        from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel as Network
    except ImportError:
        return {}
    import comfy.ops

    net = Network(**{k: v for k, v in _COG_15.items() if k != "image_model"} | {"num_layers": 1},
                  dtype=torch.float32, operations=comfy.ops.disable_weight_init)  # fmt: skip
    comfy.utils.save_torch_file(random(net), str(scratch / "cog.safetensors"))
    del net
    theirs = call("UNETLoader", unet_name="cog.safetensors", weight_dtype="default")
    ours = host.model(load_model(open_file(scratch / "cog.safetensors"), torch.float32))
    positive = [[torch.randn(1, 226, 4096, generator=torch.Generator().manual_seed(2)) * 0.2, {}]]
    apart = {}
    negative = [[torch.randn(1, 226, 4096, generator=torch.Generator().manual_seed(3)) * 0.2, {}]]
    led = {"cfg": 1.0, "negative": negative, "guidance": Guidance(nag=7.0)}
    # Three frames: one more is put in front.
    for name, frames, given in (("reference", 3, {}), ("euler", 2, {"solver": "euler"}), ("nag", 2, led)):
        one, other = (sampled(m, positive, torch.zeros(1, 16, frames, 4, 4), steps=2, **given) for m in (theirs, ours))
        apart[name] = largest(one, other) / other.abs().mean().item()
    untouched = type(theirs.get_model_object("model_sampling")).__mro__
    return {"apart": apart, "still core's": any(kind.__name__ == "V_PREDICTION_DDPM" for kind in untouched)}


@case
def tiny_vae():
    """A TAEHV of core's own Load VAE in our nodes that decode, beside core's own decoding."""
    import comfy.sd
    from comfy.taesd.taehv import TAEHV

    with torch.inference_mode():
        vae = comfy.sd.VAE(sd=random(TAEHV(latent_channels=16)))
        latent = {"samples": torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(1))}
        core = vae.decode(latent["samples"]).flatten(0, 1)
        ours, *_ = call("OpenT2VDecode", vae=vae, latent=latent)
        pieces = torch.cat(list(host.decode_stream(vae, latent["samples"], lambda _: None)))
    off = [(images.cpu() - core.cpu()).abs().max().item() / core.abs().max().item() for images in (ours, pieces)]
    return {"shape": list(ours.shape), "decoded": off[0], "in pieces": off[1]}


@case
def hunyuan_video():
    """Files of core's HunyuanVideo in the names of ComfyUI before 0.14 and of today's, in core's loader and in ours."""
    import comfy.ops
    from comfy.ldm.hunyuan_video.model import HunyuanVideo

    small = _HUNYUAN | {"hidden_size": 128, "num_heads": 1, "context_in_dim": 64, "depth": 1,
                        "depth_single_blocks": 1}  # fmt: skip
    net = HunyuanVideo(**small, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    weights = random(net)
    knows_newer = any(name.endswith("_norm.weight") for name in weights)
    positive = [[torch.randn(1, 20, 64) * 0.2, {"pooled_output": torch.randn(1, 768)}]]
    found = {}
    for spelling in ("scale", "weight"):
        named = {name.replace("_norm.scale", f"_norm.{spelling}").replace("_norm.weight", f"_norm.{spelling}"): tensor
                 for name, tensor in weights.items()}  # fmt: skip
        comfy.utils.save_torch_file(named, str(scratch / f"{spelling}.safetensors"))
        ours = host.model(load_model(open_file(scratch / f"{spelling}.safetensors"), torch.float32))
        made = sampled(ours, positive, torch.zeros(1, 16, 2, 8, 8))
        found["alike"] = largest(made, found.pop("made", made))
        found["made"] = made
        if spelling == "weight" and not knows_newer:
            # A ComfyUI before 0.14 leaves these weights as the memory comes, without a word.
            found[spelling] = {"title": ours.model.opent2v.variant.title}
            continue
        theirs = call("UNETLoader", unet_name=f"{spelling}.safetensors", weight_dtype="default")
        found[spelling] = {
            "title": host.variant(theirs).title,
            "apart": largest(sampled(theirs, positive, torch.zeros(1, 16, 2, 8, 8)), made),
        }
    boot_nodes()["ModelSave"]().save(model=theirs, filename_prefix="saved")
    (saved,) = scratch.glob("saved*.safetensors")
    back = host.model(load_model(open_file(saved), torch.float32))
    found["saved"] = largest(sampled(back, positive, torch.zeros(1, 16, 2, 8, 8)), found.pop("made"))
    return found


@case
def empty_latents():
    """[what KSampler makes, what Video Sampler makes] of 192 pixels asked of other models' empty latents.

    256 pixels are no multiple of the model's 24: there KSampler's is what it says.
    """
    model, clip, *_ = call("OpenT2VLoadModel", model="opent2v-quickstart")
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive="a red triangle", negative="")
    made = {
        name: call(name, width=192, height=192, **({} if name == "EmptyLatentImage" else {"length": 17}))
        for name in ("EmptyLatentImage", "EmptyLTXVLatentVideo", "EmptyHunyuanLatentVideo", "EmptyHunyuanVideo15Latent")
        if name in boot_nodes()
    }
    stated = {"downscale_ratio_spacial": 32, "downscale_ratio_temporal": 8}
    if "downscale_ratio_temporal" in inspect.signature(comfy.sample.fix_empty_latent_channels).parameters:
        made["of another length"] = {"samples": torch.zeros(1, 128, 3, 6, 6), **stated}
    made["full"] = {"samples": torch.ones(1, 16, 1, 8, 8), "downscale_ratio_spacial": 32}
    found = {}
    for name, latent in made.items():
        given = {"model": model, "positive": positive, "negative": negative, "seed": 1, "steps": 1, "cfg": 1.0}
        core = call("KSampler", latent_image=latent, sampler_name="euler", scheduler="simple", denoise=1.0, **given)
        ours = call("OpenT2VSampler", latent=latent, **given)[0]
        found[name] = [list(core["samples"].shape), list(ours["samples"].shape), sorted(set(ours) & set(latent))]
    asked = {"samples": torch.zeros(1, 16, 1, 32, 32), "downscale_ratio_spacial": 8}
    fitted = list(call("OpenT2VSampler", latent=asked, **given)[0]["samples"].shape)
    uneven, refused = {"samples": torch.zeros(1, 16, 1, 21, 21)}, None
    try:
        call("KSampler", latent_image=uneven, sampler_name="euler", scheduler="simple", denoise=1.0, **given)
    except Exception as error:
        refused = str(error)
    return found | {"uneven": [refused, fitted]}


def boot_nodes():
    import nodes as core

    return core.NODE_CLASS_MAPPINGS


boot.run()
