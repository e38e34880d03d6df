"""LoRA files for MiniMax H3: the makers' names, and rows head by head. What turbo LoRAs need stands in `few_steps.py`.

Source: diffusers 0.42.1, loaders/lora_conversion_utils.py (which trainer writes which names; facts, no code).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...base import LoraNames, Shapes, Variant
from ...base.keys import Rule
from ...base.lora import InputTable, LayerSizes, width
from .files import HEAD, RULES, head_by_head, rules

_WIDTH = 5376
_ATTENTION = tuple(f"transformer_blocks.{{}}.attn.{layer}" for layer in ("to_q", "to_k", "to_v"))
_OUT = "transformer_blocks.{}.attn.to_out.0"
_FEED = ("transformer_blocks.{}.ff.net.0.proj", "transformer_blocks.{}.ff.net.2")
_MODULATION = "transformer_blocks.{}.adaln_proj.linear"
_HEAD_BY_HEAD = "makers' shards, head by head"
# The full model's embedded timesteps behind their activation, at the rows of published tables, as its turbo LoRA's
# makers hand them out (larryvrh/ComfyUI-MiniMax-H3-Turbo).
TIMESTEPS = "h3_silu_temb_grid.safetensors"


def _layouts(shapes: Shapes) -> Mapping[str, tuple[Rule, ...]]:
    head = shapes.get("transformer_blocks.0.attn.norm_q.weight", (HEAD,))[0]
    return {"original": RULES, _HEAD_BY_HEAD: rules(head_by_head(head))}


def _layout_of(keys: Iterable[str]) -> str:
    """DiffSynth-Studio trains the makers' shards as they are, and alone writes peft's "default" behind these names."""
    return _HEAD_BY_HEAD if any(".attn.qkv_proj.lora_A.default." in key for key in keys) else ""


def _title(sizes: LayerSizes, blocks: int) -> str:
    if width(sizes, *_ATTENTION, _FEED[0]) == _WIDTH:
        return "MiniMax H3"
    return "MiniMax H3" if sizes.get(_MODULATION, (0, 0))[0] == 18 * _WIDTH else ""


def _remark(variant: Variant, misshapen: Iterable[str]) -> str:
    """What a LoRA's layers of another shape tell."""
    if not any("adaln_proj" in stem for stem in misshapen):
        return ""
    if variant.facts["table_rows"]:
        return (
            "Its adaln_proj layers are of a full model and this MODEL is pruned: they are left out, since turning them "
            f"takes the full model's timesteps, which are in neither file. Put {TIMESTEPS} (it comes with "
            "ComfyUI-MiniMax-H3-Turbo) beside the LoRA, or use a version of it for pruned models, or the full model."
        )
    return (
        "Its adaln_proj layers are of a pruned model and this MODEL is full: they are left out, since their table is "
        "in neither file. Use a version of the LoRA for full models, or the pruned model."
    )


LORA = LoraNames(
    layouts=_layouts,
    signs=(*_ATTENTION, _OUT, *_FEED, _MODULATION),
    title=_title,
    layout_of=_layout_of,
    remark=_remark,
    table=InputTable(("time_embedder.adaln_t_table", "adaln_t_table"), TIMESTEPS, "silu_t_emb_grid"),
)
