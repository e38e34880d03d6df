"""HunyuanVideo: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

CLASS = "HunyuanVideoTransformer3DModel"


def original(
    double=20, single=40, refiners=2, width=3072, head=128, text=4096, pooled=768, channels=16, tells=True, time_dim=256
):
    """Name -> shape of the original's file: hyvideo/modules/models.py."""
    shapes: dict[str, tuple[int, ...]] = {
        "img_in.proj.weight": (width, channels, 1, 2, 2),
        "img_in.proj.bias": (width,),
    }

    def linear(name, rows, columns):
        shapes.update({f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)})

    linear("txt_in.input_embedder", width, text)
    for stem in ("txt_in.t_embedder", "time_in", *(["guidance_in"] if tells else [])):
        linear(f"{stem}.mlp.0", width, time_dim)
        linear(f"{stem}.mlp.2", width, width)
    linear("txt_in.c_embedder.linear_1", width, text)
    linear("txt_in.c_embedder.linear_2", width, width)
    linear("vector_in.in_layer", width, pooled)
    linear("vector_in.out_layer", width, width)
    for n in range(refiners):
        stem = f"txt_in.individual_token_refiner.blocks.{n}"
        for norm in ("norm1", "norm2"):
            shapes.update({f"{stem}.{norm}.weight": (width,), f"{stem}.{norm}.bias": (width,)})
        linear(f"{stem}.self_attn_qkv", 3 * width, width)
        linear(f"{stem}.self_attn_proj", width, width)
        linear(f"{stem}.mlp.fc1", 4 * width, width)
        linear(f"{stem}.mlp.fc2", width, 4 * width)
        linear(f"{stem}.adaLN_modulation.1", 2 * width, width)
    for n in range(double):
        for side in ("img", "txt"):
            stem = f"double_blocks.{n}.{side}"
            linear(f"{stem}_mod.linear", 6 * width, width)
            linear(f"{stem}_attn_qkv", 3 * width, width)
            shapes.update({f"{stem}_attn_{x}_norm.weight": (head,) for x in "qk"})
            linear(f"{stem}_attn_proj", width, width)
            linear(f"{stem}_mlp.fc1", 4 * width, width)
            linear(f"{stem}_mlp.fc2", width, 4 * width)
    for n in range(single):
        stem = f"single_blocks.{n}"
        linear(f"{stem}.linear1", 7 * width, width)
        linear(f"{stem}.linear2", width, 5 * width)
        shapes.update({f"{stem}.{x}_norm.weight": (head,) for x in "qk"})
        linear(f"{stem}.modulation.linear", 3 * width, width)
    linear("final_layer.linear", 4 * 16, width)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes


def in_comfyui(shapes):
    """The names of ComfyUI's module: comfy/ldm/hunyuan_video/model.py, and its replacements when it loads a file."""
    pairs = (
        ("_attn_qkv.", "_attn.qkv."), ("_attn_proj.", "_attn.proj."), ("mlp.fc1.", "mlp.0."), ("mlp.fc2.", "mlp.2."),
        ("_attn_q_norm.weight", "_attn.norm.query_norm.scale"), ("_attn_k_norm.weight", "_attn.norm.key_norm.scale"),
        (".q_norm.weight", ".norm.query_norm.scale"), (".k_norm.weight", ".norm.key_norm.scale"),
        ("_mod.linear.", "_mod.lin."), ("modulation.linear.", "modulation.lin."),
        ("time_in.mlp.0", "time_in.in_layer"), ("time_in.mlp.2", "time_in.out_layer"),
        ("guidance_in.mlp.0", "guidance_in.in_layer"), ("guidance_in.mlp.2", "guidance_in.out_layer"),
        ("t_embedder.mlp.0", "t_embedder.in_layer"), ("t_embedder.mlp.2", "t_embedder.out_layer"),
        ("c_embedder.linear_1", "c_embedder.in_layer"), ("c_embedder.linear_2", "c_embedder.out_layer"),
    )  # fmt: skip
    named = {}
    for name, value in shapes.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        named[name] = value
    return named
