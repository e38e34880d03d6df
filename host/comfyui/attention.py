"""Route attention of diffusers' modules through the host, so that its flags, nodes and other packs' overrides apply."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import comfy.ldm.modules.attention as hosts
import torch
from comfy.cli_args import args
from torch import Tensor, nn
from torch.nn import functional

# On a CPU the host's default is its sub-quadratic attention. torch's own is faster there, and is the makers' choice, so
# it is used unless the user has asked for the other.
_TAKES_TORCHS_ON_CPU = not args.use_quad_cross_attention


# Attribute of our processor classes that holds the diffusers class they replace.
_PLAIN = "opent2v_plain"


class CallOptions:
    """Options of the current call of the model, for attention.

    Attributes:
        transformer_options: the host's; an override of its attention is under "optimized_attention_override".
    """

    transformer_options: dict[str, Any]

    def __init__(self) -> None:
        self.transformer_options = {}


def attend_through_host(module: nn.Module) -> CallOptions:
    """Have the attention processors of a diffusers module hand q, k and v to the host.

    diffusers' processors call one of two functions by its global name. They keep their own code, whatever the version,
    and get replacements for these two names. A processor that calls neither stays as it is.

    Returns:
        An object whose options must be set before each call of the module.
    """
    options, kinds = CallOptions(), {}
    for layer in module.modules():
        processor = getattr(layer, "processor", None)
        if processor is None or isinstance(processor, nn.Module):
            continue
        kind = getattr(processor, _PLAIN, type(processor))  # the module may have been part of another MODEL before
        if kind not in kinds:
            kinds[kind] = _through_host(kind, options)
        processor.__class__ = kinds[kind]
    return options


def _through_host(kind: type, options: CallOptions) -> type:
    """The processor's class with attention by the host."""
    call: Any = kind.__call__
    called = getattr(getattr(call, "__code__", None), "co_names", ())
    if not {"dispatch_attention_fn", "scaled_dot_product_attention"} & set(called):
        return kind

    def attended(plain: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, axis: int, **settings: Any) -> Tensor:
        # The host's functions support neither causal attention nor dropout; and a backend of diffusers that the user
        # has set is respected.
        if any(settings.get(name) for name in ("is_causal", "dropout_p", "backend", "parallel_config")):
            return plain(q, k, v, **settings)
        q, k, v = (tensor.transpose(axis, 1) for tensor in (q, k, v))
        output = _attended(q, k, v, settings.get("attn_mask"), settings.get("scale"), options.transformer_options)
        return output.transpose(1, axis)

    def scaled_dot_product_attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **settings: Any
    ) -> Tensor:
        """torch's: tensors are [B, heads, N, width]."""
        plain = functional.scaled_dot_product_attention
        return attended(plain, query, key, value, 1, attn_mask=attn_mask, **settings)

    def dispatch_attention_fn(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **settings: Any
    ) -> Tensor:
        """diffusers': tensors are [B, N, heads, width]."""
        plain = call.__globals__["dispatch_attention_fn"]
        return attended(plain, query, key, value, 2, attn_mask=attn_mask, **settings)

    torchs = ModuleType(functional.__name__)
    vars(torchs).update(vars(functional), scaled_dot_product_attention=scaled_dot_product_attention)
    names = {**call.__globals__, "F": torchs, "dispatch_attention_fn": dispatch_attention_fn}
    del names["__name__"]  # otherwise torch.compile would look names up in the module of this name
    again = FunctionType(call.__code__, names, call.__name__, call.__defaults__, call.__closure__)
    again.__kwdefaults__ = call.__kwdefaults__
    return type(kind.__name__, (kind,), {"__call__": again, "__module__": kind.__module__, _PLAIN: kind})


def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, options: dict[str, Any]
) -> Tensor:
    """Attention of q, k and v [B, heads, N, width]; k and v may have fewer heads, each for several of q's."""
    heads, width = q.shape[1], q.shape[3]
    if k.shape[1] != heads:
        k, v = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (k, v))
    if scale is not None and scale != width**-0.5:
        q = q * (scale * width**0.5)  # some of the host's functions take no scale
    if mask is not None:
        if mask.dtype == torch.bool:  # most of the host's functions take an additive mask only
            mask = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, torch.finfo(q.dtype).min)
        mask = mask[(None,) * (4 - mask.ndim)]
    attention = hosts.optimized_attention
    if _TAKES_TORCHS_ON_CPU and attention is hosts.attention_sub_quad and q.device.type == "cpu":
        attention = hosts.attention_pytorch
    # `skip_output_reshape` is not used, because the host ignores it for very large batches.
    output = attention(q, k, v, heads, mask=mask, skip_reshape=True, transformer_options=options)
    return output.unflatten(-1, (heads, -1)).transpose(1, 2)
