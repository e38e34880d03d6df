"""Single files of LTX-2: the transformer with its connectors, in the makers' names (ComfyUI's) or diffusers'.

What shapes cannot tell is the same in all published versions, see `_PUBLISHED`: files without metadata (GGUF, fp8,
split ones) are read like all others. Source of the names: see `network.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...base import Family, FamilyError, Recognised, Shapes, Variant
from ...base.keys import rename, renamed_shapes
from ...base.recognise import LEVELS, json_object, layers, without_prefix
from ...base.tensors import Tensors
from .versions import make_variant

CLASS = "LTX2VideoTransformer3DModel"
CONNECTORS = {"video_connector": "video_embeddings_connector", "audio_connector": "audio_embeddings_connector"}
CONNECTOR_RULES = (
    *(rename(f"^{theirs}", ours) for ours, theirs in CONNECTORS.items()),
    rename("transformer_1d_blocks", "transformer_blocks"),
    rename("q_norm", "norm_q"),
    rename("k_norm", "norm_k"),
)
TRANSFORMER_RULES = (
    rename("^duration_head"),  # of 2.5; it reads a length from the prompt
    rename("^patchify_proj", "proj_in"),
    rename("^audio_patchify_proj", "audio_proj_in"),
    rename("^adaln_single", "time_embed"),
    rename("^audio_adaln_single", "audio_time_embed"),
    rename("^prompt_adaln_single", "prompt_adaln"),
    rename("^audio_prompt_adaln_single", "audio_prompt_adaln"),
    rename("^av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
    rename("^av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
    rename("^av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
    rename("^av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
    rename("scale_shift_table_a2v_ca_video", "video_a2v_cross_attn_scale_shift_table"),
    rename("scale_shift_table_a2v_ca_audio", "audio_a2v_cross_attn_scale_shift_table"),
    *CONNECTOR_RULES,
)
# Prefixes of the transformer's names, and what else may lie in a file with connectors.
_BARE = (
    *(rename(f"^{level}", "") for _ in range(3) for level in sorted(LEVELS)),
    *(rename(f"^{name}") for name in ("text_embedding_projection", "vae", "audio_vae", "vocoder", "text_encoders")),
)
_FIRST_AUDIO = "transformer_blocks.0.audio_attn1.to_q.weight"
_HEADS = 32  # of both streams; where attention has gates, they show it
_CONNECTOR_HEADS = 30  # of 2.0, whose connectors have no gates
# ComfyUI and diffusers have other defaults, with which a file without metadata would be another model.
_PUBLISHED = {
    "rope_type": "split",
    "rope_double_precision": True,
    "timestep_scale_multiplier": 1000,
    "cross_attn_timestep_scale_multiplier": 1000,
    "causal_offset": 1,
}
# Numbers that the makers' header states -> diffusers' names of them.
_STATED = {
    "positional_embedding_theta": "rope_theta",
    "timestep_scale_multiplier": "timestep_scale_multiplier",
    "av_ca_timestep_scale_multiplier": "cross_attn_timestep_scale_multiplier",
}
_CONNECTOR = {"rope_type": "split", "rope_double_precision": True, "rope_base_seq_len": 4096}


def recognise(family: Family, shapes: Shapes, name: str) -> Recognised | str:
    """See `Recognition.find`."""
    absent = ["audio_patchify_proj.weight", _FIRST_AUDIO]
    for marker, layout, rules in (
        ("audio_patchify_proj.weight", "original", TRANSFORMER_RULES),
        ("audio_proj_in.weight", "diffusers", CONNECTOR_RULES),
    ):
        inside = without_prefix(shapes, marker)
        if inside is not None and _FIRST_AUDIO not in inside[1]:
            absent = [_FIRST_AUDIO]
        elif inside is not None:
            prefix, inner = inside
            named = renamed_shapes(inner, rules)
            config = transformer_config(named)
            variant = make_variant(family, config, connector_configs(named), name)
            remark = "" if not variant.facts["is_distilled"] else "Distilled: 8 steps at its own noise levels, cfg 1."
            return Recognised("transformer", layout, CLASS, config, variant, rules, prefix, remark)
    return f"{', '.join(map(repr, absent))} is missing"


def stated(recognised: Recognised, metadata: Mapping[str, str], name: str) -> Recognised:
    """See `Recognition.stated`: what the makers' files say in their header of what no shape tells.

    Raises:
        FamilyError: a value that no published version has and diffusers' class cannot be told.
    """
    config = json_object(metadata.get("config")).get("transformer")
    if recognised.part != "transformer" or not isinstance(config, Mapping):
        return recognised
    values = {ours: config[theirs] for theirs, ours in _STATED.items() if isinstance(config.get(theirs), int | float)}
    if config.get("rope_type") in ("split", "interleaved"):
        values["rope_type"] = config["rope_type"]
    if "frequencies_precision" in config:
        values["rope_double_precision"] = config["frequencies_precision"] == "float64"
    for side in ("", "audio_"):
        heads = config.get(f"{side}num_attention_heads")
        width = recognised.config[f"{side}num_attention_heads"] * recognised.config[f"{side}attention_head_dim"]
        if isinstance(heads, int) and heads > 0 and width % heads == 0:
            values |= {f"{side}num_attention_heads": heads, f"{side}attention_head_dim": width // heads}
    if config.get("causal_temporal_positioning") is False:
        raise FamilyError(
            f"{name}: its header says causal_temporal_positioning false, which no published LTX-2 has and this version "
            "does not compute. Load it with ComfyUI's Load Checkpoint."
        )
    return replace(recognised, config={**recognised.config, **values})


def transformer_config(shapes: Shapes) -> dict[str, Any]:
    """The config of diffusers' transformer, from shapes in its names."""
    block = "transformer_blocks.0"
    width, channels = shapes["proj_in.weight"]
    sound_width, sound_channels = shapes["audio_proj_in.weight"]
    is_gated = f"{block}.attn1.to_gate_logits.weight" in shapes
    heads, sound_heads = (
        shapes[f"{block}.{attention}.to_gate_logits.weight"][0] if is_gated else _HEADS
        for attention in ("attn1", "audio_attn1")
    )
    has_prompts = "caption_projection.linear_1.weight" in shapes
    text = "caption_projection.linear_1.weight" if has_prompts else f"{block}.attn2.to_k.weight"
    is_modulated = f"{block}.prompt_scale_shift_table" in shapes
    return {
        **_PUBLISHED,
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": shapes[f"{block}.attn2.to_k.weight"][1],
        "audio_in_channels": sound_channels,
        "audio_out_channels": shapes["audio_proj_out.weight"][0],
        "audio_num_attention_heads": sound_heads,
        "audio_attention_head_dim": sound_width // sound_heads,
        "audio_cross_attention_dim": shapes[f"{block}.audio_attn2.to_k.weight"][1],
        "num_layers": layers(shapes, "transformer_blocks"),
        "caption_channels": shapes[text][1],
        "gated_attn": is_gated,
        "audio_gated_attn": is_gated,
        "cross_attn_mod": is_modulated,
        "audio_cross_attn_mod": is_modulated,
        "use_prompt_embeddings": has_prompts,
        "ff_bias": f"{block}.ff.net.0.proj.bias" in shapes,
        "audio_ff_bias": f"{block}.audio_ff.net.0.proj.bias" in shapes,
        "use_prompt_adaln_single": "prompt_adaln.linear.weight" in shapes or not is_modulated,
        "use_keyframes_abs_pos_embedding": "keyframes_abs_pos_embedding" in shapes,
    }


def connector_configs(shapes: Shapes) -> dict[str, dict[str, Any]]:
    """Attribute -> config of each connector, from shapes in diffusers' names; empty where a file holds none."""
    configs: dict[str, dict[str, Any]] = {}
    for name in CONNECTORS:
        registers = shapes.get(f"{name}.learnable_registers")
        if registers is None:
            return {}
        gates = shapes.get(f"{name}.transformer_blocks.0.attn1.to_gate_logits.weight")
        heads = _CONNECTOR_HEADS if gates is None else gates[0]
        configs[name] = {
            **_CONNECTOR,
            "num_attention_heads": heads,
            "attention_head_dim": registers[1] // heads,
            "num_layers": layers(shapes, f"{name}.transformer_blocks"),
            "num_learnable_registers": registers[0],
            **({} if gates is None else {"gated_attention": True}),
        }
    return configs


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`. A file without connectors is compared without them."""
    network, caption = Tensors(), config["caption_channels"]
    width = config["num_attention_heads"] * config["attention_head_dim"]
    sound = config["audio_num_attention_heads"] * config["audio_attention_head_dim"]
    cross, sound_cross = config["cross_attention_dim"], config["audio_cross_attention_dim"]
    modulations = 9 if config["cross_attn_mod"] else 6
    for side, size, channels, out in (
        ("", width, config["in_channels"], config["out_channels"]),
        ("audio_", sound, config["audio_in_channels"], config["audio_out_channels"]),
    ):
        network.linear(f"{side}proj_in", size, channels)
        network.linear(f"{side}proj_out", out, size)
        network[f"{side}scale_shift_table"] = (2, size)
        _modulation(network, f"{side}time_embed", modulations, size)
        if config["use_prompt_embeddings"]:
            network.embedder(f"{side}caption_projection", size, caption)
        if config["cross_attn_mod"] and config["use_prompt_adaln_single"]:
            _modulation(network, f"{side}prompt_adaln", 2, size)
    for name, count, size in (
        ("video_scale_shift", 4, width),
        ("video_a2v_gate", 1, width),
        ("audio_scale_shift", 4, sound),
        ("audio_v2a_gate", 1, sound),
    ):
        _modulation(network, f"av_cross_attn_{name}", count, size)
    if config["use_keyframes_abs_pos_embedding"]:
        network["keyframes_abs_pos_embedding"] = (1, width)
    for n in range(config["num_layers"]):
        block = f"transformer_blocks.{n}"
        for side, size in (("", width), ("audio_", sound)):
            network[f"{block}.{side}scale_shift_table"] = (modulations, size)
            if config["cross_attn_mod"]:
                network[f"{block}.{side}prompt_scale_shift_table"] = (2, size)
            network.linear(f"{block}.{side}ff.net.0.proj", 4 * size, size, bias=config[f"{side}ff_bias"])
            network.linear(f"{block}.{side}ff.net.2", size, 4 * size, bias=config[f"{side}ff_bias"])
        network[f"{block}.video_a2v_cross_attn_scale_shift_table"] = (5, width)
        network[f"{block}.audio_a2v_cross_attn_scale_shift_table"] = (5, sound)
        for name, size, into, inner in (
            ("attn1", width, width, width),
            ("attn2", width, cross, width),
            ("audio_attn1", sound, sound, sound),
            ("audio_attn2", sound, sound_cross, sound),
            ("audio_to_video_attn", width, sound, sound),
            ("video_to_audio_attn", sound, width, sound),
        ):
            heads = config["num_attention_heads" if name in ("attn1", "attn2") else "audio_num_attention_heads"]
            _attention(network, f"{block}.{name}", size, into, inner, heads if config["gated_attn"] else 0)
    for name, connector in variant.facts["connectors"].items():
        _connector(network, name, connector)
    return network


def _modulation(network: Tensors, name: str, count: int, width: int) -> None:
    network.embedder(f"{name}.emb.timestep_embedder", width, 256)
    network.linear(f"{name}.linear", count * width, width)


def _attention(network: Tensors, name: str, width: int, into: int, inner: int, gates: int) -> None:
    """
    Args:
        into: width of what it attends to.
        inner: width of queries, keys and values.
        gates: number of its heads where they have gates, else 0.
    """
    network.linear(f"{name}.to_q", inner, width)
    network.linears(name, ("to_k", "to_v"), inner, into)
    network.linear(f"{name}.to_out.0", width, inner)
    network.norms(name, ("norm_q", "norm_k"), inner)
    if gates:
        network.linear(f"{name}.to_gate_logits", gates, width)


def _connector(network: Tensors, name: str, config: Mapping[str, Any]) -> None:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    network[f"{name}.learnable_registers"] = (config["num_learnable_registers"], width)
    for n in range(config["num_layers"]):
        block = f"{name}.transformer_blocks.{n}"
        gates = config["num_attention_heads"] if config.get("gated_attention") else 0
        _attention(network, f"{block}.attn1", width, width, width, gates)
        network.linear(f"{block}.ff.net.0.proj", 4 * width, width)
        network.linear(f"{block}.ff.net.2", width, 4 * width)


def complete(transformer: Recognised, beside: Shapes | None) -> Recognised:
    """The transformer with the connectors of a second file, see `Recognition.complete`."""
    variant = transformer.variant
    if variant.facts["connectors"]:
        if beside is not None:
            raise FamilyError(f"This file of {variant.title} holds its connectors already. Set connectors to none.")
        return transformer
    if beside is None:
        raise FamilyError(
            f"This file holds {variant.title} without its connectors, through which the text goes. Choose the file "
            "that has them (ltx-2...embeddings_connector...) in connectors, or an all-in-one file."
        )
    connectors = connector_configs(renamed_shapes(beside, (*_BARE, *CONNECTOR_RULES)))
    if not connectors:
        raise FamilyError(
            "The file in connectors has no video_embeddings_connector and audio_embeddings_connector in it. Choose "
            "ltx-2...embeddings_connector... of the same version, or an all-in-one file."
        )
    outputs = tuple(config["num_attention_heads"] * config["attention_head_dim"] for config in connectors.values())
    if outputs != variant.facts["context_widths"]:
        raise FamilyError(
            f"The connectors are {outputs[0]} and {outputs[1]} wide; {variant.title} reads "
            f"{' and '.join(map(str, variant.facts['context_widths']))}. They belong to another version of LTX-2."
        )
    completed = replace(variant, facts={**variant.facts, "connectors": connectors})
    return replace(transformer, variant=completed, rules=(*_BARE, *transformer.rules), prefix="")
