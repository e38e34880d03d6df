"""Measure, in one run and as ratios, what loading a single file costs: time and memory.

    python3 scripts/bench/load.py [--layers 30] [--rounds 3] [--cold] [--folder PATH]

The file is a transformer of Wan 2.1 T2V 1.3B's shape with random weights (2.8 GB as bf16) in the makers' names, and is
removed afterwards. Each load runs in a process of its own; the file lies in the system's cache, and loads alternate
with two plain sequential reads of the same file: into the same 16 MiB of memory again and again, the least that reading
can cost, and into new memory of the file's size, as a loader without a mapped file does it. With --cold the system
forgets the file before each load and each read, as after a start of the machine; then only the wall time says
something. Times are medians, as wall time and as processor time.

A weight that keeps the file's dtype is not copied: it is a part of the mapped file, which the system reads when it is
first used. So that this counts, each load then touches every page of the model. What a load takes is seen as

- own memory: the most that the process held beyond what the libraries hold (RssAnon), which nothing else can use;
- in all: the most resident pages, with those of the mapped file (VmHWM), which the system can take back.

Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

WIDTH, FFN, TEXT = 1536, 8960, 4096
# Measurements: name -> (file, dtype as the nodes name it or None).
CASES = {
    "bf16 as it is": ("bf16", None),
    "bf16 to fp8_e4m3fn": ("bf16", "fp8_e4m3fn"),
    "scaled fp8 to bf16": ("scaled", None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the system's cache")
    parser.add_argument("--folder", type=Path, help="where the files are made; left out: the system's temporary folder")
    parser.add_argument("--single", nargs=2, metavar=("FILE", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    environment.ensure()
    pack.hide_scripts()
    pack.mount()
    if arguments.single:
        print(json.dumps(load(Path(arguments.single[0]), arguments.single[1])))
        return

    import torch

    print(f"{date.today()}, {torch.get_num_threads()} torch threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = {"bf16": Path(folder) / "bf16.safetensors", "scaled": Path(folder) / "scaled.safetensors"}
        for kind in dict.fromkeys(CASES[name][0] for name in arguments.cases):
            write(files[kind], arguments.layers, is_scaled=kind == "scaled")
        for name in arguments.cases:
            kind, dtype = CASES[name]
            print_case(name, files[kind], dtype, arguments.rounds, arguments.cold)


def print_case(name: str, path: Path, dtype: str | None, rounds: int, is_cold: bool) -> None:
    read(path)  # into the system's cache
    reads: dict[str, list[tuple[float, float]]] = {"read": [], "read into new memory": []}
    loads = []
    for _ in range(rounds):
        for way, taken in reads.items():
            if is_cold:
                forget(path)
            taken.append(read(path, None if way == "read" else path.stat().st_size))
        if is_cold:
            forget(path)
        command = [sys.executable, __file__, "--single", str(path), dtype or "default"]
        loads.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    size, held = path.stat().st_size / 2**20, loads[0]["held"]
    print(f"\n{name}: file {size:.0f} MiB, weights {held:.0f} MiB")
    for i, kind in enumerate(("wall", "processor")):
        whole, header = (statistics.median(record[key][i] for record in loads) for key in ("time", "load"))
        print(f"{kind} time: load and touch {whole:.2f} s (load alone {header:.2f} s)", end="")
        for way, taken in reads.items():
            plain = statistics.median(times[i] for times in taken)
            print(f", {way} {plain:.2f} s, ratio {whole / plain:.2f}", end="")
        print()
    peak, most = (max(record[key] for record in loads) for key in ("own", "all"))
    print(f"own memory {peak:.0f} MiB, {peak / held:.2f} of the weights; in all {most:.0f} MiB, {most / held:.2f}")


def read(path: Path, memory: int | None = None) -> tuple[float, float]:
    """(wall, processor) seconds of a sequential read, into new memory of so many bytes or into 16 MiB over and over."""
    import torch

    piece = 2**24
    began, used = time.perf_counter(), time.process_time()
    buffer = torch.empty(memory or piece, dtype=torch.uint8).numpy().data
    with open(path, "rb", buffering=0) as file:
        while taken := file.readinto(buffer[:piece]):
            buffer = buffer[taken:] if memory else buffer
    return time.perf_counter() - began, time.process_time() - used


def forget(path: Path) -> None:
    """Have the system drop the file from its cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load(path: Path, dtype: str) -> dict:
    """Times in seconds (wall, processor) and memory in MiB of one load in this process."""
    import diffusers  # noqa: F401  the library's own import is not the file's

    from opent2v.loaders import DTYPES, library_class, load_model, open_file

    library_class("WanTransformer3DModel")
    peak = Peak()
    began, used = time.perf_counter(), time.process_time()
    model = load_model(open_file(path), DTYPES.get(dtype))
    loaded = time.perf_counter() - began, time.process_time() - used
    tensors = [*model.transformer.parameters()]
    for tensor in tensors:
        bytes_of(tensor)[::4096].sum()
    touched = time.perf_counter() - began, time.process_time() - used
    held = sum(tensor.nbytes for tensor in tensors) / 2**20
    return {"load": loaded, "time": touched, "held": held, **peak.stop()}


def bytes_of(tensor):
    import torch

    return tensor.detach().flatten().view(torch.uint8)


class Peak:
    """Watches this process's memory, from now on, in a thread."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        self._base = {name: resident(name) for name in ("RssAnon", "VmRSS")}
        self._peak, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._peak = max(self._peak, resident("RssAnon"))

    def stop(self) -> dict[str, float]:
        self._done.set()
        self._thread.join()
        grown = max(self._peak, resident("RssAnon")) - self._base["RssAnon"]
        return {"own": grown, "all": resident("VmHWM") - self._base["VmRSS"]}


def resident(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def write(path: Path, layers: int, is_scaled: bool) -> None:
    """A safetensors file with random weights; scaled: the blocks' matrices as fp8 with a scale beside each."""
    import torch

    # Repeated values; only zeros must be avoided.
    numbers = 0.02 * torch.randn(6 * WIDTH * WIDTH + FFN * WIDTH, generator=torch.Generator().manual_seed(0))
    stored = {"BF16": numbers.bfloat16(), "F8_E4M3": (numbers * 1000).to(torch.float8_e4m3fn)}
    scale = torch.tensor([0.001])
    header, pieces, end = {}, [], 0

    def add(name: str, dtype: str, shape: tuple[int, ...], data) -> None:
        nonlocal end
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + data.nbytes]}
        pieces.append(bytes_of(data).numpy())
        end += data.nbytes

    if is_scaled:
        add("scaled_fp8", "F8_E4M3", (2,), stored["F8_E4M3"][:2])
    for name, shape in shapes(layers).items():
        dtype = "F8_E4M3" if is_scaled and name.startswith("blocks.") and len(shape) == 2 else "BF16"
        add(name, dtype, shape, stored[dtype][: torch.Size(shape).numel()])
        if dtype != "BF16":
            add(name.removesuffix(".weight") + ".scale_weight", "F32", (1,), scale)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for piece in pieces:
            file.write(piece)


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Wan 2.1 T2V 1.3B in the makers' layout."""
    linears = {
        "text_embedding.0": (WIDTH, TEXT), "text_embedding.2": (WIDTH, WIDTH),
        "time_embedding.0": (WIDTH, 256), "time_embedding.2": (WIDTH, WIDTH),
        "time_projection.1": (6 * WIDTH, WIDTH), "head.head": (64, WIDTH), "patch_embedding": (WIDTH, 16, 1, 2, 2),
    }  # fmt: skip
    others: dict[str, tuple[int, ...]] = {"head.modulation": (1, 2, WIDTH)}
    for n in range(layers):
        block = f"blocks.{n}"
        for attention in ("self_attn", "cross_attn"):
            linears |= {f"{block}.{attention}.{part}": (WIDTH, WIDTH) for part in "qkvo"}
            others |= {f"{block}.{attention}.norm_{part}.weight": (WIDTH,) for part in "qk"}
        linears |= {f"{block}.ffn.0": (FFN, WIDTH), f"{block}.ffn.2": (WIDTH, FFN)}
        others |= {f"{block}.norm3.weight": (WIDTH,), f"{block}.norm3.bias": (WIDTH,)}
        others |= {f"{block}.modulation": (1, 6, WIDTH)}
    for name, shape in linears.items():
        others |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return others


if __name__ == "__main__":
    main()
