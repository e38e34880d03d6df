"""Measure one call of a transformer with packed weights over the same call with bf16 weights, on the processor.

    python3 scripts/bench/packed_call.py [--layers 2] [--tokens 192] [--rounds 5] [--dtype fp32] [--formats ...]

A transformer of Wan 2.1 T2V 1.3B's shape with random weights is packed by scripts/quantise.py in each format. Its
layers compute in turn

- in our way: rows are dequantised and multiplied in pieces that fit the processor's cache;
- in ComfyUI-GGUF's way (GGUF): the whole weight is dequantised in fp16 by torch at each call, then multiplied. The
  arithmetic is diffusers' `dequantize_functions`, which are ComfyUI-GGUF's;
- in comfy-kitchen's eager way (the other formats): the whole weight is dequantised to the dtype of the call, then
  multiplied.

All in one process, the processor's time, medians; the first round is left out. The last column is how far the two
outputs are apart, as a part of ours.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import load
import pack
import quantise

PLAIN = "bf16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=192, help="of the video, a multiple of 64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="fp32", help="of the call: fp32 or bf16")
    parser.add_argument("--formats", nargs="+", choices=quantise.FORMATS, default=list(quantise.FORMATS))
    arguments = parser.parse_args()
    environment.ensure([quantise.GGUF, quantise.KITCHEN])
    pack.hide_scripts()
    pack.mount()
    import torch

    torch.set_num_threads(1)
    print(
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}, one thread, {arguments.layers} layers, "
        f"{arguments.tokens} tokens, {arguments.dtype}"
    )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.safetensors"
        load.write(plain, arguments.layers, PLAIN)
        call = caller(arguments.tokens, arguments.dtype)
        print(f"{'':16}{'ours':>9}{'theirs':>9}{'ours / theirs':>15}{'apart':>10}")
        for name in arguments.formats:
            path = quantise.default_target(plain, name)
            quantise.quantise(plain, path, name)
            print_row(name, call, plain, path, arguments.rounds)
            path.unlink()


def caller(tokens: int, dtype: str) -> Callable[[Any], tuple[float, Any]]:
    """A function of a model that calls it once: (seconds of the processor, output)."""
    import torch

    from opent2v.loaders import DTYPES

    dice = torch.Generator().manual_seed(1)
    x = torch.randn(1, 16, tokens // 64, 16, 16, generator=dice).to(DTYPES[dtype])
    context = torch.randn(1, 64, load.TEXT, generator=dice).to(DTYPES[dtype])

    @torch.inference_mode()
    def call(part: Any) -> tuple[float, Any]:
        conditions = part.conditions({"cross_attn": context}, tuple(x.shape))
        used = time.process_time()
        output = part.predict(x, torch.tensor([500.0]), conditions)
        return time.process_time() - used, output

    return call


def print_row(name: str, call: Callable[[Any], tuple[float, Any]], plain: Path, path: Path, rounds: int) -> None:
    from opent2v.host import embedded
    from opent2v.loaders import DTYPES, load_model, open_file

    plain_part, part = (
        embedded.model(load_model(open_file(file), DTYPES[PLAIN], keeps_packed=True)).part for file in (plain, path)
    )
    dequantise = their_way(name)
    times: dict[str, list[float]] = {PLAIN: [], "ours": [], "theirs": []}
    apart = 0.0
    for _ in range(rounds + 1):
        times[PLAIN].append(call(plain_part)[0])
        used, ours = call(part)
        times["ours"].append(used)
        with computed_by(part.transformer, dequantise):
            used, theirs = call(part)
        times["theirs"].append(used)
        apart = float((theirs.float() - ours.float()).norm() / ours.float().norm())
    base, mine, them = (statistics.median(taken[1:]) for taken in times.values())
    print(f"{name:16}{mine / base:9.2f}{them / base:9.2f}{mine / them:15.2f}{apart:10.1e}", flush=True)


def their_way(name: str) -> Callable[[Any, Any], Any]:
    """A function of (packed weight, dtype) that gives the whole weight's numbers."""
    if name.startswith("gguf:"):
        return gguf_way(name.removeprefix("gguf:"))
    from opent2v.tests.loaders.quantised.kitchen import dequantised

    return lambda weight, dtype: dequantised(weight, name, dtype)


def gguf_way(code: str) -> Callable[[Any, Any], Any]:
    import gguf
    from diffusers.quantizers.gguf.utils import dequantize_functions

    kind = gguf.GGMLQuantizationType[code]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    dequantise = dequantize_functions[kind]

    def numbers(weight: Any, dtype: Any) -> Any:
        blocks = weight.tensors["weight"].reshape(-1, size)
        return dequantise(blocks, block, size).reshape(weight.shape).to(dtype)

    return numbers


@contextmanager
def computed_by(transformer: Any, numbers: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Have the packed layers dequantise their whole weight at each call, in another way than ours."""
    from torch import nn
    from torch.nn import functional

    def forward(layer: Any, x: Any) -> Any:
        weight = numbers(layer.weight.packed, x.dtype)
        return functional.linear(x, weight, None if layer.bias is None else layer.bias.to(x.dtype))

    layers: list[Any] = [
        layer
        for layer in transformer.modules()
        if isinstance(layer, nn.Linear) and getattr(layer.weight, "packed", None) is not None
    ]
    assert layers, "no layer is packed"
    for layer in layers:
        layer.forward = partial(forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


if __name__ == "__main__":
    main()
