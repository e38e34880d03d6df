"""Text encoders as single files: which one it is, its config from shapes, and its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..base import Shapes, TextEncoder, Variant
from ..base.keys import Rule, chunk, rename
from .errors import ModelFileError
from .header import read_header
from .looks import looks_like
from .quantised import split_header
from .tokenizers import tokenizer_of
from .weights import build, check, fill


@dataclass(frozen=True)
class TextFile:
    """A recognised text encoder.

    Attributes:
        title: in the user's words: "UMT5-XXL", "T5 (4096 wide)".
        class_name, config: the module to build.
        width: of its embeddings.
        rules: the file's names -> the module's.
        spiece: name of the tensor that holds a sentencepiece model, "" where there is none.
        prefix: what the encoder's names start with in an all-in-one file.
    """

    path: Path
    title: str
    class_name: str
    config: Mapping[str, Any]
    width: int
    rules: tuple[Rule, ...] = ()
    spiece: str = ""
    prefix: str = ""


def open_text_file(path: Path, prefix: str = "") -> TextFile:
    """Recognise a text encoder from its header, or the one behind a prefix of an all-in-one file.

    Raises:
        ModelFileError: it cannot be read, or it is none this pack knows.
    """
    header, _ = split_header(read_header(path), path)
    shapes = {name[len(prefix) :]: info.shape for name, info in header.items() if name.startswith(prefix)}
    for recognise in (_t5, _native_umt5, _clip, _open_clip, _llama):
        found = recognise(path, shapes)
        if found is not None:
            return replace(found, prefix=prefix)
    looks = looks_like(shapes)
    raise ModelFileError(
        f"{path}: no text encoder this pack knows ({len(shapes)} tensors, first {next(iter(shapes), 'none')}). "
        "Expected UMT5-XXL, T5-XXL, CLIP-L, OpenCLIP-H or Llama 3." + (f" It looks like {looks}." if looks else "")
    )


def load_text(
    files: Sequence[TextFile],
    variant: Variant,
    dtype: torch.dtype | None,
    find_tokenizer: Callable[[str], Path | None],
    on_progress: Callable[[int, int], None] | None = None,
) -> TextEncoder:
    """The text encoders of a model, checked against what its family reads before a tensor is read.

    Args:
        find_tokenizer: class of an encoder -> a folder with its tokenizer, for files that carry none.
        on_progress: called with (tensors read, tensors in all).
    Raises:
        ModelFileError: an encoder that is missing, not this family's or of the wrong width; no tokenizer anywhere.
    """
    chosen = match_text(files, variant)
    tokenizers = {
        slot: tokenizer_of(file.path, file.prefix + file.spiece if file.spiece else "", file.class_name, find_tokenizer)
        for slot, file in chosen.items()
    }
    modules = {slot: build(file.class_name, file.config) for slot, file in chosen.items()}
    rules = {slot: (*file.rules, *_flattened(modules[slot])) for slot, file in chosen.items()}
    counts = {}
    for slot, file in chosen.items():
        counts[slot] = check(modules[slot], (file.path,), _TIED, rules[slot], file.prefix, False)
    total, before = sum(counts.values()), 0
    for slot, file in chosen.items():

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        fill(
            modules[slot],
            (file.path,),
            dtype=dtype,
            tied=_TIED,
            rules=rules[slot],
            prefix=file.prefix,
            from_folder=False,
            on_tensor=tick,
        )
        before += counts[slot]
    return TextEncoder(
        variant, modules, tokenizers, files[0].path, lambda: load_text(files, variant, dtype, find_tokenizer)
    )


def match_text(files: Sequence[TextFile], variant: Variant) -> dict[str, TextFile]:
    """Slot -> file, by class and width.

    Raises:
        ModelFileError: a slot without a file, a file without a slot, or the wrong width.
    """
    layout = variant.family.files
    wanted = {prompt.slot: layout.components[prompt.slot] for prompt in variant.prompts if layout}
    chosen: dict[str, TextFile] = {}
    for file in files:
        slot = next((s for s, classes in wanted.items() if file.class_name in classes and s not in chosen), None)
        if slot is None:
            raise ModelFileError(
                f"{file.path}: is {file.title}, which {variant.title} does not read. {_advice(variant)}"
            )
        chosen[slot] = file
    missing = [slot for slot in wanted if slot not in chosen]
    if missing:
        have = " and ".join(file.title for file in files)
        raise ModelFileError(
            f"{variant.title} reads {len(wanted)} text encoders and found {have} only. {_advice(variant)}"
        )
    first = chosen[variant.prompts[0].slot]
    if variant.context_width and first.width != variant.context_width:
        raise ModelFileError(
            f"{first.path}: is {first.title}, {first.width} wide; {variant.title} reads {variant.context_width}. "
            f"{_advice(variant)}"
        )
    return chosen


def _advice(variant: Variant) -> str:
    named = variant.pairs.get("text_encoders")
    return f"Choose {named}." if named else "Choose the text encoder that came with the model."


_TIED = {"encoder.embed_tokens.weight": "shared.weight"}


def _t5(path: Path, shapes: Shapes) -> TextFile | None:
    q = "encoder.block.{}.layer.0.SelfAttention.q.weight"
    bias = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
    ff = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    if q.format(0) not in shapes or bias.format(0) not in shapes or ff not in shapes or "shared.weight" not in shapes:
        return None
    is_umt5 = bias.format(1) in shapes
    rules = (rename("^spiece_model"), rename("^decoder"), rename("^lm_head"))
    return _t5_file(path, shapes, is_umt5, shapes[q.format(0)], shapes[bias.format(0)], shapes[ff], q, "shared", rules)


def _native_umt5(path: Path, shapes: Shapes) -> TextFile | None:
    q, bias, ff = "blocks.{}.attn.q.weight", "blocks.0.pos_embedding.embedding.weight", "blocks.0.ffn.fc1.weight"
    if q.format(0) not in shapes or bias not in shapes or ff not in shapes:
        return None
    block, attention = "encoder.block.{}.layer", "encoder.block.{}.layer.0.SelfAttention"
    rules = (
        rename("^spiece_model"),
        rename("^token_embedding", "shared"),
        rename("^blocks.{}.norm1", f"{block}.0.layer_norm"),
        *(rename(f"^blocks.{{}}.attn.{n}", f"{attention}.{n}") for n in "qkvo"),
        rename("^blocks.{}.pos_embedding.embedding", f"{attention}.relative_attention_bias"),
        rename("^blocks.{}.norm2", f"{block}.1.layer_norm"),
        rename("^blocks.{}.ffn.gate.0", f"{block}.1.DenseReluDense.wi_0"),
        rename("^blocks.{}.ffn.fc1", f"{block}.1.DenseReluDense.wi_1"),
        rename("^blocks.{}.ffn.fc2", f"{block}.1.DenseReluDense.wo"),
        rename("^norm", "encoder.final_layer_norm"),
    )
    return _t5_file(path, shapes, True, shapes[q.format(0)], shapes[bias], shapes[ff], q, "token_embedding", rules)


def _t5_file(
    path: Path,
    shapes: Shapes,
    is_umt5: bool,
    query: tuple[int, ...],
    bias: tuple[int, ...],
    ff: tuple[int, ...],
    block: str,
    embedding: str,
    rules: tuple[Rule, ...],
) -> TextFile:
    vocabulary, width = shapes[f"{embedding}.weight"]
    config = {
        "vocab_size": vocabulary, "d_model": width, "d_kv": query[0] // bias[1], "num_heads": bias[1], "d_ff": ff[0],
        "num_layers": _count(shapes, block), "relative_attention_num_buckets": bias[0],
        "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False, "use_cache": False, "pad_token_id": 0,
        "tie_word_embeddings": False, "eos_token_id": 1,
    }  # fmt: skip
    name = "UMT5" if is_umt5 else "T5"
    title = f"{name}-XXL" if width == 4096 else f"{name} ({width} wide)"
    spiece = "spiece_model" if "spiece_model" in shapes else ""
    return TextFile(path, title, f"{name}EncoderModel", config, width, rules, spiece)


def _clip(path: Path, shapes: Shapes) -> TextFile | None:
    for level in ("text_model.", ""):  # saved by a ComfyUI with transformers 5.6 or newer: without the level
        stem, layer = f"{level}embeddings", f"{level}encoder.layers.{{}}.mlp.fc1.weight"
        if f"{stem}.token_embedding.weight" in shapes and layer.format(0) in shapes:
            break
    else:
        return None
    tokens, positions = (shapes[f"{stem}.{kind}_embedding.weight"] for kind in ("token", "position"))
    rules = (rename("^text_model.embeddings.position_ids$"), rename("^text_projection"), rename("^logit_scale$"))
    if not level:
        named = ("embeddings", "encoder", "final_layer_norm")
        rules = (*(rename(f"^{name}", f"text_model.{name}") for name in named), *rules)
    count = _count(shapes, layer)
    if tokens[1] == 1024 and count == 24:
        count, rules = 23, (*rules, rename("^text_model.encoder.layers.23"))
    return _clip_file(path, tokens, positions[0], shapes[layer.format(0)][0], count, rules)


def _open_clip(path: Path, shapes: Shapes) -> TextFile | None:
    """OpenCLIP's own names. Whatever model reads it, reads the last layer but one: the last is left out."""
    for prefix in ("model.", ""):
        stem, block = f"{prefix}transformer.resblocks", f"{prefix}transformer.resblocks.{{}}.mlp.c_fc.weight"
        if f"{prefix}token_embedding.weight" in shapes and block.format(0) in shapes:
            break
    else:
        return None
    count, layer = _count(shapes, block), "text_model.encoder.layers.{}"
    left_out = ("text_projection", "logit_scale", "attn_mask", "visual")
    attention = [f"{layer}.self_attn.{n}_proj" for n in "qkv"]
    rules = (
        *(rename(f"^{prefix}{name}") for name in left_out),
        rename(f"^{stem}.{count - 1}"),
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
    tokens, positions = shapes[f"{prefix}token_embedding.weight"], shapes[f"{prefix}positional_embedding"]
    return _clip_file(path, tokens, positions[0], shapes[block.format(0)][0], count - 1, rules)


def _clip_file(
    path: Path, tokens: tuple[int, ...], positions: int, inner: int, layers: int, rules: tuple[Rule, ...]
) -> TextFile:
    vocabulary, width = tokens
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64), "max_position_embeddings": positions,
        "hidden_act": "quick_gelu" if width == 768 else "gelu", "projection_dim": width,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1,
    }  # fmt: skip
    title = {768: "CLIP-L", 1024: "OpenCLIP-H", 1280: "OpenCLIP-G"}.get(width, f"CLIP ({width} wide)")
    return TextFile(path, title, "CLIPTextModel", config, width, rules)


def _llama(path: Path, shapes: Shapes) -> TextFile | None:
    for prefix in ("model.", "language_model.model.", ""):
        q, k = (f"{prefix}layers.{{}}.self_attn.{n}_proj.weight" for n in "qk")
        if q.format(0) in shapes and f"{prefix}embed_tokens.weight" in shapes:
            break
    else:
        return None
    if (
        f"{prefix}layers.0.self_attn.q_proj.bias" in shapes
        or f"{prefix}layers.0.pre_feedforward_layernorm.weight" in shapes
    ):
        return None  # Qwen and Gemma: other networks under the same names
    vocabulary, width = shapes[f"{prefix}embed_tokens.weight"]
    head = 128 if shapes[q.format(0)][0] % 128 == 0 else 8
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": _count(shapes, q),
        "intermediate_size": shapes[f"{prefix}layers.0.mlp.gate_proj.weight"][0], "head_dim": head,
        "num_attention_heads": shapes[q.format(0)][0] // head, "num_key_value_heads": shapes[k.format(0)][0] // head,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "use_cache": False,
    }  # fmt: skip
    left_out = ("lm_head", "language_model.lm_head", "vision_tower", "multi_modal_projector", "vision_model")
    rules = [rename(f"^{name}") for name in left_out]
    if prefix:
        rules.append(rename(f"^{prefix.rstrip('.')}", ""))
    return TextFile(path, f"Llama ({width} wide)", "LlamaModel", config, width, tuple(rules))


def _flattened(module: nn.Module) -> tuple[Rule, ...]:
    """transformers 5.6 and newer hold CLIP's layers without the segment `text_model`."""
    has_segment = any(name.startswith("text_model.") for name, _ in module.named_parameters())
    return () if has_segment or type(module).__name__ != "CLIPTextModel" else (rename("^text_model", ""),)


def _count(shapes: Shapes, pattern: str) -> int:
    n = 0
    while pattern.format(n) in shapes:
        n += 1
    return n
