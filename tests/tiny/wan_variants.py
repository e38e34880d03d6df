"""Tiny Wan folders of the variants that `wan.py` lacks: pictures, and two experts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from opent2v.tests.tiny import shared_folder
from opent2v.tests.tiny import wan as tiny

# Text is 512 tokens where the transformer reads pictures beside it: diffusers counts on that.
KINDS = {
    "t2v_a14b": {"boundary": 0.875},
    "i2v": {"joined": True, "pictures": 1},
    "flf2v": {"joined": True, "pictures": 2},
    "i2v_a14b": {"joined": True, "boundary": 0.9},
}
IMAGE_DIM, IMAGE_SIZE = 20, 32


def make(path: Path, kind: str) -> None:
    from diffusers import WanTransformer3DModel

    shutil.copytree(tiny.folder(), path)
    joined, pictures, boundary = (KINDS[kind].get(n) for n in ("joined", "pictures", "boundary"))
    settings = {
        "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 36 if joined else 16, "out_channels": 16,
        "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "rope_max_seq_len": 64,
    }  # fmt: skip
    if pictures:
        settings |= {"image_dim": IMAGE_DIM, "added_kv_proj_dim": 24}
        encoder = image_encoder()
        encoder.save_pretrained(path / "image_encoder")
        tokens = (IMAGE_SIZE // 8) ** 2 + 1
        settings |= {"pos_embed_seq_len": 2 * tokens} if pictures == 2 else {}
    for n, slot in enumerate(("transformer", "transformer_2")[: 2 if boundary else 1]):
        torch.manual_seed(10 + n)
        transformer = WanTransformer3DModel(**settings)
        if pictures == 2:
            torch.nn.init.normal_(transformer.condition_embedder.image_embedder.pos_embed)
        transformer.eval().save_pretrained(path / slot)
    index = json.loads((path / "model_index.json").read_text())
    index |= {"_class_name": "WanImageToVideoPipeline" if joined else "WanPipeline", "boundary_ratio": boundary}
    if boundary:
        index["transformer_2"] = ["diffusers", "WanTransformer3DModel"]
    if joined:
        index["image_encoder"] = ["transformers", "CLIPVisionModel"] if pictures else [None, None]
        index["image_processor"] = ["transformers", "CLIPImageProcessor"] if pictures else [None, None]
    if pictures:
        processor().save_pretrained(path / "image_processor")
    (path / "model_index.json").write_text(json.dumps(index))
    own = {
        **tiny.OWN,
        "max_tokens": 512 if pictures else tiny.MAX_TOKENS,
        "low_noise_guidance": 2.0 if boundary else None,
    }
    (path / "opent2v.json").write_text(json.dumps(own))


folder = shared_folder(make)


def image_encoder():
    """A small CLIP vision model with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(5)
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=IMAGE_DIM, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
            image_size=IMAGE_SIZE, patch_size=8, projection_dim=8, hidden_act="gelu",
        )
    ).eval()  # fmt: skip


def processor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})


def picture(seed: int, width: int = 32, height: int = 32) -> torch.Tensor:
    """IMAGE [1, H, W, 3] of whole 255ths."""
    pixels = torch.randint(0, 256, (1, height, width, 3), generator=torch.Generator().manual_seed(seed))
    return pixels.float() / 255
