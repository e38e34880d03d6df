"""A tiny picture classifier in transformers' layout that calls red pictures red: a ViT with weights set by hand."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def make(path: Path, *, crop: bool = False) -> Path:
    """Labels "harmless" and "red"; red where the red channel is clearly above the others.

    The patch embedding measures red - (green + blue) / 2 into the first of eight numbers and its opposite into the
    second. The class token looks at all patches alike and takes their values as they are; the MLP adds nothing.
    """
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32, patch_size=16,
        id2label={0: "harmless", 1: "red"}, label2id={"harmless": 0, "red": 1},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        state = model.state_dict()
        embed = next(name for name in state if name.endswith("patch_embeddings.projection.weight"))
        state[embed][0] = torch.tensor([1.0, -0.5, -0.5]).view(3, 1, 1) / 256
        state[embed][1] = -state[embed][0]
        for name, value in state.items():
            if "layernorm" in name and name.endswith("weight"):
                value.fill_(1)
            passes_on = any(part in name for part in (".value.", "v_proj", "attention.output.dense", "o_proj"))
            if passes_on and name.endswith("weight"):
                value.copy_(torch.eye(8))
        state["classifier.weight"][1, 0] = 4
        state["classifier.weight"][0, 1] = 4
        state["classifier.bias"][0] = 2
    model.eval().save_pretrained(path)
    prepared = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "size": {"height": 32, "width": 32}}
    if crop:
        prepared |= {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (path / "preprocessor_config.json").write_text(json.dumps(prepared))
    return path
