"""Attention of diffusers' modules through the host's: its flags, its nodes and other packs' overrides reach it."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import comfy.ldm.modules.attention as hosts
import torch
from comfy.cli_args import args
from torch import Tensor, nn
from torch.nn import functional

# On a CPU the host takes its sub-quadratic attention where nobody has asked for one; torch's own is faster there, and
# what the makers compute with.
_TAKES_TORCHS_ON_CPU = not args.use_quad_cross_attention


# Where a class of ours says which of diffusers' it is.
_PLAIN = "opent2v_plain"


class Told:
    """What attention is told of the call that it is in.

    Attributes:
        transformer_options: the host's; an override of its attention is under "optimized_attention_override".
    """

    transformer_options: dict[str, Any]

    def __init__(self) -> None:
        self.transformer_options = {}


def attend_through_host(module: nn.Module) -> Told:
    """Have the attention processors of a diffusers module hand q, k and v to the host.

    diffusers' processors end in one of two functions, which they know by name. They keep all of their code, whatever
    the version, and find others under these two names. A processor that calls neither stays as it is.

    Returns:
        What to set before each call of the module.
    """
    told, kinds = Told(), {}
    for layer in module.modules():
        processor = getattr(layer, "processor", None)
        if processor is None or isinstance(processor, nn.Module):
            continue
        kind = getattr(processor, _PLAIN, type(processor))  # a module that has been given to another MODEL before
        if kind not in kinds:
            kinds[kind] = _through_host(kind, told)
        processor.__class__ = kinds[kind]
    return told


def _through_host(kind: type, told: Told) -> type:
    """The processor's class with attention by the host."""
    call = kind.__call__
    called = getattr(getattr(call, "__code__", None), "co_names", ())
    if not {"dispatch_attention_fn", "scaled_dot_product_attention"} & set(called):
        return kind

    def attended(plain: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, axis: int, **given: Any) -> Tensor:
        # The host's functions know neither causal attention nor dropout; and who has set a backend of diffusers has it.
        if any(given.get(name) for name in ("is_causal", "dropout_p", "backend", "parallel_config")):
            return plain(q, k, v, **given)
        q, k, v = (tensor.transpose(axis, 1) for tensor in (q, k, v))
        found = _attended(q, k, v, given.get("attn_mask"), given.get("scale"), told.transformer_options)
        return found.transpose(1, axis)

    def scaled_dot_product_attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **given: Any
    ) -> Tensor:
        """torch's: tensors are [B, heads, N, width]."""
        plain = functional.scaled_dot_product_attention
        return attended(plain, query, key, value, 1, attn_mask=attn_mask, **given)

    def dispatch_attention_fn(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **given: Any
    ) -> Tensor:
        """diffusers': tensors are [B, N, heads, width]."""
        plain = call.__globals__["dispatch_attention_fn"]
        return attended(plain, query, key, value, 2, attn_mask=attn_mask, **given)

    torchs = ModuleType(functional.__name__)
    vars(torchs).update(vars(functional), scaled_dot_product_attention=scaled_dot_product_attention)
    names = {**call.__globals__, "F": torchs, "dispatch_attention_fn": dispatch_attention_fn}
    del names["__name__"]  # torch.compile would look names up in the module of this name
    again = FunctionType(call.__code__, names, call.__name__, call.__defaults__, call.__closure__)
    again.__kwdefaults__ = call.__kwdefaults__
    return type(kind.__name__, (kind,), {"__call__": again, "__module__": kind.__module__, _PLAIN: kind})


def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, options: dict[str, Any]
) -> Tensor:
    """[B, heads, N, width] of all three -> the same; keys and values may have fewer heads, each for several of q's."""
    heads, width = q.shape[1], q.shape[3]
    if k.shape[1] != heads:
        k, v = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (k, v))
    if scale is not None and scale != width**-0.5:
        q = q * (scale * width**0.5)  # not all of the host's functions take a scale
    if mask is not None:
        if mask.dtype == torch.bool:  # most of the host's functions add what they are given
            mask = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, torch.finfo(q.dtype).min)
        mask = mask[(None,) * (4 - mask.ndim)]
    attention = hosts.optimized_attention
    if _TAKES_TORCHS_ON_CPU and attention is hosts.attention_sub_quad and q.device.type == "cpu":
        attention = hosts.attention_pytorch
    # Its own choice of the output's shape is not heeded by the host for very large batches.
    found = attention(q, k, v, heads, mask=mask, skip_reshape=True, transformer_options=options)
    return found.unflatten(-1, (heads, -1)).transpose(1, 2)
