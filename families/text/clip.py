"""CLIP's text half, in transformers' names and in OpenCLIP's own.

Source: transformers' CLIPTextModel; openai/clip-vit-large-patch14; mlfoundations/open_clip.
"""

from __future__ import annotations

from torch import nn

from ...base import Shapes
from ...base.keys import Rule, chunk, rename
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers


def recognise(shapes: Shapes) -> TextLayout | None:
    return _published(shapes) or _open_clip(shapes)


def _published(shapes: Shapes) -> TextLayout | None:
    for level in ("text_model.", ""):  # files of a ComfyUI with transformers 5.6 or newer lack the level "text_model."
        stem, layer = f"{level}embeddings", f"{level}encoder.layers.{{}}.mlp.fc1.weight"
        if f"{stem}.token_embedding.weight" in shapes and layer.format(0) in shapes:
            break
    else:
        return None
    tokens, positions = (shapes[f"{stem}.{kind}_embedding.weight"] for kind in ("token", "position"))
    # The whole CLIP, as OpenAI published it, has a picture half besides.
    pictures = ("vision_model", "visual_projection", "logit_scale", "logit_bias")
    rules = tuple(rename(f"^{name}") for name in ("text_model.embeddings.position_ids", "text_projection", *pictures))
    if not level:
        named = ("embeddings", "encoder", "final_layer_norm")
        rules = (*(rename(f"^{name}", f"text_model.{name}") for name in named), *rules)
    count = count_layers(shapes, layer)
    if tokens[1] == 1024 and count == 24:
        count, rules = 23, (*rules, rename("^text_model.encoder.layers.23"))
    return _layout(tokens, positions[0], shapes[layer.format(0)][0], count, rules)


def _open_clip(shapes: Shapes) -> TextLayout | None:
    """OpenCLIP's names, which OpenAI's CLIP-L has too. Of OpenCLIP the last layer is left out: its output is unused."""
    for prefix in ("model.", ""):
        stem, block = f"{prefix}transformer.resblocks", f"{prefix}transformer.resblocks.{{}}.mlp.c_fc.weight"
        if f"{prefix}token_embedding.weight" in shapes and block.format(0) in shapes:
            break
    else:
        return None
    count, layer = count_layers(shapes, block), "text_model.encoder.layers.{}"
    tokens, positions = shapes[f"{prefix}token_embedding.weight"], shapes[f"{prefix}positional_embedding"]
    kept = count if tokens[1] == 768 else count - 1
    numbers = ("input_resolution", "context_length", "vocab_size")
    left_out = ("text_projection", "logit_scale", "attn_mask", "visual", *numbers)
    attention = [f"{layer}.self_attn.{n}_proj" for n in "qkv"]
    rules = (
        *(rename(f"^{prefix}{name}") for name in left_out),
        *(rename(f"^{stem}.{n}") for n in range(kept, count)),
        rename(f"^{prefix}token_embedding", "text_model.embeddings.token_embedding"),
        rename(f"^{prefix}positional_embedding$", "text_model.embeddings.position_embedding.weight"),
        rename(f"^{prefix}ln_final", "text_model.final_layer_norm"),
        *(
            rename(f"^{stem}.{{}}.attn.in_proj_{leaf}$", *(f"{name}.{leaf}" for name in attention), split=chunk(3))
            for leaf in ("weight", "bias")
        ),
        rename(f"^{stem}.{{}}.attn.out_proj", f"{layer}.self_attn.out_proj"),
        *(rename(f"^{stem}.{{}}.ln_{n}", f"{layer}.layer_norm{n}") for n in (1, 2)),
        rename(f"^{stem}.{{}}.mlp.c_fc", f"{layer}.mlp.fc1"),
        rename(f"^{stem}.{{}}.mlp.c_proj", f"{layer}.mlp.fc2"),
    )
    return _layout(tokens, positions[0], shapes[block.format(0)][0], kept, rules)


def _layout(tokens: tuple[int, ...], positions: int, inner: int, count: int, rules: tuple[Rule, ...]) -> TextLayout:
    vocabulary, width = tokens
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": count,
        "num_attention_heads": max(1, width // 64), "max_position_embeddings": positions,
        "hidden_act": "quick_gelu" if width == 768 else "gelu", "projection_dim": width,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1,
    }  # fmt: skip
    title = {768: "CLIP-L", 1024: "OpenCLIP-H", 1280: "OpenCLIP-G"}.get(width, f"CLIP ({width} wide)")
    return TextLayout(title, config, width, rules)


def older_names(module: nn.Module) -> tuple[Rule, ...]:
    """transformers 5.6 and newer hold CLIP's layers without the segment `text_model`."""
    has_segment = any(name.startswith("text_model.") for name, _ in module.named_parameters())
    return () if has_segment else (rename("^text_model", ""),)


KIND = TextEncoderKind(
    class_name="CLIPTextModel",
    tokenizers=frozenset({"CLIPTokenizer", "CLIPTokenizerFast"}) | ANY_TOKENIZER,
    published=("CLIP-L", "OpenCLIP-H"),
    recognise=recognise,
    older_names=older_names,
    host_tokenizer="sd1_tokenizer",
)
