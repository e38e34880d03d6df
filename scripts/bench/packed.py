"""Measure what few bits cost the bundled model: prompt adherence and likeness to its video in fp32, by format.

    python3 scripts/bench/packed.py [--scenes 24] [--formats int8 nvfp4 ...] [--json FILE]

The transformer of the bundled folder is packed into each format, loaded as nodes load it (its layers stay packed),
and asked for the same scenes with the same seeds as the one in fp32. Adherence is measured as in
training/evaluate.py; the signal to noise is that of all frames against the ones in fp32, in dB, and their mean.
GGUF formats are packed by the gguf package, the others by the tests' own packers, which round to the nearest number.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

PLAIN = "fp32"
# Of ggml's types those whose blocks divide the model's 192 columns, and that gguf's Python packs.
GGUF = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--batch", type=int, default=12, help="videos made at a time")
    parser.add_argument("--formats", nargs="*", help="default: all")
    parser.add_argument("--json", type=Path, help="write the records here")
    arguments = parser.parse_args()
    environment.ensure(["gguf>=0.17"])
    pack.hide_scripts()
    pack.mount()
    import torch

    from opent2v.tests.tiny import packed
    from opent2v.training import evaluate, world

    torch.set_num_threads(1)
    scenes = world.split()[1][: arguments.scenes]
    formats = arguments.formats or [*packed.KINDS, *(f"gguf:{code}" for code in GGUF)]
    print(
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}, {len(scenes)} scenes in English", flush=True
    )
    print(f"{'format':14}{'MiB':>6}{'colour':>9}{'ground':>9}{'motion':>9}{'shape':>9}{'all':>9}{'dB':>8}", flush=True)
    table: dict[str, dict[str, float]] = {}
    exact = None
    for name in (PLAIN, *formats):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name.replace(":", "-")
            shutil.copytree(evaluate.FOLDER, folder)
            size = write(folder / "transformer", name)
            clips = list(evaluate.evaluate(evaluate.from_folder(folder), scenes, "en", batch=arguments.batch))
        videos = torch.stack([video.clamp(-1, 1) for _, video in clips])
        share = evaluate.shares([record for record, _ in clips])
        exact = videos if exact is None else exact
        error = (videos - exact).square().flatten(1).mean(1)
        likeness = float((10 * (4 / error.clamp(min=1e-12)).log10()).mean())
        table[name] = {**share, "psnr": likeness, "MiB": size / 2**20}
        shares = "".join(f"{share[part]:8.1f}%" for part in ("colour", "background", "motion", "shape", "all"))
        print(f"{name:14}{size / 2**20:6.1f}{shares}{likeness:8.1f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


def write(transformer: Path, name: str) -> int:
    """Pack the weights of a transformer's folder into a format, in place; their bytes."""
    from safetensors.torch import load_file, save_file

    from opent2v.tests.tiny import packed

    path = transformer / "diffusion_pytorch_model.safetensors"
    state = {key: tensor.float() for key, tensor in load_file(path).items()}
    if name == PLAIN:
        save_file(state, path)
    elif name.startswith("gguf:"):
        path.unlink()
        path = path.with_suffix(".gguf")
        write_gguf(path, state, name.removeprefix("gguf:"))
    else:
        packed.write(path, state, lambda layer: name if layer.startswith("blocks.") else "")
    return path.stat().st_size


def write_gguf(path: Path, state: dict, code: str) -> None:
    import gguf

    kind = gguf.GGMLQuantizationType[code]
    writer = gguf.GGUFWriter(path, "wan")
    for name, tensor in state.items():
        is_packed = tensor.ndim == 2 and name.startswith("blocks.") and tensor.shape[1] % 32 == 0
        numbers = tensor.contiguous().numpy()
        if is_packed:
            writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
