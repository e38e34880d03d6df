"""Weights packed in every format as files have them, by packers of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from opent2v.tests.tiny.packed_numbers import E2M1, Parts, fp8_numbers, group_of, numbers, places, rotated

# kind -> (ComfyUI's name of the format, name on the nodes, columns must be a multiple of this).
KINDS: dict[str, tuple[str, str, int]] = {
    "fp8": ("float8_e4m3fn", "scaled fp8", 16),
    "fp8_e5m2": ("float8_e5m2", "scaled fp8 e5m2", 16),
    "fp8_rows": ("float8_e4m3fn", "scaled fp8", 16),
    "int8": ("int8_tensorwise", "int8", 16),
    "int8_tensor": ("int8_tensorwise", "int8", 16),
    "int8_convrot": ("int8_tensorwise", "int8 convrot", 16),
    "nvfp4": ("nvfp4", "nvfp4", 16),
    "nvfp4_awq": ("nvfp4", "nvfp4 awq", 16),
    "mxfp8": ("mxfp8", "mxfp8", 32),
    "convrot_w4a4": ("convrot_w4a4", "w4a4 convrot", 64),
    "asym_w4a8": ("asym_w4a8_int8", "w4a8", 16),
    "awq_w4a16": ("awq_w4a16", "awq w4a16", 16),
}
CODEBOOK = torch.tensor([-120, -90, -68, -52, -38, -26, -15, -5, 4, 14, 25, 37, 51, 67, 89, 119], dtype=torch.float32)


def settings_of(kind: str, columns: int) -> dict[str, Any]:
    """The entries of a layer's mark beside its format."""
    if kind == "awq_w4a16":
        return {"group_size": 16}
    before = {"int8_convrot": {"convrot": True}, "convrot_w4a4": {}, "asym_w4a8": {"group_size": 16}}.get(kind)
    return {} if before is None else {**before, "convrot_groupsize": group_of(columns)}


def pack(weight: Tensor, kind: str) -> Parts:
    """A matrix [rows, columns] as a file stores it, by the endings of its tensors' names."""
    return _PACKERS[kind](weight.float())


def packed(
    state: Mapping[str, Tensor],
    kind: str | Callable[[str], str],
    prefix: str = "",
    marks: str = "tensors",
    convolutions: bool = False,
) -> tuple[Parts, dict[str, str], Parts]:
    """(tensors, metadata) of a file, and the numbers that they stand for, both by the file's names.

    Args:
        kind: of all matrices that are wide enough, or by their names; "" leaves one plain.
        marks: "tensors", "metadata", or "old" for the names of ComfyUI's first fp8 files.
        convolutions: pack the weights of convolutions too, in a format that has them.
    """
    stored: Parts = {}
    exact: Parts = {}
    layers: dict[str, Any] = {}
    for name, tensor in state.items():
        plain = tensor.detach().clone().contiguous()
        of_kind = kind if isinstance(kind, str) else kind(name)
        stem = prefix + name.removesuffix(".weight")
        is_packed = of_kind and name.endswith(".weight")
        if not is_packed or not (fits(tensor, of_kind) if tensor.ndim <= 2 else convolutions):
            stored[prefix + name] = exact[prefix + name] = plain
            continue
        parts = pack(plain.flatten(1), of_kind)
        exact[prefix + name] = numbers(parts, of_kind).to(tensor.dtype).reshape(tensor.shape)
        layers[stem] = {"format": KINDS[of_kind][0], **settings_of(of_kind, tensor[0].numel())}
        if tensor.ndim > 2:
            parts["weight"] = parts["weight"].reshape(tensor.shape)
            if parts["weight_scale"].ndim:
                parts["weight_scale"] = parts["weight_scale"].reshape(-1, *[1] * (tensor.ndim - 1))
        for role, part in parts.items():
            stored[f"{stem}.{_OLD.get(role, role) if marks == 'old' else role}"] = part
        if marks == "old":
            stored[f"{stem}.scale_input"] = torch.ones(())
    if marks == "tensors":
        stored |= {f"{stem}.comfy_quant": mark(content) for stem, content in layers.items()}
    if marks == "old":
        stored[f"{prefix}scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    return stored, metadata if marks == "metadata" else {}, exact


def write(
    path: Path,
    state: Mapping[str, Tensor],
    kind: str | Callable[[str], str],
    prefix: str = "",
    marks: str = "tensors",
    beside: Mapping[str, Tensor] | None = None,
    convolutions: bool = False,
) -> Parts:
    """Save a model in a format, see `packed`; the numbers that the file stands for.

    Args:
        beside: further tensors of the file, under their whole names.
    """
    stored, metadata, exact = packed(state, kind, prefix, marks, convolutions)
    save_file({**stored, **(beside or {})}, path, metadata=metadata or None)
    return exact


def fits(tensor: Tensor, kind: str) -> bool:
    """Whether a format can hold a tensor as it is; converters leave the others plain."""
    step = KINDS[kind][2]
    rows = step if kind in _TILED else 1
    return tensor.ndim == 2 and tensor.shape[0] % rows == 0 and tensor.shape[1] % step == 0


def mark(content: Any) -> Tensor:
    """A `comfy_quant` tensor."""
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


_TILED = ("nvfp4", "nvfp4_awq", "mxfp8")
_OLD = {"weight_scale": "scale_weight", "input_scale": "scale_input"}


def largest(weight: Tensor, axis: int | None = None) -> Tensor:
    return weight.abs().amax() if axis is None else weight.abs().amax(axis, keepdim=True)


def _pack_fp8(weight: Tensor, dtype: torch.dtype = torch.float8_e4m3fn, axis: int | None = None) -> Parts:
    scale = largest(weight, axis).clamp(min=1e-12) / torch.finfo(dtype).max  # a row of zeros has a scale too
    return {"weight": (weight / scale).to(dtype), "weight_scale": scale}


def _pack_int8(weight: Tensor, axis: int | None = 1) -> Parts:
    scale = largest(weight, axis).clamp(min=1e-12) / 127
    return {"weight": (weight / scale).round().clamp(-127, 127).to(torch.int8), "weight_scale": scale}


def swizzled(scale: Tensor) -> Tensor:
    """Scales [rows, blocks] of one byte in the order of files."""
    rows, blocks = scale.shape
    stored = torch.zeros(-(-rows // 128) * 128, -(-blocks // 4) * 4, dtype=torch.uint8)
    stored.view(-1)[places(rows, blocks)] = scale.view(torch.uint8)
    return stored.view(scale.dtype)


def nearest(numbers: Tensor, values: Tensor) -> Tensor:
    """Which of the values is nearest to each number."""
    return (numbers.unsqueeze(-1) - values).abs().argmin(-1).to(torch.uint8)


def _pack_nvfp4(weight: Tensor, factors: Tensor | None = None) -> Parts:
    blocks = (weight if factors is None else weight / factors).unflatten(1, (-1, 16))
    tensor_scale = largest(blocks) / (448 * 6)
    scale = (largest(blocks, -1).squeeze(-1) / 6 / tensor_scale).clamp(min=2**-6).to(torch.float8_e4m3fn)
    codes = nearest((blocks / (fp8_numbers(scale) * tensor_scale).unsqueeze(-1)).flatten(1), E2M1)
    parts = {"weight": codes[:, ::2] << 4 | codes[:, 1::2], "weight_scale": swizzled(scale)}
    parts |= {"weight_scale_2": tensor_scale, "input_scale": torch.tensor(0.01)}
    return parts if factors is None else parts | {"pre_quant_scale": factors}


def _pack_mxfp8(weight: Tensor) -> Parts:
    blocks = weight.unflatten(1, (-1, 32))
    exponent = (largest(blocks, -1).squeeze(-1) / 448).log2().ceil()
    stored = (blocks / 2 ** exponent.unsqueeze(-1)).flatten(1).to(torch.float8_e4m3fn)
    return {"weight": stored, "weight_scale": swizzled((exponent + 127).to(torch.uint8))}


def _pack_w4a4(weight: Tensor) -> Parts:
    turned = rotated(weight)
    scale = largest(turned, 1) / 7
    codes = ((turned / scale).round().clamp(-7, 7).int() & 15).to(torch.uint8)
    return {"weight": _low_first(codes), "weight_scale": scale.squeeze(1)}


def _pack_w4a8(weight: Tensor) -> Parts:
    turned = rotated(weight)
    channel = largest(turned, 1) / 127
    groups = (turned / channel).unflatten(1, (-1, 16))
    relative = (largest(groups, -1).squeeze(-1) / 127).to(torch.float8_e4m3fn)
    codes = nearest((groups / fp8_numbers(relative).unsqueeze(-1)).flatten(1), CODEBOOK)
    parts = {"weight": _low_first(codes), "weight_s_rel": relative, "weight_s_channel": channel.squeeze(1)}
    return parts | {"weight_codebook": CODEBOOK.clone()}


def _pack_awq_w4a16(weight: Tensor) -> Parts:
    groups = weight.unflatten(1, (-1, 16))
    low, high = groups.amin(-1), groups.amax(-1)
    scale = (high - low) / 15
    zeros = low + 8 * scale
    codes = ((groups - zeros.unsqueeze(-1)) / scale.unsqueeze(-1) + 8).round().clamp(0, 15).flatten(1)
    return {
        "weight": _low_first(codes.to(torch.uint8)),
        "weight_scale": scale.T.contiguous(),
        "weight_zeros": zeros.T.contiguous(),
    }


def _low_first(codes: Tensor) -> Tensor:
    return (codes[:, ::2] | codes[:, 1::2] << 4).view(torch.int8)


def _factors(weight: Tensor) -> Tensor:
    return 0.5 + torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(5))


_PACKERS: dict[str, Callable[[Tensor], Parts]] = {
    "fp8": _pack_fp8,
    "fp8_e5m2": lambda weight: _pack_fp8(weight, torch.float8_e5m2),
    "fp8_rows": lambda weight: _pack_fp8(weight, axis=1),
    "int8": _pack_int8,
    "int8_tensor": lambda weight: _pack_int8(weight, None),
    "int8_convrot": lambda weight: _pack_int8(rotated(weight)),
    "nvfp4": _pack_nvfp4,
    "nvfp4_awq": lambda weight: _pack_nvfp4(weight, _factors(weight)),
    "mxfp8": _pack_mxfp8,
    "convrot_w4a4": _pack_w4a4,
    "asym_w4a8": _pack_w4a8,
    "awq_w4a16": _pack_awq_w4a16,
}


def kinds(*, without: Iterable[str] = ()) -> list[str]:
    return [kind for kind in KINDS if kind not in without]
