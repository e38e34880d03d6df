"""A tiny Open-Sora 2.0 folder with random weights, made by diffusers' own `save_pretrained`; the recorded tensors."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from opent2v.families.open_sora import files
from opent2v.tests.tiny import save_folder, shared_folder
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny.hunyuan_video import VAE

RECORDED = Path(__file__).parent.parent / "families" / "recorded"
OWN = {"title": "tiny", "width": 48, "height": 32, "frames": 9, "steps": 4, "max_tokens": 24}
SIZES = {
    "attention_head_dim": 16, "num_attention_heads": 2, "num_layers": 2, "num_single_layers": 2,
    "joint_attention_dim": 16, "pooled_projection_dim": 8,
}  # fmt: skip


@cache
def recorded(name: str) -> dict[str, torch.Tensor]:
    """A file of tests/families/recorded; how they were made stands in tests/families/test_open_sora.py."""
    from safetensors.torch import load_file

    return load_file(RECORDED / f"open_sora_{name}.safetensors")


def transformer(**changes):
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**files.transformer_config(**(SIZES | changes))).eval()


def encoders(size: int) -> dict[str, torch.nn.Module]:
    """T5 and CLIP for a vocabulary of this size."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(1)
    return {
        "text_encoder": T5EncoderModel(
            T5Config(
                vocab_size=size, d_model=16, d_ff=32, d_kv=8, num_heads=2, num_layers=2, dense_act_fn="gelu_new",
                is_gated_act=True, feed_forward_proj="gated-gelu",
            )
        ).eval(),
        "text_encoder_2": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=77, eos_token_id=1, bos_token_id=0,
            )
        ).eval(),
    }  # fmt: skip


def make(path: Path) -> None:
    from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler

    from opent2v.training import captions

    tokenizer = captions.tokenizer()
    parts = {"transformer": transformer(), **encoders(len(tokenizer)), "vae": AutoencoderKLHunyuanVideo(**VAE)}
    save_folder(path, "OpenSoraPipeline", parts, FlowMatchEulerDiscreteScheduler(), OWN)


folder = shared_folder(make)


@cache
def hosted():
    """(MODEL, CLIP, VAE) of the embedded host, all fp32."""
    return tiny.hosted(folder())
