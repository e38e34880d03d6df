"""Writes the files of quantise.py one tensor after the other, so that memory holds a layer and not the model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gguf_k_types

if TYPE_CHECKING:
    from torch import Tensor

# Family -> what other programs call it in GGUF files. OpenT2V itself goes by the tensors' names.
ARCHITECTURES = {"wan": "wan", "ltx_video": "ltxv", "hunyuan_video": "hyvid"}
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
# ggml knows no more.
_MOST_AXES = 4
# safetensors' name of a number format -> GGUF's, which has no unsigned bytes: a tokenizer's are stored as signed ones.
_PLAIN = {name: name for name in ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")} | {"U8": "I8"}
# A layer is stored as at most so many tensors; one's entry in the header is its name and at most so many letters.
_PARTS, _ENTRY = 6, 160


class Packing(Protocol):
    """See quantise.py."""

    @property
    def layout(self) -> str: ...
    @property
    def mark(self) -> Mapping[str, Any]: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


def packed(weight: Tensor, packing: Packing) -> dict[str, Tensor]:
    """A matrix as comfy_kitchen packs it: ending of the tensor's name -> tensor."""
    import comfy_kitchen.tensor as layouts  # pyright: ignore[reportMissingImports]
    import torch

    layout = getattr(layouts, packing.layout)
    stored, parameters = layout.quantize(weight.float(), **packing.options)
    parts = {f"weight{end}": part for end, part in layout.state_dict_tensors(stored, parameters).items()}
    mark = torch.tensor(list(json.dumps(dict(packing.mark)).encode()), dtype=torch.uint8)
    return {end: part for end, part in parts.items() if part is not None} | {"comfy_quant": mark}


def write_safetensors(file: Any, target: Path, chosen: set[str], packing: Packing) -> None:
    """Write a file's tensors, those in `chosen` packed.

    The header stands before the numbers and is known behind them. Room for it is kept and filled up with spaces, which
    the format allows.
    """
    import torch

    from opent2v.base.storage import BY_DTYPE

    entries: dict[str, Any] = {"__metadata__": file.metadata} if file.metadata else {}
    letters = (len(name) + _ENTRY for name in file.header for _ in range(_PARTS if name in chosen else 1))
    begin = 8 + (len(json.dumps(entries)) + sum(letters) + 7) // 8 * 8
    with open(target, "wb") as out, file.tensors() as read:
        out.seek(begin)
        for name in file.header:
            tensors = {name: read(name)}
            if name in chosen:
                stem = name.removesuffix("weight")
                tensors = {stem + end: part for end, part in packed(tensors[name], packing).items()}
            for key, part in tensors.items():
                if part.dtype not in BY_DTYPE:  # exponents of 8 bits, which readers take as bytes
                    part = part.view(torch.uint8)
                start = out.tell() - begin
                out.write(part.contiguous().flatten().view(torch.uint8).numpy().data)
                places = [start, out.tell() - begin]
                entries[key] = {
                    "dtype": BY_DTYPE[part.dtype].code, "shape": list(part.shape), "data_offsets": places,
                }  # fmt: skip
        head = json.dumps(entries).encode()
        assert len(head) <= begin - 8, "the room kept for the header is too small"
        out.seek(0)
        out.write(struct.pack("<Q", begin - 8) + head.ljust(begin - 8))


def write_gguf(file: Any, target: Path, chosen: set[str], code: str) -> None:
    """Write a file's tensors, those in `chosen` packed as the type `code` ("Q8_0")."""
    import gguf  # pyright: ignore[reportMissingImports]
    import numpy
    import torch

    kind = gguf.GGMLQuantizationType[code]
    types = {storage: getattr(gguf.GGMLQuantizationType, name) for storage, name in _PLAIN.items()}
    odd = next((f"{name} as {info.dtype}" for name, info in file.header.items() if info.dtype not in types), None)
    if odd:
        raise SystemExit(f"{file.path}: holds {odd}, which GGUF has no type for. Give the model's bf16 or fp16 file.")
    writer = gguf.GGUFWriter(target, architecture(file))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, info in file.header.items():
        shape = list(info.shape)
        if len(shape) > _MOST_AXES:
            writer.add_array(ORIGINAL_SHAPE + name, list(shape))
            shape = [*shape[: _MOST_AXES - 1], prod(shape[_MOST_AXES - 1 :])]
        stored_as = kind if name in chosen else types[info.dtype]
        numbers, size = gguf.GGML_QUANT_SIZES[stored_as]
        nbytes = prod(shape) // numbers * size
        writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), nbytes, raw_dtype=stored_as)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with file.tensors() as read:
        for name in file.header:
            tensor = read(name).contiguous()
            if name in chosen:
                is_k_type = code in gguf_k_types.CODES
                stored = gguf_k_types.quantise(tensor, code) if is_k_type else tensor.float()
                writer.write_tensor_data(stored.numpy() if is_k_type else gguf.quantize(stored.numpy(), kind))
            else:
                writer.write_tensor_data(tensor.flatten().view(torch.uint8).numpy())
    writer.close()


def architecture(file: Any) -> str:
    """What programs that go by a label look for; "pig" leaves it to the tensors' names."""
    from opent2v.base import FamilyError
    from opent2v.loaders import ModelFileError, open_file

    try:
        parts = open_file(file.path).parts
    except (FamilyError, ModelFileError):
        return "pig"
    return ARCHITECTURES.get(parts["transformer"].variant.family.id, "pig") if "transformer" in parts else "pig"
