"""Key lists of real LoRA files, as the trainers' own sources and published files have them.

`layers` are templates: "{}" is a block's number. `names` are keys word for word from the source, each of which the
template must give. Read 2026-11-21; the commit is the one that was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeyList:
    """
    Attributes:
        model: key of `REAL` in test_real_keys.py: whose sizes the layers have.
        format: key of `files.FORMATS`: prefix, layout and ends.
        layers: names of the layers in the file's own layout, before dots become underscores.
        names: keys of the source, word for word.
        further: ends of one-dimensional tensors beside the low-rank pair (".diff_b").
        norms: further layers with a `.diff` of a norm.
        tables: further layers with a `.diff_m`.
        metadata: what the trainer writes into the header.
        leftovers: keys that belong to no layer of the model and do no harm.
        made_for: whom the verdict should name, where that is another than `model`.
        source: repository, file, commit.
    """

    trainer: str
    model: str
    format: str
    layers: tuple[str, ...]
    names: tuple[str, ...]
    source: str
    further: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    made_for: str = ""


def _times(stem: str, names: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{name}" for name in names.split())


# Wan: its makers' names
_SELF, _CROSS = _times("blocks.{}.self_attn", "q k v o"), _times("blocks.{}.cross_attn", "q k v o")
_FFN, _IMAGE = _times("blocks.{}.ffn", "0 2"), _times("blocks.{}.cross_attn", "k_img v_img")
_WAN = (*_SELF, *_CROSS, *_FFN)
_WAN_OUTER = ("text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2", "time_projection.1")
_WAN_NORMS = (
    *_times("blocks.{}.self_attn", "norm_q norm_k"),
    *_times("blocks.{}.cross_attn", "norm_q norm_k"),
    "blocks.{}.norm3",
)
# Wan in diffusers
_WAN_DIFFUSERS = tuple(f"blocks.{{}}.attn{n}.{p}" for n in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0"))
# HunyuanVideo
_DOUBLE = tuple(
    f"double_blocks.{{}}.{s}_{n}" for s in ("img", "txt") for n in ("attn_qkv", "attn_proj", "mlp.fc1", "mlp.fc2")
)
_SINGLE = ("single_blocks.{}.linear1", "single_blocks.{}.linear2")
_MODULATION = (
    "double_blocks.{}.img_mod.linear",
    "double_blocks.{}.txt_mod.linear",
    "single_blocks.{}.modulation.linear",
)
_DOUBLE_COMFYUI = tuple(
    f"double_blocks.{{}}.{s}_{n}"
    for s in ("img", "txt")
    for n in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2", "mod.lin")
)
_HUNYUAN_DIFFUSERS = (
    *_times("transformer_blocks.{}.attn", "to_q to_k to_v to_out.0"),
    *_times("single_transformer_blocks.{}.attn", "to_q to_k to_v"),
)
# LTX-Video, CogVideoX, Mochi
_LTX = tuple(f"transformer_blocks.{{}}.attn{n}.{p}" for n in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0"))
_COGVIDEOX = _times("transformer_blocks.{}.attn1", "to_q to_k to_v to_out.0")
_FEED_FORWARD = _times("transformer_blocks.{}.ff", "net.0.proj net.2")

_MUSUBI = "kohya-ss/musubi-tuner src/musubi_tuner/networks/{} 30c658c4f4b0bf05038b3346eff9670259b10fc7"
_FINETRAINERS = "a-r-r-o-w/finetrainers finetrainers/trainer/sft_trainer/{{trainer,config}}.py {}"
_FINETRAINERS = _FINETRAINERS.format("f476c3717da6cbfb1070505a99ee989426b46d9c")
_DIFFUSION_PIPE = "tdrussell/diffusion-pipe models/{} 8f83dbf25d03219df705570ec03e62be04bc402f"
_VIDEOX = "aigc-apps/VideoX-Fun videox_fun/utils/lora_utils.py 804a4258e2608f855ccaec8fffa279e75a3b89c6"
_LIGHTX2V = "ModelTC/LightX2V tools/extract/lora_extractor.py f8aee98b5462cca8d7288888146ebd95592bf266"

LISTS = (
    KeyList(
        "musubi-tuner", "Wan 2.1 T2V 14B", "kohya", _WAN,
        ("lora_unet_blocks_0_cross_attn_k.lora_down.weight", "lora_unet_blocks_39_ffn_2.alpha"),
        _MUSUBI.format("{lora,lora_wan}.py"),
        metadata={
            "ss_base_model_version": "wan", "ss_network_module": "networks.lora_wan", "ss_network_dim": "2",
            "ss_network_alpha": "3", "modelspec.architecture": "wan2.1/lora",
        },
    ),
    KeyList(
        "musubi-tuner, image-to-video", "Wan 2.1 I2V 14B", "kohya", (*_WAN, *_IMAGE),
        ("lora_unet_blocks_0_cross_attn_k_img.lora_up.weight",), _MUSUBI.format("{lora,lora_wan}.py"),
    ),
    KeyList(
        "musubi-tuner, LoHa", "Wan 2.1 T2V 14B", "loha", _WAN, ("lora_unet_blocks_0_self_attn_q.hada_w1_a",),
        _MUSUBI.format("{loha,network_arch}.py"),
    ),
    KeyList(
        "musubi-tuner", "HunyuanVideo", "kohya", (*_DOUBLE, *_SINGLE),
        ("lora_unet_double_blocks_0_img_mlp_fc1.alpha", "lora_unet_double_blocks_0_txt_mlp_fc2.lora_down.weight"),
        _MUSUBI.format("{lora,network_arch}.py") + "; kijai/ComfyUI-HunyuanVideoWrapper issue 325",
        metadata={"ss_base_model_version": "hunyuan_video", "ss_network_module": "networks.lora"},
    ),
    KeyList(
        "ai-toolkit", "Wan 2.1 T2V 14B", "ai_toolkit", _WAN,
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "diffusion_model.blocks.0.cross_attn.o.lora_B.weight"),
        "ostris/ai-toolkit toolkit/models/wan21/wan_lora_convert.py, toolkit/network_mixins.py "
        "27a03a91f23eb1b757d5ec2e80ee3e129cfcc350",
        metadata={"ss_base_model_version": "wan_2.1", "software": '{"name": "ai-toolkit"}'},
    ),
    KeyList(
        "diffusion-pipe", "Wan 2.1 T2V 14B", "diffusion_pipe", _WAN,
        ("diffusion_model.blocks.34.cross_attn.k.lora_A.weight", "diffusion_model.blocks.34.ffn.0.lora_B.weight"),
        _DIFFUSION_PIPE.format("{base,wan/wan}.py") + "; its issue 114",
    ),
    KeyList(
        "diffusion-pipe", "HunyuanVideo", "diffusion_pipe", (*_DOUBLE, *_SINGLE, *_MODULATION),
        ("transformer.double_blocks.0.img_attn_qkv.lora_A.weight",
         "transformer.single_blocks.39.linear1.lora_B.weight"),
        _DIFFUSION_PIPE.format("{base,hunyuan_video}.py"),
    ),
    KeyList(
        "diffusion-pipe", "LTX-Video 2B", "diffusion_pipe", (*_LTX, *_FEED_FORWARD),
        ("diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight",),
        _DIFFUSION_PIPE.format("{base,ltx_video}.py"),
    ),
    KeyList(
        "finetrainers", "Wan 2.1 T2V 1.3B", "finetrainers", _WAN_DIFFUSERS,
        ("transformer.blocks.0.attn1.to_q.lora_A.weight", "transformer.blocks.29.attn2.to_out.0.lora_B.weight"),
        _FINETRAINERS,
    ),
    KeyList(
        "finetrainers", "CogVideoX 5B", "finetrainers", _COGVIDEOX,
        ("transformer.transformer_blocks.0.attn1.to_k.lora_A.weight",), _FINETRAINERS,
    ),
    KeyList(
        "finetrainers", "LTX-Video 2B", "finetrainers", _LTX,
        ("transformer.transformer_blocks.27.attn2.to_v.lora_B.weight",), _FINETRAINERS,
    ),
    KeyList(
        "finetrainers", "HunyuanVideo", "finetrainers", _HUNYUAN_DIFFUSERS,
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",), _FINETRAINERS,
    ),
    KeyList(
        "LTX-Video-Trainer, as diffusers", "LTX-Video 2B", "diffusers", _LTX,
        ("transformer.transformer_blocks.0.attn1.to_k.lora_A.weight",),
        "Lightricks/LTX-Video-Trainer src/ltxv_trainer/trainer.py 31b12733f51cb16b244d23f6552609f369aed883",
    ),
    KeyList(
        "LTX-Video-Trainer, for ComfyUI", "LTX-Video 2B", "original", _LTX,
        ("diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight",),
        "Lightricks/LTX-Video-Trainer src/ltxv_trainer/utils.py 31b12733f51cb16b244d23f6552609f369aed883",
    ),
    KeyList(
        "DiffSynth-Studio", "Wan 2.1 T2V 14B", "diffsynth", _WAN,
        ("blocks.0.self_attn.q.lora_A.default.weight", "blocks.0.ffn.0.lora_B.default.weight"),
        "modelscope/DiffSynth-Studio diffsynth/diffusion/training_module.py, examples/wanvideo/model_training/lora "
        "fed7b18fac2ed4cb802796eec91970e7659bccde",
    ),
    KeyList(
        "VideoX-Fun", "Wan 2.1 T2V 14B", "videox_fun", (*_WAN, *_WAN_OUTER, "head.head"),
        ("lora_unet__blocks_0_cross_attn_k.lora_down.weight",), _VIDEOX + "; ComfyUI comfy/lora_convert.py 0.3.64",
    ),
    KeyList(
        "VideoX-Fun", "CogVideoX 5B", "videox_fun",
        (*_COGVIDEOX, *_FEED_FORWARD, *_times("transformer_blocks.{}", "norm1.linear norm2.linear"), "proj_out"),
        ("lora_unet__transformer_blocks_0_attn1_to_q.lora_up.weight",), _VIDEOX,
    ),
    KeyList(
        "genmo's Mochi trainer", "Mochi 1", "genmo", _times("blocks.{}.attn", "qkv_x qkv_y proj_x"),
        ("blocks.0.attn.qkv_x.lora_A", "blocks.47.attn.proj_x.lora_B"),
        "genmoai/mochi src/genmo/mochi_preview/dit/joint_model/lora.py, demos/fine_tuner/train.py "
        "0c86aebf386e6622deadfb47ff1996878cefc0ac",
    ),
    KeyList(
        "diffusers' Mochi training script", "Mochi 1", "diffusers",
        _times("transformer_blocks.{}.attn1", "to_q to_k to_v to_out.0"),
        ("transformer.transformer_blocks.0.attn1.to_k.lora_A.weight",),
        "a-r-r-o-w/finetrainers examples/_legacy/training/mochi-1/text_to_video_lora.py "
        "f476c3717da6cbfb1070505a99ee989426b46d9c",
    ),
    KeyList(
        "SimpleTuner, LyCORIS", "Wan 2.1 T2V 14B", "lokr_diffusers", _WAN_DIFFUSERS,
        ("lycoris_blocks_0_attn1_to_q.lokr_w1", "lycoris_blocks_0_attn1_to_q.alpha"),
        "KohakuBlueleaf/LyCORIS lycoris/wrapper.py f49d30d670591ec8841d241d79aaa8449b30a715",
    ),
    KeyList(
        "step-distill LoRA (LightX2V)", "Wan 2.1 I2V 14B", "lora_with_biases",
        (*_WAN, *_IMAGE, *_WAN_OUTER, "img_emb.proj.1", "img_emb.proj.3"),
        ("diffusion_model.blocks.26.cross_attn.v_img.diff_b", "diffusion_model.blocks.26.cross_attn.norm_k_img.diff",
         "diffusion_model.blocks.26.cross_attn.v_img.lora_down.weight", "diffusion_model.blocks.0.diff_m"),
        _LIGHTX2V + "; kijai/ComfyUI-WanVideoWrapper issues 807, 940, 1862", (".diff_b",),
        (*_WAN_NORMS, "blocks.{}.cross_attn.norm_k_img"), ("blocks.{}", "head"),
    ),
    KeyList(
        "step-distill LoRA (LightX2V)", "Wan 2.1 T2V 14B", "lora_with_biases", (*_WAN, *_WAN_OUTER),
        ("diffusion_model.blocks.0.self_attn.norm_q.diff", "diffusion_model.blocks.0.self_attn.q.diff_b"),
        _LIGHTX2V, (".diff_b",), _WAN_NORMS, ("blocks.{}",),
    ),
    KeyList(
        "step-distill LoRA, I2V layers on a T2V model", "Wan 2.1 T2V 14B", "lora_with_biases", _WAN,
        ("diffusion_model.blocks.0.self_attn.q.lora_down.weight",),
        "kijai/ComfyUI-WanVideoWrapper issue 940", (".diff_b",),
        leftovers=("diffusion_model.blocks.27.cross_attn.k_img.lora_up.weight",
                   "diffusion_model.blocks.27.cross_attn.k_img.lora_down.weight",
                   "diffusion_model.blocks.27.cross_attn.norm_k_img.diff"),
        made_for="I2V 14B",
    ),
    KeyList(
        "step-distill LoRA (AccVideo), ComfyUI's names", "HunyuanVideo", "lora_with_biases",
        (*_DOUBLE_COMFYUI, *_SINGLE, "single_blocks.{}.modulation.lin", "guidance_in.in_layer"),
        ("diffusion_model.double_blocks.9.txt_attn.qkv.diff_b", "diffusion_model.double_blocks.9.txt_mod.lin.diff_b",
         "diffusion_model.guidance_in.in_layer.lora_down.weight"),
        "kijai/ComfyUI-HunyuanVideoWrapper issue 468", (".diff_b",),
    ),
)  # fmt: skip
