"""Measure, in one run and as ratios, what loading a single file costs: time and memory.

    python3 scripts/bench/load.py [--layers 30] [--rounds 3] [--cold] [--folder PATH] [--comfyui FOLDER]

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

With --comfyui, after that: one call of the network with each kind of file as a MODEL inside that ComfyUI, on the
processor, in turn with the bf16 file's in the same process, and what ComfyUI counts as its memory over the file's size.

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

import comfyui_start
import environment
import pack

WIDTH, FFN, TEXT = 1536, 8960, 4096
PACKED = "packed"
# Measurements: name -> (file, dtype as the nodes name it, PACKED for weights that stay as they are stored, or None).
CASES = {
    "bf16 as it is": ("bf16", None),
    "bf16 to fp8_e4m3fn": ("bf16", "fp8_e4m3fn"),
    "scaled fp8 to bf16": ("scaled", None),
    "scaled fp8 as it is": ("scaled", PACKED),
    "int8 convrot as it is": ("int8", PACKED),
    "nvfp4 as it is": ("nvfp4", PACKED),
}
KINDS = ("bf16", "scaled", "int8", "nvfp4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the system's cache")
    parser.add_argument("--folder", type=Path, help="where the files are made; left out: the system's temporary folder")
    parser.add_argument(
        "--comfyui", type=Path, help="a ComfyUI checkout, in whose Python this runs and calls are timed"
    )
    parser.add_argument("--calls", nargs="+", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--single", nargs=2, metavar=("FILE", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.comfyui:
        comfyui_start.ensure(arguments.comfyui)
    else:
        environment.ensure()
    if arguments.calls:
        time_calls(arguments.comfyui, [Path(file) for file in arguments.calls], arguments.rounds)
        return
    pack.hide_scripts()
    pack.mount()
    if arguments.single:
        print(json.dumps(load(Path(arguments.single[0]), arguments.single[1])))
        return

    import torch

    print(f"{date.today()}, {torch.get_num_threads()} torch threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = {kind: Path(folder) / f"{kind}.safetensors" for kind in KINDS}
        for kind in KINDS if arguments.comfyui else dict.fromkeys(CASES[name][0] for name in arguments.cases):
            write(files[kind], arguments.layers, kind)
        for name in arguments.cases:
            kind, dtype = CASES[name]
            print_case(name, files[kind], dtype, arguments.rounds, arguments.cold)
        if arguments.comfyui:
            options = ["--comfyui", str(arguments.comfyui), "--rounds", str(arguments.rounds)]
            subprocess.run([sys.executable, __file__, *options, "--calls", *map(str, files.values())], check=True)


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
    dtypes = {**DTYPES, PACKED: DTYPES["bf16"]}
    model = load_model(open_file(path), dtypes.get(dtype), keeps_packed=dtype == PACKED)
    loaded = time.perf_counter() - began, time.process_time() - used
    tensors = [*stored(model.transformer)]
    for tensor in tensors:
        bytes_of(tensor)[::4096].sum()
    touched = time.perf_counter() - began, time.process_time() - used
    held = sum(tensor.nbytes for tensor in tensors) / 2**20
    return {"load": loaded, "time": touched, "held": held, **peak.stop()}


def stored(module):
    """What a module's weights are in memory: of packed ones, the tensors of the file."""
    for weight in module.parameters():
        packed = getattr(weight, "packed", None)
        yield from [weight] if packed is None else packed.tensors.values()


def time_calls(comfyui: Path, files: list[Path], rounds: int) -> None:
    """Print the time of one call of each file's MODEL inside ComfyUI over that of the first file's."""
    comfyui_start.start_with_pack(comfyui, "--cpu")
    import comfy.model_management as mm
    import torch

    from opent2v.host import comfyui as side
    from opent2v.loaders import DTYPES, load_model, open_file

    dice = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 16, 3, 16, 16, generator=dice), torch.randn(1, 64, TEXT, generator=dice)
    times: dict[str, list[float]] = {}
    with torch.inference_mode():
        models = {
            file.stem: side.model(load_model(open_file(file), DTYPES["bf16"], keeps_packed=True)) for file in files
        }
        for _ in range(rounds + 1):
            for name, model in models.items():
                mm.load_models_gpu([model])
                part = model.model.opent2v
                conditions = part.conditions({"cross_attn": context}, tuple(x.shape))
                used = time.process_time()
                part.predict(x, torch.tensor([500.0]), conditions)
                times.setdefault(name, []).append(time.process_time() - used)
    print(f"\none call with {3 * 8 * 8} tokens inside ComfyUI, processor time, the first of {rounds + 1} left out")
    plain = statistics.median(times[files[0].stem][1:])
    for file in files:
        taken, size = statistics.median(times[file.stem][1:]), models[file.stem].model_size()
        ratio = size / file.stat().st_size
        print(f"{file.stem}: {taken:.2f} s, {taken / plain:.2f} of {files[0].stem}; counted as {ratio:.3f} of its file")


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


def write(path: Path, layers: int, kind: str) -> None:
    """A safetensors file with random weights; the blocks' matrices in the kind's format, see `KINDS`."""
    import torch

    # Repeated values; only zeros must be avoided.
    numbers = 0.02 * torch.randn(6 * WIDTH * WIDTH + FFN * WIDTH, generator=torch.Generator().manual_seed(0))
    plain, fp8 = numbers.bfloat16(), (numbers * 1000).to(torch.float8_e4m3fn)
    whole = (numbers * 1000).round().clamp(-127, 127).to(torch.int8)
    positive, scale = (numbers * 1000).abs().to(torch.float8_e4m3fn), torch.full((FFN,), 0.001)
    marks = {
        "int8": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256}, "nvfp4": {"format": "nvfp4"}
    }  # fmt: skip
    header, pieces, end = {}, [], 0

    def add(name: str, dtype: str, shape: tuple[int, ...], data) -> None:
        nonlocal end
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + data.nbytes]}
        pieces.append(bytes_of(data).numpy())
        end += data.nbytes

    if kind == "scaled":
        add("scaled_fp8", "F8_E4M3", (2,), fp8[:2])
    for name, shape in shapes(layers).items():
        count, layer = torch.Size(shape).numel(), name.removesuffix(".weight")
        if kind == "bf16" or not name.startswith("blocks.") or not name.endswith(".weight") or len(shape) != 2:
            add(name, "BF16", shape, plain[:count])
        elif kind == "scaled":
            add(name, "F8_E4M3", shape, fp8[:count])
            add(f"{layer}.scale_weight", "F32", (1,), scale[:1])
        elif kind == "int8":
            add(name, "I8", shape, whole[:count])
            add(f"{layer}.weight_scale", "F32", (shape[0], 1), scale[: shape[0]])
        else:
            add(name, "U8", (shape[0], shape[1] // 2), whole[: count // 2].view(torch.uint8))
            add(f"{layer}.weight_scale", "F8_E4M3", (shape[0], shape[1] // 16), positive[: count // 16])
            add(f"{layer}.weight_scale_2", "F32", (), scale[:1])
        if kind in marks and f"{layer}.weight" in header and header[name]["dtype"] in ("I8", "U8"):
            mark = torch.tensor(list(json.dumps(marks[kind]).encode()), dtype=torch.uint8)
            add(f"{layer}.comfy_quant", "U8", tuple(mark.shape), mark)
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
