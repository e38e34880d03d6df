"""Where a LoRA can sit in each family's transformer: the original's layers and what they are in diffusers' modules.

Written from the makers' repositories and not from the pack's own key rules, so that a mistake there shows. Sources:
Wan-Video/Wan2.1 wan/modules/model.py, tencent/HunyuanVideo hyvideo/modules/models.py, genmoai/mochi
asymm_models_joint.py, THUDM/CogVideo sat, Lightricks/LTX-Video transformer3d.py, hpcaitech/Open-Sora
opensora/models/mmdit, AILab-CVC/VideoCrafter lvdm/modules (tiny_videocrafter.py), and diffusers' conversion scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opent2v.tests.tiny import videocrafter as tiny_videocrafter

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Site:
    """A layer that the original calls `original`.

    Attributes:
        parts: the diffusers layers whose rows, one after the other, hold the same.
        order: the parts' rows are the original's equal chunks in this order; empty: as they stand.
    """

    original: str
    parts: tuple[str, ...]
    order: tuple[int, ...] = ()

    def weight(self, state: State, end: str = "weight") -> Tensor:
        """The original's tensor, from diffusers' parameters."""
        joined = torch.cat([state[f"{part}.{end}"] for part in self.parts])
        if not self.order:
            return joined
        back = torch.tensor(self.order).argsort()
        return joined.unflatten(0, (len(self.order), -1))[back].flatten(0, 1)

    def split(self, tensor: Tensor, state: State, end: str = "weight") -> dict[str, Tensor]:
        """diffusers' parameters, from the original's tensor."""
        if self.order:
            tensor = tensor.unflatten(0, (len(self.order), -1))[torch.tensor(self.order)].flatten(0, 1)
        rows = [state[f"{part}.{end}"].shape[0] for part in self.parts]
        pieces = tensor.split(rows)
        return {f"{part}.{end}": piece.contiguous() for part, piece in zip(self.parts, pieces, strict=True)}

    def alone(self) -> list[Site]:
        """The parts as sites of their own, under diffusers' names."""
        return [Site(part, (part,)) for part in self.parts]


@dataclass(frozen=True)
class Sites:
    """Attributes:
    matrices: linear layers.
    conv: the patch embedding where it is a convolution, else None.
    norms: (original, diffusers) affine norms.
    tables: (original, diffusers) modulation tables that are no layer's weight: `diff_m` in step-distill LoRAs.
    query, key: diffusers' names of a pair that must not be taken for one another.
    """

    matrices: tuple[Site, ...]
    conv: Site | None
    norms: tuple[tuple[str, str], ...]
    query: str
    key: str
    tables: tuple[tuple[str, str], ...] = ()


def _each(count: int, *pairs: tuple[str, str | tuple[str, ...]]) -> list[Site]:
    """One site a pair and block; "#" is the block's number."""
    return [
        Site(
            old.replace("#", str(n)),
            tuple(new.replace("#", str(n)) for new in ((new,) if isinstance(new, str) else new)),
        )
        for n in range(count)
        for old, new in pairs
    ]


def _qkv(stem: str, names: str = "to_{}") -> tuple[str, ...]:
    return tuple(f"{stem}.{names.format(n)}" for n in "qkv")


def wan(blocks: int = 2, pictures: bool = False) -> Sites:
    """
    Args:
        pictures: with the layers that read pictures through CLIP (2.1 I2V).
    """
    attention = [
        (f"blocks.#.{old}_attn.{a}", f"blocks.#.attn{n}.{b}")
        for n, old in ((1, "self"), (2, "cross"))
        for a, b in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
    ]
    matrices = _each(
        blocks, *attention, ("blocks.#.ffn.0", "blocks.#.ffn.net.0.proj"), ("blocks.#.ffn.2", "blocks.#.ffn.net.2")
    )
    matrices += [
        *(
            Site(f"{kind}_embedding.{old}", (f"condition_embedder.{kind}_embedder.linear_{new}",))
            for kind in ("text", "time")
            for old, new in ((0, 1), (2, 2))
        ),
        Site("time_projection.1", ("condition_embedder.time_proj",)),
        Site("head.head", ("proj_out",)),
    ]
    if pictures:
        matrices += _each(blocks, *((f"blocks.#.cross_attn.{n}_img", f"blocks.#.attn2.add_{n}_proj") for n in "kv"))
        feed_forward = "condition_embedder.image_embedder.ff.net"
        matrices += [
            Site("img_emb.proj.1", (f"{feed_forward}.0.proj",)),
            Site("img_emb.proj.3", (f"{feed_forward}.2",)),
        ]
    norms = [(f"blocks.{n}.norm3", f"blocks.{n}.norm2") for n in range(blocks)]
    norms += [
        (f"blocks.{n}.{old}_attn.norm_{a}", f"blocks.{n}.attn{m}.norm_{a}")
        for n in range(blocks)
        for m, old in ((1, "self"), (2, "cross"))
        for a in "qk"
    ]
    norms += [
        (f"blocks.{n}.cross_attn.norm_k_img", f"blocks.{n}.attn2.norm_added_k") for n in range(blocks) if pictures
    ]
    return Sites(
        tuple(matrices),
        Site("patch_embedding", ("patch_embedding",)),
        tuple(norms),
        "blocks.0.attn1.to_q",
        "blocks.0.attn1.to_k",
        (("blocks.0", "blocks.0.scale_shift_table"), ("head", "scale_shift_table")),
    )


def hunyuan_video(double: int = 2, single: int = 2) -> Sites:
    block, refiner = "transformer_blocks.#", "context_embedder.token_refiner.refiner_blocks.#"
    theirs = "txt_in.individual_token_refiner.blocks.#"
    matrices = _each(
        double,
        ("double_blocks.#.img_attn_qkv", _qkv(f"{block}.attn")),
        ("double_blocks.#.img_attn_proj", f"{block}.attn.to_out.0"),
        ("double_blocks.#.img_mlp.fc1", f"{block}.ff.net.0.proj"),
        ("double_blocks.#.img_mlp.fc2", f"{block}.ff.net.2"),
        ("double_blocks.#.img_mod.linear", f"{block}.norm1.linear"),
        ("double_blocks.#.txt_attn_qkv", _qkv(f"{block}.attn", "add_{}_proj")),
        ("double_blocks.#.txt_attn_proj", f"{block}.attn.to_add_out"),
        ("double_blocks.#.txt_mlp.fc1", f"{block}.ff_context.net.0.proj"),
        ("double_blocks.#.txt_mlp.fc2", f"{block}.ff_context.net.2"),
        ("double_blocks.#.txt_mod.linear", f"{block}.norm1_context.linear"),
    )
    alone = "single_transformer_blocks.#"
    matrices += _each(
        single,
        ("single_blocks.#.linear1", (*_qkv(f"{alone}.attn"), f"{alone}.proj_mlp")),
        ("single_blocks.#.linear2", f"{alone}.proj_out"),
        ("single_blocks.#.modulation.linear", f"{alone}.norm.linear"),
    )
    matrices += _each(
        1,
        (f"{theirs}.self_attn_qkv", _qkv(f"{refiner}.attn")),
        (f"{theirs}.self_attn_proj", f"{refiner}.attn.to_out.0"),
        (f"{theirs}.mlp.fc1", f"{refiner}.ff.net.0.proj"),
        (f"{theirs}.adaLN_modulation.1", f"{refiner}.norm_out.linear"),
        ("txt_in.input_embedder", "context_embedder.proj_in"),
        ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1"),
        ("final_layer.linear", "proj_out"),
    )
    matrices.append(Site("final_layer.adaLN_modulation.1", ("norm_out.linear",), (1, 0)))
    return Sites(
        tuple(matrices),
        Site("img_in.proj", ("x_embedder.proj",)),
        (
            ("double_blocks.0.img_attn_q_norm", "transformer_blocks.0.attn.norm_q"),
            ("txt_in.individual_token_refiner.blocks.0.norm1", f"{refiner.replace('#', '0')}.norm1"),
        ),
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attn.to_k",
    )


def mochi(blocks: int = 2) -> Sites:
    """The last block has no text side beyond its attention's qkv; mod_y has a name of its own there."""
    block = "transformer_blocks.#"
    matrices = _each(
        blocks,
        ("blocks.#.attn.qkv_x", _qkv(f"{block}.attn1")),
        ("blocks.#.attn.qkv_y", _qkv(f"{block}.attn1", "add_{}_proj")),
        ("blocks.#.attn.proj_x", f"{block}.attn1.to_out.0"),
        ("blocks.#.mlp_x.w2", f"{block}.ff.net.2"),
        ("blocks.#.mod_x", f"{block}.norm1.linear"),
    )
    matrices += _each(
        blocks - 1,
        ("blocks.#.attn.proj_y", f"{block}.attn1.to_add_out"),
        ("blocks.#.mlp_y.w2", f"{block}.ff_context.net.2"),
        ("blocks.#.mod_y", f"{block}.norm1_context.linear"),
    )
    last = blocks - 1
    matrices.append(Site(f"blocks.{last}.mod_y", (f"transformer_blocks.{last}.norm1_context.linear_1",)))
    # The original's gate is the first half, diffusers' the second.
    matrices += [
        Site(f"blocks.{n}.mlp_x.w1", (f"transformer_blocks.{n}.ff.net.0.proj",), (1, 0)) for n in range(blocks)
    ]
    matrices += [
        Site(f"blocks.{n}.mlp_y.w1", (f"transformer_blocks.{n}.ff_context.net.0.proj",), (1, 0)) for n in range(last)
    ]
    matrices += [
        Site("t5_yproj", ("time_embed.caption_proj",)),
        Site("final_layer.mod", ("norm_out.linear",), (1, 0)),
        Site("final_layer.linear", ("proj_out",)),
    ]
    return Sites(
        tuple(matrices),
        Site("x_embedder.proj", ("patch_embed.proj",)),
        (("blocks.0.attn.q_norm_x", "transformer_blocks.0.attn1.norm_q"),),
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.attn1.to_k",
    )


def cogvideox(blocks: int = 2) -> Sites:
    """The original is SAT's."""
    block = "transformer_blocks.#"
    matrices = _each(
        blocks,
        ("transformer.layers.#.attention.query_key_value", _qkv(f"{block}.attn1")),
        ("transformer.layers.#.attention.dense", f"{block}.attn1.to_out.0"),
        ("transformer.layers.#.mlp.dense_h_to_4h", f"{block}.ff.net.0.proj"),
        ("transformer.layers.#.mlp.dense_4h_to_h", f"{block}.ff.net.2"),
    )
    parts = "mixins.adaln_layer.adaLN_modulations"
    order = (0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11)
    matrices += [
        Site(f"{parts}.{n}.1", tuple(f"transformer_blocks.{n}.norm{m}.linear" for m in (1, 2)), order)
        for n in range(blocks)
    ]
    matrices += [
        Site("mixins.patch_embed.text_proj", ("patch_embed.text_proj",)),
        Site("time_embed.2", ("time_embedding.linear_2",)),
        Site("mixins.final_layer.linear", ("proj_out",)),
    ]
    return Sites(
        tuple(matrices),
        Site("mixins.patch_embed.proj", ("patch_embed.proj",)),
        (("transformer.layers.0.input_layernorm", "transformer_blocks.0.norm1.norm"),),
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.attn1.to_k",
    )


def ltx_video(blocks: int = 2) -> Sites:
    """The blocks' names are the same in both, but for the norms of queries and keys."""
    same = [f"attn{n}.{name}" for n in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")]
    same += ["ff.net.0.proj", "ff.net.2"]
    matrices = _each(blocks, *((f"transformer_blocks.#.{name}",) * 2 for name in same))
    matrices += [
        Site("patchify_proj", ("proj_in",)),
        Site("adaln_single.linear", ("time_embed.linear",)),
        Site("caption_projection.linear_1", ("caption_projection.linear_1",)),
        Site("proj_out", ("proj_out",)),
    ]
    return Sites(
        tuple(matrices),
        None,
        (("transformer_blocks.0.attn1.q_norm", "transformer_blocks.0.attn1.norm_q"),),
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.attn1.to_k",
    )


def open_sora(double: int = 2, single: int = 2, heads: int = 2, head: int = 16) -> Sites:
    """The published file's names: query and key stand alone, their positions in halves where diffusers has pairs."""
    block, alone, half = "transformer_blocks.#", "single_transformer_blocks.#", head // 2
    turned = tuple(h * head + part * half + n for h in range(heads) for n in range(half) for part in range(2))
    matrices = []
    for side, names, out, ff, norm in (
        ("img", "to_{}", "to_out.0", "ff", "norm1"),
        ("txt", "add_{}_proj", "to_add_out", "ff_context", "norm1_context"),
    ):
        query, key, value = _qkv(f"{block}.attn", names)
        one = f"double_blocks.#.{side}"
        turns = _each(double, (f"{one}_attn.q_proj", query), (f"{one}_attn.k_proj", key))
        matrices += [replace(site, order=turned) for site in turns]
        matrices += _each(
            double,
            (f"{one}_attn.v_proj", value),
            (f"{one}_attn.proj", f"{block}.attn.{out}"),
            (f"{one}_mlp.0", f"{block}.{ff}.net.0.proj"),
            (f"{one}_mlp.2", f"{block}.{ff}.net.2"),
            (f"{one}_mod.lin", f"{block}.{norm}.linear"),
        )
    turns = _each(single, *((f"single_blocks.#.{n}_proj", f"{alone}.attn.to_{n}") for n in "qk"))
    matrices += [replace(site, order=turned) for site in turns]
    matrices += _each(
        single,
        ("single_blocks.#.v_mlp", (f"{alone}.attn.to_v", f"{alone}.proj_mlp")),
        ("single_blocks.#.linear2", f"{alone}.proj_out"),
        ("single_blocks.#.modulation.lin", f"{alone}.norm.linear"),
    )
    matrices += [
        Site("txt_in", ("context_embedder",)),
        Site("vector_in.in_layer", ("time_text_embed.text_embedder.linear_1",)),
        Site("time_in.out_layer", ("time_text_embed.timestep_embedder.linear_2",)),
        Site("final_layer.linear", ("proj_out",)),
        Site("final_layer.adaLN_modulation.1", ("norm_out.linear",), (1, 0)),
    ]
    query, key = (f"transformer_blocks.0.attn.to_{n}" for n in "qk")
    return Sites(tuple(matrices), None, (), query, key)


def videocrafter(per_level: int = 1, levels: int = 3) -> Sites:
    """The outermost of a UNet's levels reads no prompt and has no attention; conv is one over time."""

    def site(own: str) -> Site:
        return Site(tiny_videocrafter.original_unet_name(f"{own}.weight", per_level, levels)[: -len(".weight")], (own,))

    layers = [f"transformer_blocks.0.attn{n}.{to}" for n in (1, 2) for to in ("to_q", "to_k", "to_v", "to_out.0")]
    layers += ["transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff.net.2", "proj_in", "proj_out"]
    blocks = [f"down_blocks.{level}.#.{n}" for level in range(levels - 1) for n in range(per_level)]
    blocks += [f"up_blocks.{level}.#.{n}" for level in range(1, levels) for n in range(per_level + 1)]
    attends = [b.replace("#", kind) for b in [*blocks, "mid_block.#.0"] for kind in ("attentions", "temp_attentions")]
    names = [f"{block}.{layer}" for block in ["transformer_in", *attends] for layer in layers]
    names += [f"{block.replace('#', 'resnets')}.time_emb_proj" for block in [*blocks, "mid_block.#.0", "mid_block.#.1"]]
    names += ["time_embedding.linear_1", "time_embedding.linear_2", "fps_embedding.linear_1"]
    norms = ("down_blocks.0.resnets.0.norm1", "up_blocks.1.attentions.0.norm", "conv_norm_out")
    block = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    return Sites(
        tuple(map(site, names)),
        site("down_blocks.0.temp_convs.0.conv1.2"),
        tuple((site(norm).original, norm) for norm in norms),
        f"{block}.to_q",
        f"{block}.to_k",
    )


_POINTS = re.compile(r"_(attn|mod|mlp)[._](qkv|proj|linear|fc1|fc2)$")


def in_comfyui(original: str) -> str:
    """How ComfyUI's own modules write a layer's name: HunyuanVideo's with points, all others' as the original."""
    if "_in." in original:
        return _refined(original)
    if "_blocks." not in original:
        return original
    named = _POINTS.sub(lambda m: f"_{m[1]}." + {"linear": "lin", "fc1": "0", "fc2": "2"}.get(m[2], m[2]), original)
    return named.replace("modulation.linear", "modulation.lin")


def _refined(original: str) -> str:
    return (
        original.replace("self_attn_qkv", "self_attn.qkv")
        .replace("self_attn_proj", "self_attn.proj")
        .replace("mlp.fc1", "mlp.0")
        .replace("mlp.fc2", "mlp.2")
    )


def norm_in_comfyui(original: str) -> tuple[str, ...]:
    """The weight of a norm there: the name of today and, where it was another before 0.14, that one."""
    found = re.fullmatch(r"(.*_attn)_([qk])_norm", original)
    if found:
        norm = f"{found[1]}.norm.{'query' if found[2] == 'q' else 'key'}_norm"
        return f"{norm}.weight", f"{norm}.scale"
    return (f"{original}.weight",)
