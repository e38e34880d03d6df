"""UMT5: Wan's encoder, in transformers' names and in those of Wan's own file.

Source: transformers' UMT5EncoderModel; Wan-Video/Wan2.1, wan/modules/t5.py.
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import rename
from ...base.text import TextEncoderKind, TextLayout
from . import t5


def recognise(shapes: Shapes) -> TextLayout | None:
    in_wans_names = _original(shapes)
    if in_wans_names is not None or t5.recognise(shapes) is not None:
        return in_wans_names
    return t5.published(shapes, "UMT5")


def _original(shapes: Shapes) -> TextLayout | None:
    q, bias, ff = "blocks.{}.attn.q.weight", "blocks.0.pos_embedding.embedding.weight", "blocks.0.ffn.fc1.weight"
    if any(name not in shapes for name in (q.format(0), bias, ff)):
        return None
    block, attention = "encoder.block.{}.layer", "encoder.block.{}.layer.0.SelfAttention"
    rules = (
        rename(f"^{t5.SPIECE}"),
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
    return t5.layout(shapes, "UMT5", q, bias, ff, "token_embedding.weight", rules)


KIND = TextEncoderKind(
    class_name="UMT5EncoderModel",
    tokenizers=t5.TOKENIZERS,
    published=("UMT5-XXL",),
    recognise=recognise,
    tied=t5.TIED,
    spiece=t5.SPIECE,
)
