"""A tiny VideoCrafter2, drawn by the names that the original gives its tensors: as folder, and all in one file."""

from __future__ import annotations

import json
import re
import zlib
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import shared_folder
from opent2v.tests.tiny import wan as tiny

OWN = {"title": "tiny", "width": 64, "height": 32, "frames": 3, "steps": 4}
UNET = {
    "block_out_channels": (32, 64, 64), "layers_per_block": 1, "cross_attention_dim": 16, "attention_head_dim": 16,
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
}  # fmt: skip
# Four levels, since a latent pixel is 8 pixels wide.
VAE = {
    "block_out_channels": (32, 32, 32, 32), "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 1, "latent_channels": 4,
}  # fmt: skip
# One layer more than is used, as in the original file.
LAYERS, WIDTH = 3, 16
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model.model."}
MLPS = {"time_embedding": "time_embed", "fps_embedding": "fps_embedding"}
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
PLACES = {"resnets": 0, "temp_convs": 0, "attentions": 1, "temp_attentions": 2}


def seeded(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def recorded() -> dict[str, torch.Tensor]:
    """What the original makes of these weights: see tests/families/test_videocrafter.py."""
    return load_file(Path(__file__).parent.parent / "families" / "recorded" / "videocrafter.safetensors")


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights that depend on the original's name alone, so that the original can be given the same."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if len(shape) > 1:
        return noise * shape[0] ** 0.5 / noise.numel() ** 0.5
    return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise


def original_unet_name(name: str, per_level: int = 1, levels: int = 3) -> str:
    """diffusers' name -> lvdm's, written from its UNetModel's constructor and not from our rules."""
    found = re.fullmatch(r"(time|fps)_embedding\.linear_(\d)\.(\w+)", name)
    if found:
        return f"{MLPS[found[1] + '_embedding']}.{int(found[2]) // 2 * 2}.{found[3]}"
    for new, old in (("conv_in", "input_blocks.0.0"), ("transformer_in", "init_attn.0"), ("conv_norm_out", "out.0"),
                     ("conv_out", "out.2")):  # fmt: skip
        if name.startswith(new + "."):
            return old + name[len(new) :]
    side, *rest = name.split(".")
    if side == "mid_block":
        kind, n, *rest = rest
        stem = f"middle_block.{PLACES[kind] if n == '0' else 3}"
    else:
        level, kind, n, *rest = rest
        if kind == "downsamplers":
            return f"input_blocks.{(int(level) + 1) * (per_level + 1)}.0.op.{rest[-1]}"
        if kind == "upsamplers":
            last = int(level) * (per_level + 1) + per_level
            return f"output_blocks.{last}.{1 if level == '0' else 3}.conv.{rest[-1]}"
        place = int(level) * (per_level + 1) + int(n)
        stem = f"input_blocks.{place + 1}" if side == "down_blocks" else f"output_blocks.{place}"
        stem += f".{PLACES[kind]}"
    if kind == "resnets":
        rest = [RESNET[rest[0]], *rest[1:]]
    return ".".join([stem, *(["temopral_conv"] if kind == "temp_convs" else []), *rest])


def original_unet_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The first attention's projections are convolutions over one frame in the original."""
    return (*shape, 1) if re.fullmatch(r"init_attn\.0\.proj_(in|out)\.weight", name) else tuple(shape)


def original_vae_name(name: str, levels: int = 4) -> str:
    """diffusers' name -> that of Stable Diffusion's own code (lvdm/modules/networks/ae_modules.py)."""
    name = re.sub(r"decoder\.up_blocks\.(\d)", lambda m: f"decoder.up.{levels - 1 - int(m[1])}", name)
    for new, old in (
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), ("down_blocks", "down"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"), ("mid_block.attentions.0.to_out.0",
        "mid.attn_1.proj_out"), ("mid_block.attentions.0.to_", "mid.attn_1."), ("resnets", "block"),
        ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):  # fmt: skip
        name = name.replace(new, old)
    return name


def original_vae_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    is_attention = ".mid.attn_1." in name and name.endswith("weight") and len(shape) == 2
    return (*shape, 1, 1) if is_attention else tuple(shape)


def unet(has_rate: bool = True, **changes):
    """diffusers' UNet, with the fps embedding beside it."""
    from diffusers import UNet3DConditionModel
    from diffusers.models.embeddings import TimestepEmbedding

    module = UNet3DConditionModel(**UNET | changes)
    if has_rate:
        width = module.config.block_out_channels[0]
        module.fps_embedding = TimestepEmbedding(width, 4 * width)
    return module.eval()


def vae(**changes):
    from diffusers import AutoencoderKL

    return AutoencoderKL(**VAE | changes).eval()


def text(layers: int = LAYERS - 1, vocabulary: int | None = None):
    from transformers import CLIPTextConfig, CLIPTextModel

    from opent2v.training import captions

    tokenizer = captions.tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary or len(tokenizer), hidden_size=WIDTH, intermediate_size=32,
            num_hidden_layers=layers, num_attention_heads=1, max_position_embeddings=77, hidden_act="gelu",
            bos_token_id=0, eos_token_id=tokenizer.eos_token_id,
        )
    ).eval()  # fmt: skip


@cache
def original_unet() -> dict[str, torch.Tensor]:
    """Name -> tensor as in the original's UNet."""
    names = {original_unet_name(name): tuple(t.shape) for name, t in unet().state_dict().items()}
    return {name: drawn(name, original_unet_shape(name, shape)) for name, shape in names.items()}


@cache
def original_vae() -> dict[str, torch.Tensor]:
    names = {original_vae_name(name): tuple(t.shape) for name, t in vae().state_dict().items()}
    return {name: drawn("vae." + name, original_vae_shape(name, shape)) for name, shape in names.items()}


def open_clip(layers: int = LAYERS, vocabulary: int | None = None) -> dict[str, torch.Tensor]:
    """Name -> tensor as open_clip names them, the layer that is not used included."""
    given = {n.removeprefix("text_model."): t for n, t in text(layers, vocabulary).state_dict().items()}
    made = {}
    for name, tensor in given.items():
        for new, old in (
            ("embeddings.token_embedding", "token_embedding"), ("embeddings.position_embedding.weight",
            "positional_embedding"), ("final_layer_norm", "ln_final"), ("encoder.layers", "transformer.resblocks"),
            ("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn.out_proj",
            "attn.out_proj"),
        ):  # fmt: skip
            name = name.replace(new, old)
        made[name] = drawn("text." + name, tuple(tensor.shape))
    for n in range(layers):
        for leaf in ("weight", "bias"):
            parts = [made.pop(f"transformer.resblocks.{n}.self_attn.{k}_proj.{leaf}") for k in "qkv"]
            made[f"transformer.resblocks.{n}.attn.in_proj_{leaf}"] = torch.cat(parts)
    return made | {"text_projection": torch.zeros(WIDTH, WIDTH), "logit_scale": torch.zeros(())}


def whole(vocabulary: int | None = None) -> dict[str, torch.Tensor]:
    """The original file, all in one, with what else it holds."""
    parts = {"unet": original_unet(), "vae": original_vae(), "text": open_clip(vocabulary=vocabulary)}
    tensors = {PREFIXES[part] + name: tensor for part, made in parts.items() for name, tensor in made.items()}
    return tensors | {"betas": torch.zeros(1000), "scale_arr": torch.ones(1400)}


@shared_folder
def file_folder(path: Path) -> None:
    path.mkdir()
    save(path / "model.safetensors", whole())


def file() -> Path:
    """The original file as scripts/convert.py writes it: read it, never change it."""
    return file_folder() / "model.safetensors"


def make(path: Path, has_rate: bool = True) -> None:
    from diffusers import DDIMScheduler

    from opent2v.training import captions

    tokenizer = captions.tokenizer()
    made = {"unet": unet(has_rate), "vae": vae(), "text_encoder": text()}
    made["unet"].load_state_dict(
        {n: _as(original_unet()[original_unet_name(n)], t) for n, t in made["unet"].state_dict().items()}
    )
    made["vae"].load_state_dict(
        {n: _as(original_vae()[original_vae_name(n)], t) for n, t in made["vae"].state_dict().items()}
    )
    for name, part in made.items():
        part.save_pretrained(path / name)
    tokenizer.save_pretrained(path / "tokenizer")
    tiny.edit(path / "tokenizer" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    DDIMScheduler().save_pretrained(path / "scheduler")
    index = {
        "_class_name": "TextToVideoSDPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet3DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "opent2v.json").write_text(json.dumps(OWN))


folder = shared_folder(make)


def _as(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(like.shape)


@cache
def hosted(has_rate: bool = True):
    """(MODEL, CLIP, VAE) of the embedded host, all fp32."""
    return tiny.hosted(folder(has_rate))
