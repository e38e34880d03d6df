"""Measure LoRA files of a real size on a model of a real size, as ratios, on one processor core.

    python3 scripts/bench/lora.py [--rank 32] [--rounds 5] [--layers 4] [--keep FILE]

A 300 MB file (rank 32, bf16, diffusers' names, every attention and feed-forward layer) for Wan 2.1 T2V 14B, whose
weights are on the meta device. The file is in the system's cache. Wall and processor time:

    verdict      header read, names and shapes compared, the report written: no tensor is read
    reading      the file's bytes read into memory
    tensors      every tensor of the file copied once, with safetensors, out of the mapped file
    application  all that Load LoRA does, from the file to a MODEL that is ready to run: verdict, tensors read and
                 looked through for NaN, changes handed to the host
    again        the same node with another strength: nothing is read

Merging happens while the model is loaded onto its device, and costs what the weights cost; it is timed apart, on a
slice of real-size layers.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

CONFIG = {
    "num_attention_heads": 40, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 4096,
    "freq_dim": 256, "ffn_dim": 13824, "num_layers": 40,
}  # fmt: skip
LAYERS = (*(f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
          "ffn.net.0.proj", "ffn.net.2")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4, help="real-size layers that are merged")
    parser.add_argument("--keep", type=Path, help="where the file is written, and left")
    arguments = parser.parse_args()
    environment.ensure()
    pack.hide_scripts()
    pack.mount()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "loras" / "bench.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        model = meta_model()
        write(path, model, arguments.rank)
        size = path.stat().st_size
        versions = f"Python {platform.python_version()}, torch {torch.__version__}"
        print(f"{date.today()}, {platform.machine()}, {versions}, 1 core")
        print(f"{size / 1e6:.0f} MB, rank {arguments.rank}, Wan 2.1 T2V 14B (meta); medians of {arguments.rounds}")
        report(path, model, arguments.rounds, arguments.layers)


def meta_model():
    """Wan 2.1 T2V 14B as a MODEL of the embedded host, without memory."""
    import torch

    from opent2v.base import VideoModel
    from opent2v.families import families
    from opent2v.host.embedded import Model
    from opent2v.loaders.weights import build

    module = build("WanTransformer3DModel", CONFIG)
    # The loader's record of the published single file, from names and shapes alone.
    shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    recognised = families()["wan"].recognise(shapes, "wan2.1_t2v_14B.safetensors")
    assert not isinstance(recognised, str), recognised
    return Model(VideoModel(recognised.variant, module, Path("wan")), torch.device("cpu"), torch.bfloat16)


def write(path: Path, model, rank: int) -> None:
    """A LoRA of random numbers for every attention and feed-forward layer."""
    import torch
    from safetensors.torch import save_file

    shapes = {name: weight.shape for name, weight in model.part.transformer.named_parameters()}
    tensors = {}
    for block in range(CONFIG["num_layers"]):
        for layer in LAYERS:
            rows, columns = shapes[f"blocks.{block}.{layer}.weight"]
            stem = f"transformer.blocks.{block}.{layer}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, columns).mul_(0.02).bfloat16()
            tensors[f"{stem}.lora_B.weight"] = torch.randn(rows, rank).mul_(0.02).bfloat16()
    save_file(tensors, path, metadata={"format": "pt"})


def timed(run: Callable[[], object], rounds: int) -> tuple[float, float]:
    """(median wall, median processor) seconds, after one run that warms the caches."""
    run()
    walls, processors = [], []
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return statistics.median(walls), statistics.median(processors)


def report(path: Path, model, rounds: int, layers: int) -> None:
    from safetensors import safe_open

    from opent2v.host import embedded
    from opent2v.loaders.lora import load_patches, match, read_lora
    from opent2v.nodes.lora import Applied

    def verdict():
        verdict = match(read_lora(path), embedded.patch_target(model))
        assert verdict.matched == verdict.total == CONFIG["num_layers"] * len(LAYERS), verdict.lines()
        return verdict.lines()

    def tensors():
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118  not a dictionary

    def application():
        return Applied().run(model, None, [(path, 1.0, 1.0)], "", None)

    held = Applied()

    def again():
        return held.run(model, None, [(path, time.perf_counter() % 1, 1.0)], "", None)

    rows = {name: timed(run, rounds) for name, run in
            (("verdict", verdict), ("reading", path.read_bytes), ("tensors", tensors), ("application", application),
             ("again", again))}  # fmt: skip
    for name, (wall, processor) in rows.items():
        print(f"{name:12} {wall:7.3f} s wall  {processor:7.3f} s processor")
    ratios = [rows["application"][n] / rows["reading"][n] for n in (0, 1)]
    print(f"application / reading: {ratios[0]:.2f} wall, {ratios[1]:.2f} processor (at most 1.2)")
    verdict_wall, verdict_processor = rows["verdict"]
    fits = "yes" if verdict_processor < 0.2 else "NO"
    print(f"verdict at most 0.2 s: {fits} ({verdict_wall:.3f} s wall on this machine as busy as it is)")
    patches = load_patches(match(read_lora(path), embedded.patch_target(model)))
    merging(model, patches[:layers], rounds)
    if ratios[1] > 1.2 or verdict_processor > 0.2:
        sys.exit(1)


def merging(model, patches, rounds: int) -> None:
    """One merge of real-size bf16 layers, beside copying the same weights."""
    import torch

    from opent2v.base.weight_changes import apply_change

    shapes = {name: weight.shape for name, weight in model.part.transformer.named_parameters()}
    weights = [torch.randn(shapes[patch.key]).mul_(0.02).bfloat16() for patch in patches]
    size = sum(weight.numel() * 2 for weight in weights) / 1e9
    merge = timed(lambda: [apply_change(w, p, 1.0) for w, p in zip(weights, patches, strict=True)], rounds)
    copy = timed(lambda: [weight.clone() for weight in weights], rounds)
    print(f"merging      {merge[1] / size:7.2f} s processor per GB of bf16 weights; copying {copy[1] / size:.2f}")


if __name__ == "__main__":
    main()
