"""Mochi: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

import torch

from opent2v.base.keys import translate


def original_transformer(layers: int, width=3072, text=1536, head=128, t5=4096, time_dim=256):
    """Name -> shape of the original's file: mochi_preview/dit/joint_model/asymm_models_joint.py."""
    inner, inner_text = 2 * (4 * width * 2 // 3), 2 * (4 * text * 2 // 3)
    shapes = {
        "pos_frequencies": (3, width // head, head // 2),
        "t5_y_embedder.to_kv.weight": (2 * t5, t5), "t5_y_embedder.to_kv.bias": (2 * t5,),
        "t5_y_embedder.to_q.weight": (t5, t5), "t5_y_embedder.to_q.bias": (t5,),
        "t5_y_embedder.to_out.weight": (width, t5), "t5_y_embedder.to_out.bias": (width,),
        "t5_yproj.weight": (text, t5), "t5_yproj.bias": (text,),
        "x_embedder.proj.weight": (width, 12, 2, 2), "x_embedder.proj.bias": (width,),
        "t_embedder.mlp.0.weight": (width, time_dim), "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width), "t_embedder.mlp.2.bias": (width,),
        "final_layer.mod.weight": (2 * width, width), "final_layer.mod.bias": (2 * width,),
        "final_layer.linear.weight": (48, width), "final_layer.linear.bias": (48,),
    }  # fmt: skip
    for n in range(layers):
        is_last = n == layers - 1
        block = {
            "mod_x.weight": (4 * width, width), "mod_x.bias": (4 * width,),
            "mod_y.weight": (text if is_last else 4 * text, width), "mod_y.bias": (text if is_last else 4 * text,),
            "attn.qkv_x.weight": (3 * width, width), "attn.qkv_y.weight": (3 * width, text),
            **{f"attn.{a}_norm_{b}.weight": (head,) for a in "qk" for b in "xy"},
            "attn.proj_x.weight": (width, width), "attn.proj_x.bias": (width,),
            "mlp_x.w1.weight": (inner, width), "mlp_x.w2.weight": (width, inner // 2),
        }  # fmt: skip
        if not is_last:
            block |= {
                "attn.proj_y.weight": (text, width), "attn.proj_y.bias": (text,),
                "mlp_y.w1.weight": (inner_text, text), "mlp_y.w2.weight": (text, inner_text // 2),
            }  # fmt: skip
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    return shapes


def original_of(module, rules, names):
    """The module's tensors under the original's names, by walking the rules backwards."""
    tensors = {}
    for name in names:
        renamed = translate(name, rules, "")
        parts = [module.state_dict()[target] for target in renamed.names]
        whole = torch.cat(parts)
        # Swapping halves twice is the identity; a chunked tensor is its parts in their order.
        tensors[name] = renamed.tensors(whole)[0] if len(parts) == 1 and renamed.splits else whole
    return tensors
