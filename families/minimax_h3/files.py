"""Single files of MiniMax H3: the transformer in the makers' names (ComfyUI's) or diffusers', full or pruned.

The makers' own shards hold queries, keys and values head by head, all one-file versions one after the other: no tensor
tells the two apart, and a shard's name does. Source of the names: see `network.py`; of the two layouts: diffusers
0.42.1, scripts/convert_minimax_h3_to_diffusers.py and loaders/single_file_utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...base import Family, FamilyError, Recognised, Shapes, Variant
from ...base.file_names import is_shard
from ...base.keys import Rule, Split, chunk, rename, renamed_shapes, swap_halves
from ...base.recognise import layers, without_prefix
from ...base.tensors import Tensors
from .network import MODALITIES
from .versions import make_variant

CLASS = "MiniMaxH3Transformer3DModel"
HEAD = 128  # width of a head in all published files
# What the user chooses where a one-file version was merged from the makers' shards, or cut into shards.
INTERLEAVED, STACKED = "interleaved", "stacked"
_QKV = ("to_q", "to_k", "to_v")
_PATCH = 4  # latent pixels of a row of the video
_PDD = (
    "This MiniMax H3 file has a bank of output heads for PDD, of which each step reads some. This pack does not do "
    "that: load it with ComfyUI's own Load Diffusion Model (0.35 or newer), or choose a file without them."
)


# What some pruned files hold beside their table, for LoRAs of full models; nothing computes with it.
_BESIDE_TABLES = tuple(rename(f"^{name}") for name in ("adaln_basis", "adaln_mean", "silu_t_emb_grid"))


def head_by_head(width: int) -> Split:
    """Queries, keys and values of rows [head 1: q k v, head 2: q k v, ...], for heads of this width."""

    def split(rows: Tensor) -> Sequence[Tensor]:
        if rows.shape[0] % (3 * width):
            raise ValueError(f"{rows.shape[0]} rows are no heads of {width}")
        parts = rows.unflatten(0, (-1, 3, width)).unbind(1)
        return [part.flatten(0, 1) for part in parts]

    return split


def rules(qkv: Split) -> tuple[Rule, ...]:
    """The makers' names -> diffusers'.

    Args:
        qkv: how the rows of a joint layer are split.
    """
    return (
        rename("^rope"),  # its frequencies follow from the config
        *_BESIDE_TABLES,
        rename("attn.to_gate_compress"),  # FastH3's gate of sparse attention, which dense attention does not read
        rename("^token_refiner.blocks", "token_refiner.refiner_blocks"),
        rename("^blocks", "transformer_blocks"),
        rename("^adaln_t_table", "time_embedder.adaln_t_table"),
        rename("^time_embedder.proj_in", "time_embedder.linear_1"),
        rename("^time_embedder.proj_out", "time_embedder.linear_2"),
        rename("^video_patch_proj", "proj_in"),
        rename("^audio_patch_proj", "audio_proj_in"),
        rename("^condition_proj", "context_embedder"),
        rename("^final_layer.norm", "norm_out.norm"),
        rename("^final_layer.adaln_proj.linear", "norm_out.linear"),
        rename("^final_layer.video_out", "proj_out"),
        rename("^final_layer.audio_out", "audio_proj_out"),
        rename("attn.q_norm", "attn.norm_q"),
        rename("attn.k_norm", "attn.norm_k"),
        rename("attn.out_proj", "attn.to_out.0"),
        *(rename(f"attn.{layer[3:]}_proj", f"attn.{layer}") for layer in _QKV),
        rename("attn.qkv_proj", *(f"attn.{layer}" for layer in _QKV), split=qkv),
        rename("mlp.fc1", "ff.net.0.proj", split=swap_halves),
        rename("mlp.fc2", "ff.net.2"),
    )


RULES = rules(chunk(3))
# diffusers' own names need none but for the table of pruned files.
DIFFUSERS_RULES = (
    rename("^adaln_t_table", "time_embedder.adaln_t_table"),
    rename("attn.to_gate_compress"),
    *_BESIDE_TABLES,
)


def recognise(family: Family, shapes: Shapes, name: str) -> Recognised | str:
    """See `Recognition.find`.

    Raises:
        FamilyError: a file with a bank of heads.
    """
    original = ("video_patch_proj.weight", "audio_patch_proj.weight", "condition_proj.weight")
    absent: Sequence[str] = original
    for markers, layout, layout_rules in (
        (original, "original", RULES),
        (("proj_in.weight", "audio_proj_in.weight", "context_embedder.weight"), "diffusers", DIFFUSERS_RULES),
    ):
        inside = without_prefix(shapes, markers[0])
        if inside is None:
            continue
        if lacks := [marker for marker in markers if marker not in inside[1]]:
            if markers is original:  # "proj_in" of the other layout is a name that many models have
                absent = lacks
            continue
        prefix, inner = inside
        named = renamed_shapes(inner, layout_rules)
        config = transformer_config(named, inner)
        if named["proj_out.weight"][0] != _PATCH * config["in_channels"]:
            raise FamilyError(_PDD)
        table = named.get("time_embedder.adaln_t_table", (0,))
        has_gate = any(".to_gate_compress." in key for key in inner)
        variant = make_variant(family, config, table[0], name, has_gate)
        layouts: dict[str, tuple[Rule, ...]] = {}
        if layout == "original" and any(".qkv_proj." in key for key in inner):
            layouts = {INTERLEAVED: rules(head_by_head(config["attention_head_dim"])), STACKED: RULES}
            layout_rules = layouts[INTERLEAVED if is_shard(name) else STACKED]
        return Recognised("transformer", layout, CLASS, config, variant, layout_rules, prefix, variant.remark, layouts)
    return f"{', '.join(map(repr, absent))} is missing"


def transformer_config(named: Shapes, stored: Shapes) -> dict[str, Any]:
    """The config of diffusers' transformer.

    Args:
        named: shapes in its names.
        stored: shapes in the file's.
    """
    block = "transformer_blocks.0"
    head = named[f"{block}.attn.norm_q.weight"][0]
    hidden, patch = named["proj_in.weight"]
    # A file without its frequencies has the share of published ones: 16 for heads of 128.
    frequencies = stored.get("rope.inv_freq", (HEAD // 8 * head // HEAD,))[0]
    config = {
        "num_attention_heads": named[f"{block}.attn.to_q.weight"][0] // head,
        "attention_head_dim": head,
        "hidden_size": hidden,
        "num_layers": layers(named, "transformer_blocks"),
        "num_refiner_layers": layers(named, "token_refiner.refiner_blocks"),
        "ffn_dim": named[f"{block}.ff.net.2.weight"][1],
        "in_channels": patch // _PATCH,
        "audio_in_channels": named["audio_proj_in.weight"][1],
        "text_dim": named["context_embedder.weight"][1],
        "time_embed_dim": named[f"{block}.adaln_proj.linear.weight"][1],
        "rope_freq_dim": frequencies,
    }
    embedder = named.get("time_embedder.linear_1.weight")
    return config if embedder is None else {**config, "time_embed_hidden_dim": embedder[0], "freq_dim": embedder[1]}


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    network, hidden, embedded = Tensors(), config["hidden_size"], config["time_embed_dim"]
    network.linear("proj_in", hidden, _PATCH * config["in_channels"])
    network.linear("audio_proj_in", hidden, config["audio_in_channels"])
    network.linear("context_embedder", hidden, config["text_dim"])
    rows = variant.facts["table_rows"]
    if rows:
        network["time_embedder.adaln_t_table"] = (rows, embedded)
    else:
        network.linear("time_embedder.linear_1", config["time_embed_hidden_dim"], config["freq_dim"])
        network.linear("time_embedder.linear_2", embedded, config["time_embed_hidden_dim"])
    for n in range(config["num_refiner_layers"]):
        _block(network, f"token_refiner.refiner_blocks.{n}", config)
    network.norm("token_refiner.final_norm", hidden, bias=False)
    for n in range(config["num_layers"]):
        _block(network, f"transformer_blocks.{n}", config)
        network.linear(f"transformer_blocks.{n}.adaln_proj.linear", 6 * MODALITIES * hidden, embedded)
    network.norm("norm_out.norm", hidden, bias=False)
    network.linear("norm_out.linear", 2 * hidden, embedded)
    network.linear("proj_out", _PATCH * config["in_channels"], hidden)
    network.linear("audio_proj_out", config["audio_in_channels"], hidden)
    return network


def _block(network: Tensors, name: str, config: Mapping[str, Any]) -> None:
    hidden, head = config["hidden_size"], config["attention_head_dim"]
    inner = config["num_attention_heads"] * head
    network.norms(name, ("norm1", "norm2"), hidden)
    network.norms(f"{name}.attn", ("norm_q", "norm_k"), head)
    network.linears(f"{name}.attn", _QKV, inner, hidden, bias=False)
    network.linear(f"{name}.attn.to_out.0", hidden, inner, bias=False)
    network.linear(f"{name}.ff.net.0.proj", 2 * config["ffn_dim"], hidden, bias=False)
    network.linear(f"{name}.ff.net.2", hidden, config["ffn_dim"], bias=False)
