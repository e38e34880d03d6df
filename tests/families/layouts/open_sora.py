"""Open-Sora 2.0: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

CLASS = "FluxTransformer2DModel"


def original(fused=False, double=19, single=38, width=3072, head=128, text=4096, pooled=768, channels=64, known=68):
    """Name -> shape of the original's file: opensora/models/mmdit/model.py and layers.py @7ad6a96."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name, rows, columns):
        shapes.update({f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)})

    linear("img_in", width, channels)
    if known:
        linear("cond_in", width, known)
    linear("txt_in", width, text)
    for name, inputs in (("time_in", 256), ("vector_in", pooled)):
        linear(f"{name}.in_layer", width, inputs)
        linear(f"{name}.out_layer", width, width)
    for n in range(double):
        for side in ("img", "txt"):
            stem = f"double_blocks.{n}.{side}"
            linear(f"{stem}_mod.lin", 6 * width, width)
            if fused:
                linear(f"{stem}_attn.qkv", 3 * width, width)
            else:
                for x in "qkv":
                    linear(f"{stem}_attn.{x}_proj", width, width)
            shapes.update({f"{stem}_attn.norm.{x}_norm.scale": (head,) for x in ("query", "key")})
            linear(f"{stem}_attn.proj", width, width)
            linear(f"{stem}_mlp.0", 4 * width, width)
            linear(f"{stem}_mlp.2", width, 4 * width)
    for n in range(single):
        stem = f"single_blocks.{n}"
        if fused:
            linear(f"{stem}.linear1", 7 * width, width)
        else:
            linear(f"{stem}.q_proj", width, width)
            linear(f"{stem}.k_proj", width, width)
            linear(f"{stem}.v_mlp", 5 * width, width)
        linear(f"{stem}.linear2", width, 5 * width)
        shapes.update({f"{stem}.norm.{x}_norm.scale": (head,) for x in ("query", "key")})
        linear(f"{stem}.modulation.lin", 3 * width, width)
    linear("final_layer.linear", channels, width)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes
