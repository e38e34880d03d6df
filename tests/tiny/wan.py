"""Tiny Wan folders with random weights, made by diffusers' own `save_pretrained`, for tests to load."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import torch

from opent2v.host import embedded
from opent2v.loaders import load_pipeline, open_folder
from opent2v.tests.tiny import shared_folder

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "models" / "diffusers" / "opent2v-quickstart"
PROMPT = "a red triangle moving to the right on a black background"
# What a tiny folder's opent2v.json says: small enough for every test.
OWN = {"title": "tiny", "width": 32, "height": 32, "frames": 9, "steps": 3, "guidance": 4.0, "negative": "blurry"}
MAX_TOKENS = 24
_UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


def copy(target: Path, kind: str = "plain") -> Path:
    """A folder of one's own, to damage."""
    return Path(shutil.copytree(folder(kind), target))


def make(path: Path, kind: str = "plain") -> None:
    """Write a folder.

    Args:
        kind: "plain" (16 latent channels), "ti2v" (the geometry of TI2V-5B), "euler" (another scheduler),
            "sharded" (the transformer in several files), "bf16" (files in bf16).
    """
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        UniPCMultistepScheduler,
        WanTransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    from opent2v.training import captions

    torch.manual_seed(0)
    tokenizer = captions.tokenizer()
    is_ti2v = kind == "ti2v"
    channels = 48 if is_ti2v else 16
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=channels, out_channels=channels, text_dim=16,
        freq_dim=16, ffn_dim=32, num_layers=2, rope_max_seq_len=64,
    )  # fmt: skip
    text_encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            relative_attention_num_buckets=8,
        )
    )  # fmt: skip
    vae = AutoencoderKLWan(base_dim=8, z_dim=channels, num_res_blocks=1, dim_mult=[1, 1, 1, 1], **_vae(is_ti2v))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0) if kind == "euler" else UniPCMultistepScheduler(**_UNIPC)
    parts = {"transformer": transformer, "text_encoder": text_encoder, "vae": vae}
    for name, part in parts.items():
        if kind == "bf16":
            part.to(torch.bfloat16)
        limit = {"max_shard_size": "20KB"} if kind == "sharded" and name == "transformer" else {}
        part.eval().save_pretrained(path / name, **limit)
    tokenizer.save_pretrained(path / "tokenizer")
    scheduler.save_pretrained(path / "scheduler")
    edit(path / "tokenizer" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    index = {
        "_class_name": "WanPipeline",
        "boundary_ratio": None,
        "expand_timesteps": is_ti2v,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (path / "model_index.json").write_text(json.dumps(index))
    size = {"width": 64, "height": 64} if is_ti2v else {}
    (path / "opent2v.json").write_text(json.dumps({**OWN, **size, "max_tokens": MAX_TOKENS}))


folder = shared_folder(make)


def _vae(is_ti2v: bool) -> dict:
    if not is_ti2v:
        return {}
    return {
        "in_channels": 12, "out_channels": 12, "patch_size": 2, "is_residual": True, "decoder_base_dim": 8,
        "scale_factor_spatial": 16, "latents_mean": [0.1 * (i % 5) for i in range(48)],
        "latents_std": [0.5 + 0.1 * (i % 7) for i in range(48)],
    }  # fmt: skip


def edit(path: Path, remove: tuple[str, ...] = (), **changes) -> None:
    """Change and remove entries of a JSON file."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in remove}))


def parts(path: Path, dtype: torch.dtype | None = torch.float32):
    """(VideoModel, TextEncoder, VideoVAE), the transformer stored as `dtype`, the rest fp32."""
    loaded = pipeline(path, dtype)
    return loaded.models[0], loaded.text, loaded.vae


def pipeline(path: Path, dtype: torch.dtype | None = torch.float32):
    """All loaded parts of a folder, the transformers stored as `dtype`, the rest fp32."""
    return load_pipeline(open_folder(path), model_dtype=dtype, text_dtype=torch.float32, vae_dtype=torch.float32)


def hosted(path: Path, dtype: torch.dtype | None = torch.float32):
    """(MODEL, CLIP, VAE) of the embedded host."""
    model, text, vae = parts(path, dtype)
    return embedded.model(model), embedded.clip(text), embedded.vae(vae)


def shared(kind: str = "plain"):
    """(MODEL, CLIP, VAE) in fp32 that all tests share."""
    return _shared(kind)


@cache
def _shared(kind: str):
    return hosted(folder(kind))


def conditioning(kind: str = "plain"):
    """(positive, negative) CONDITIONING for PROMPT and "blurry"."""
    return _conditioning(kind)


@cache
def _conditioning(kind: str):
    _, clip, _ = shared(kind)
    return embedded.embed(clip, PROMPT), embedded.embed(clip, "blurry")
