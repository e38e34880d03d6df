"""Pack a model, text encoder or VAE into fewer bits: int8, fp8, 4 bits or GGUF.

python3 scripts/quantise.py MODEL.safetensors --format int8_convrot     writes MODEL_int8_convrot.safetensors beside it
python3 scripts/quantise.py MODEL.safetensors --format gguf:Q8_0        writes MODEL_Q8_0.gguf
python3 scripts/quantise.py MODEL.safetensors OUT.gguf --format gguf:Q4_0

The matrices of the blocks are packed; embeddings, norms and biases, and matrices whose columns do not fit the format's
groups, stay as they are. The finished file is read again and compared with the source: the table gives each layer's
error in percent, the norm of the difference over the norm of the weights. comfy-kitchen packs all but GGUF, and the
gguf package that (gguf_k_types.py the K types); the one that is needed is installed into the pack's own environment.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import console
import environment
import gguf_k_types
import pack
import quantise_files

KITCHEN, GGUF = "comfy-kitchen>=0.2.31", "gguf>=0.17"
# Layers of a block, in every family's names; what is packed where norms and tables of positions are left out.
_IN_BLOCK = re.compile(r"(^|[._])([a-z_]*blocks?|blk|layers)\.\d+\.")
_LEFT_OUT = re.compile(r"norm|embed|relative_attention_bias|attn_rel_b|modulation")
_ROTATED = {"convrot_groupsize": 256}


@dataclass(frozen=True)
class Packing:
    """A format to pack into.

    Attributes:
        layout: the class in comfy_kitchen that packs it, or gguf's name of the type.
        columns: a row must be a multiple of this.
        mark: the layer's entry in the file, `comfy_quant`.
        options: of the layout's `quantize`.
    """

    layout: str
    columns: int
    mark: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


FORMATS = {
    "fp8_scaled": Packing("TensorCoreFP8Layout", 16, {"format": "float8_e4m3fn"}),
    "int8": Packing("TensorWiseINT8Layout", 16, {"format": "int8_tensorwise"}, {"per_channel": True}),
    "int8_convrot": Packing(
        "TensorWiseINT8Layout",
        256,
        {"format": "int8_tensorwise", "convrot": True, **_ROTATED},
        {"per_channel": True, "convrot": True, **_ROTATED},
    ),
    "mxfp8": Packing("TensorCoreMXFP8Layout", 32, {"format": "mxfp8"}),
    "nvfp4": Packing("TensorCoreNVFP4Layout", 16, {"format": "nvfp4"}),
    "convrot_w4a4": Packing(
        "TensorCoreConvRotW4A4Layout", 256, {"format": "convrot_w4a4", "linear_dtype": "int4", **_ROTATED}, _ROTATED
    ),
    "w4a8": Packing(
        "AsymW4A8Int8Layout", 256, {"format": "asym_w4a8_int8", "group_size": 16, **_ROTATED}, _ROTATED
    ),
    **{f"gguf:{code}": Packing(code, 32) for code in ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")},
    **{f"gguf:{code}": Packing(code, gguf_k_types.BLOCK) for code in gguf_k_types.CODES},
}  # fmt: skip
# What neither gguf's Python nor gguf_k_types.py packs.
_BY_LLAMA_CPP = re.compile(r"gguf:(Q\d_K|IQ)\w*", re.IGNORECASE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a safetensors or GGUF file in bf16, fp16 or fp32")
    parser.add_argument("target", type=Path, nargs="?", help="the file to write; default: beside the source")
    parser.add_argument("--format", required=True, type=format_name, help=", ".join(FORMATS))
    console.add_common(parser)
    arguments = parser.parse_args()
    is_gguf = arguments.format.startswith("gguf:")
    environment.ensure([GGUF if is_gguf else KITCHEN])
    pack.hide_scripts()
    pack.mount()
    target = arguments.target or default_target(arguments.source, arguments.format)
    errors, left = quantise(arguments.source, target, arguments.format)
    console.say(table(errors))
    if left:
        columns = FORMATS[arguments.format].columns
        console.say(f"{left} of the blocks' matrices stay as they are: their rows are no multiple of {columns}")
    console.say(f"{target}: {len(errors)} layers as {arguments.format}, {target.stat().st_size / 2**20:,.1f} MiB")
    return 0


def format_name(text: str) -> str:
    """An argument that names a format; raises argparse's error with the formats, or with what packs the others."""
    for name in FORMATS:
        if name.lower() == text.lower():
            return name
    if _BY_LLAMA_CPP.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text.removeprefix('gguf:')} is not packed here. Write gguf:Q8_0, gguf:Q6_K or gguf:Q4_K, or let "
            "llama.cpp's llama-quantize make it (with the patch of city96/ComfyUI-GGUF for video models)."
        )
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(FORMATS)}.")


def default_target(source: Path, name: str) -> Path:
    is_gguf = name.startswith("gguf:")
    return source.with_name(f"{source.stem}_{name.removeprefix('gguf:')}{'.gguf' if is_gguf else '.safetensors'}")


def quantise(source: Path, target: Path, name: str) -> tuple[list[tuple[str, tuple[int, ...], float]], int]:
    """Pack a file's matrices, and read the result back.

    Args:
        name: one of `FORMATS`.
    Returns:
        (name, shape, relative error) of each packed layer, in the file's order; how many more of the blocks' matrices
        there are, whose rows the format cannot have.
    Raises:
        SystemExit: the target exists or has the wrong ending; the source is packed already, or has nothing to pack.
    """
    from opent2v.loaders import open_container
    from opent2v.loaders.quantised import split_header

    packing, is_gguf = FORMATS[name], name.startswith("gguf:")
    ending = ".gguf" if is_gguf else ".safetensors"
    if target.suffix != ending:
        raise SystemExit(f"{target}: the name of a file in {name} ends in {ending}. Give another name.")
    if target.exists():
        raise SystemExit(f"{target} exists already; give another name as the second argument.")
    file = open_container(source)
    header, quantisation = split_header(file)
    if quantisation.kind:
        raise SystemExit(
            f"{source}: is stored as {quantisation.kind} already, and packing twice would lose more than either. Give "
            "the model's bf16, fp16 or fp32 file."
        )
    chosen = [layer for layer, info in header.items() if is_packed(layer, info.shape, packing.columns)]
    if not chosen:
        raise SystemExit(
            f"{source}: has no matrix in a block whose rows are a multiple of {packing.columns}, so nothing to pack as "
            f"{name}. Expected a diffusion model, a text encoder or another transformer."
        )
    temporary = target.with_name(f".{target.name}.part")
    try:
        if is_gguf:
            quantise_files.write_gguf(file, temporary, set(chosen), packing.layout)
        else:
            quantise_files.write_safetensors(file, temporary, set(chosen), packing)
        errors = [(layer, header[layer].shape, error) for layer, error in compared(file, temporary, chosen)]
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    left = sum(is_packed(layer, info.shape, 1) for layer, info in header.items()) - len(chosen)
    return errors, left


def is_packed(name: str, shape: tuple[int, ...], columns: int) -> bool:
    """Whether a tensor is a matrix of a block, with rows that the format can have."""
    if len(shape) != 2 or shape[1] % columns or min(shape) < 16:
        return False
    return name.endswith(".weight") and bool(_IN_BLOCK.search(name)) and not _LEFT_OUT.search(name)


def compared(source: Any, path: Path, chosen: list[str]) -> Iterator[tuple[str, float]]:
    """The relative error of each packed layer of a file, as the pack's own loaders read it."""
    import torch

    from opent2v.loaders import open_container
    from opent2v.loaders.quantised import read_layer, split_header

    file = open_container(path)
    _, quantisation = split_header(file)
    with source.tensors() as read_source, file.tensors() as read:
        for name in chosen:
            exact = read_source(name).float()
            numbers = read_layer(quantisation.layers[name], read).dequantise(torch.float32)
            yield name, float((numbers - exact).norm() / exact.norm().clamp(min=1e-30))


def table(errors: list[tuple[str, tuple[int, ...], float]]) -> str:
    """A line for each layer, and their mean and the largest below."""
    width = max(len(name) for name, _, _ in errors)
    lines = [f"{'layer':<{width}}  {'size':>13}  error"]
    lines += [
        f"{name:<{width}}  {' x '.join(map(str, shape)):>13}  {100 * error:5.2f} %" for name, shape, error in errors
    ]
    worst = max(errors, key=lambda layer: layer[2])
    mean = sum(error for _, _, error in errors) / len(errors)
    return "\n".join([*lines, f"mean {100 * mean:.2f} %, largest {100 * worst[2]:.2f} % ({worst[0]})"])


if __name__ == "__main__":
    sys.exit(console.guard(main))
