"""Inside ComfyUI's Python: attention of our MODELs through the host's, beside diffusers' own."""

from __future__ import annotations

from contextlib import contextmanager

import boot
import comfy.ldm.modules.attention as hosts
import torch
from boot import call, case, largest
from torch.nn import functional

from opent2v.host import comfyui as side
from opent2v.host.comfyui.attention import _attended
from opent2v.tests.loaders.lora.models import FAMILIES, Loaded

_torchs = functional.scaled_dot_product_attention


@contextmanager
def counted():
    """How often torch's own attention is called within."""
    calls = []

    def attention(*args, **kwargs):
        calls.append(1)
        return _torchs(*args, **kwargs)

    functional.scaled_dot_product_attention = attention
    try:
        yield calls
    finally:
        functional.scaled_dot_product_attention = _torchs


@contextmanager
def without_us(module):
    """diffusers' own processors, as on the embedded host."""
    ours = {layer.processor: type(layer.processor) for layer in module.modules() if hasattr(layer, "processor")}
    for processor, kind in ours.items():
        processor.__class__ = kind.__mro__[1]
    try:
        yield len(ours)
    finally:
        for processor, kind in ours.items():
            processor.__class__ = kind


def overridden(model, attention):
    """The MODEL as attention packs patch it."""
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    return model


def instead(function):
    """An override that runs this function of the host."""
    return lambda _, *args, **kwargs: function(*args, **kwargs)


def cases() -> None:
    for family in FAMILIES:

        def run(family: str = family) -> dict:
            one, seen = Loaded(side, family), []
            with without_us(one.module) as processors, counted() as calls:
                plain = one.sampled(one.model)
            found = {"processors": processors, "calls": len(calls), "same": torch.equal(plain, one.plain)}

            def counting(function, *args, **kwargs):
                seen.append(kwargs["transformer_options"]["sigmas"].shape)
                return function(*args, **kwargs)

            found["overridden"] = torch.equal(one.sampled(overridden(one.model, counting)), plain)
            found["seen"] = len(seen)
            found["taken away"] = torch.equal(one.sampled(one.model), plain) and len(seen) == found["seen"]
            zeros = overridden(one.model, lambda function, *args, **kwargs: function(*args, **kwargs) * 0)
            found["effect"] = largest(one.sampled(zeros), plain)
            found["functions"] = {}
            for name in ("attention_split", "attention_sub_quad"):
                model = overridden(one.model, instead(getattr(hosts, name)))
                found["functions"][name] = largest(one.sampled(model), plain)
            return found

        boot.CASES[f"attention {family}"] = run


cases()


@case
def flags():
    """The function that the host has chosen at its start, as --use-sage-attention makes it choose."""
    one, calls, kept = Loaded(side, "wan"), [], hosts.optimized_attention

    def chosen(*args, **kwargs):
        calls.append(kwargs["skip_reshape"])
        return hosts.attention_pytorch(*args, **kwargs)

    hosts.optimized_attention = chosen
    try:
        same = torch.equal(one.sampled(one.model), one.plain)
    finally:
        hosts.optimized_attention = kept
    with counted() as torchs:
        one.sampled(one.model)
    return {"same": same, "calls": len(calls), "wanted": len(torchs)}


@case
def node():
    """Core's node of attention backends."""
    import nodes

    if "ModelAttentionBackend" not in nodes.NODE_CLASS_MAPPINGS:
        return None
    one = Loaded(side, "hunyuan_video")
    model = call("ModelAttentionBackend", model=one.model, attention="pytorch attention")
    kept, calls = model.model_options["transformer_options"]["optimized_attention_override"], []

    def counting(*args, **kwargs):
        calls.append(1)
        return kept(*args, **kwargs)

    model = overridden(model, counting)
    return {"same": torch.equal(one.sampled(model), one.plain), "calls": len(calls)}


@case
def numbers():
    """Masks, grouped heads and scales of any shape and kind, on the host's functions, beside torch's."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 7, 8) for heads in (4, 4, 4))
    few = [torch.randn(2, 2, 7, 8) for _ in range(2)]
    allowed = torch.rand(2, 1, 7, 7) > 0.5
    allowed[..., 0] = True
    added = torch.randn(2, 4, 1, 7)
    tried = {
        "plain": (k, v, {}),
        "bool mask": (k, v, {"attn_mask": allowed}),
        "bool mask for all": (k, v, {"attn_mask": allowed[0, 0]}),
        "mask of each head": (k, v, {"attn_mask": added}),
        "scale": (k, v, {"scale": 0.5}),
        "grouped": (*few, {"enable_gqa": True}),
        "grouped and masked": (*few, {"attn_mask": allowed, "enable_gqa": True}),
    }
    found = {}
    for what, (key, value, given) in tried.items():
        wanted = _torchs(q, key, value, **given)
        for name in ("attention_pytorch", "attention_basic", "attention_split", "attention_sub_quad"):
            options = {"optimized_attention_override": instead(getattr(hosts, name))}
            got = _attended(q, key, value, given.get("attn_mask"), given.get("scale"), options)
            found[f"{what} {name}"] = largest(got, wanted)
    return found


@case
def compiled():
    """One block's attention as one graph, with an override and without."""
    one = Loaded(side, "wan")
    attention = one.module.blocks[0].attn1
    x = torch.randn(1, 6, one.module.config.num_attention_heads * one.module.config.attention_head_dim)
    with torch.no_grad():
        plain = attention(x)
        torch._dynamo.reset()
        with without_us(one.module):
            whole = torch.compile(attention, backend="eager", fullgraph=True)
            before = largest(whole(x), plain)
        torch._dynamo.reset()
        whole = torch.compile(attention, backend="eager", fullgraph=True)
        found = {"before": before, "off": largest(whole(x), plain)}

        def doubled(function, *args, **kwargs):
            return function(*args, **kwargs) * 2

        one.model.model.call_options.transformer_options = {"optimized_attention_override": doubled}
        bias = attention.to_out[0].bias
        found["overridden"] = largest(whole(x) - bias, (plain - bias) * 2)
        one.model.model.call_options.transformer_options = {}
    return found
