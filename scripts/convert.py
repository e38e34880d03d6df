"""Convert a legacy model file (.pt, .pth, .ckpt, .bin) to safetensors, offline.

python3 scripts/convert.py model.ckpt                writes model.safetensors beside it
python3 scripts/convert.py model.ckpt out.safetensors

Only tensors are read: the file is unpickled with torch's weights-only reader, which runs no code from it. Dtypes stay
as they are, and names but for what DeepSpeed puts before them; the nodes translate names while loading.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import console
import environment
import pack

# Where trainers put the weights inside a checkpoint.
NESTS = ("state_dict", "module", "model", "params_ema", "ema", "generator_ema", "generator", "model_state_dict")
DEEPSPEED = "_forward_module."


def main() -> int:
    environment.ensure()
    pack.hide_scripts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?")
    console.add_common(parser)
    arguments = parser.parse_args()
    target = arguments.target or arguments.source.with_suffix(".safetensors")
    if target.exists():
        raise SystemExit(f"{target} exists already; give another name as the second argument.")
    tensors = read(arguments.source)
    write(tensors, target)
    console.say(f"{target}: {len(tensors)} tensors, {target.stat().st_size / 2**20:.1f} MiB")
    return 0


def read(path: Path) -> dict[str, Any]:
    """Name -> tensor of a checkpoint; raises SystemExit with the reason where it holds more than tensors."""
    import torch

    if not path.is_file():
        raise SystemExit(f"{path}: no such file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise SystemExit(
            f"{path}: holds more than tensors, and what else it holds could run code, so it is not opened ({error}). "
            "Get a safetensors version, or ask the file's maker for the weights alone."
        ) from error
    except RuntimeError as error:
        raise SystemExit(f"{path}: not a checkpoint that torch can read ({error}). Download it again.") from error
    while isinstance(content, dict) and (nest := next((n for n in NESTS if isinstance(content.get(n), dict)), None)):
        content = content[nest]
    named = content.items() if isinstance(content, dict) else ()
    tensors = {k.removeprefix(DEEPSPEED): v for k, v in named if isinstance(v, torch.Tensor)}
    if not tensors:
        raise SystemExit(f"{path}: no tensors by name in it; expected a state dict, or one below {', '.join(NESTS)}.")
    return tensors


def write(tensors: dict[str, Any], target: Path) -> None:
    """Save under a temporary name first, so that a broken run leaves nothing that looks whole."""
    import torch
    from safetensors.torch import save_file

    # safetensors cannot store tensors that share memory, so each of them is copied.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        copies = shared or not tensor.is_contiguous()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format) if copies else tensor
    temporary = target.with_name(f".{target.name}.part")
    try:
        save_file(tensors, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(console.guard(main))
