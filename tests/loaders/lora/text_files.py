"""LoRAs of text encoders, in the names that trainers give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from opent2v.tests.loaders.lora import algorithms
from opent2v.tests.loaders.lora.files import ALPHA, RANK, save

# Layers by the encoder's class. Of the tiny Llama only the first two layers reach the prompt's embedding.
LAYERS = {
    "T5EncoderModel": (
        "encoder.block.0.layer.0.SelfAttention.q", "encoder.block.0.layer.0.SelfAttention.k",
        "encoder.block.1.layer.0.SelfAttention.o", "encoder.block.1.layer.1.DenseReluDense.wi_0",
    ),
    "LlamaModel": ("layers.0.self_attn.q_proj", "layers.0.mlp.down_proj", "layers.1.self_attn.k_proj"),
    "CLIPTextModel": ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1"),
}  # fmt: skip
LAYERS["UMT5EncoderModel"] = LAYERS["T5EncoderModel"]
# style -> (prefix by slot, dots as underscores, down, up, alpha). Sources: diffusers' save_lora_weights; kohya's
# networks/lora.py; Nerogar/OneTrainer HunyuanVideoLoRASetup.py 23df383; aigc-apps/VideoX-Fun lora_utils.py 804a425.
STYLES = {
    "diffusers": ({"text_encoder": "text_encoder.", "text_encoder_2": "text_encoder_2."}, False, "A", "B", False),
    "kohya": ({"text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}, True, "down", "up", True),
    "kohya, numbered": ({"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}, True, "down", "up", True),
    "OneTrainer": ({"text_encoder": "text_encoder.", "text_encoder_2": "text_encoder_2."}, False, "down", "up", True),
}


def write(
    path: Path, style: str, encoders: Mapping[str, nn.Module], slots: tuple[str, ...], seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """Write a LoRA for the encoders in these slots; their changed weights by slot, merged by hand."""
    prefixes, is_flat, down, up, has_alpha = STYLES[style]
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    merged: dict[str, dict[str, Tensor]] = {}
    for slot in slots:
        kind, state = type(encoders[slot]).__name__, encoders[slot].state_dict()
        merged[slot] = {}
        for layer in LAYERS[kind]:
            # Files keep the module level that newer transformers versions left out of CLIP.
            layer_in_file = f"text_model.{layer}" if kind == "CLIPTextModel" else layer
            own = next(name for name in (f"{layer}.weight", f"text_model.{layer}.weight") if name in state)
            scale = ALPHA / RANK if has_alpha else 1.0
            stored, new = algorithms.lora(state[own], RANK, scale, generator)
            merged[slot][own] = new.float()
            name = prefixes[slot] + (layer_in_file.replace(".", "_") if is_flat else layer_in_file)
            tensors[f"{name}.lora_{down}.weight"], tensors[f"{name}.lora_{up}.weight"] = stored["down"], stored["up"]
            if has_alpha:
                tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    save(path, tensors)
    return merged
