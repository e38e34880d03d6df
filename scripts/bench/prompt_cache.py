"""What a kept prompt saves: time and memory of loading and asking a text encoder, against reading the prompt.

python3 scripts/bench/prompt_cache.py --width 1024 --layers 24
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import console
import environment
import pack

GRAPH = {
    "1": {"class_type": "OpenT2VLoadModel", "inputs": {}},
    "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1], "prompt_cache": True}},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1024, help="of the UMT5 encoder, random weights (default: 1024)")
    parser.add_argument("--layers", type=int, default=24, help="of the encoder (default: 24)")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is told (default: 3)")
    arguments = parser.parse_args()
    environment.ensure()
    pack.mount()
    from opent2v.host import embedded  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        models, prompts = Path(folder) / "models", Path(folder) / "prompts"
        size = _make(models / "diffusers" / "bench", arguments.width, arguments.layers)
        embedded.configure(models=models, output=Path(folder) / "output", prompts=prompts)
        first = _start(None)
        _start(GRAPH)  # fills the cache
        times: dict[str, list[float]] = {"without": [], "kept": []}
        for _ in range(arguments.repeats):
            for name, graph in (("without", None), ("kept", GRAPH)):
                began = time.perf_counter()
                result = _start(graph)
                times[name].append(time.perf_counter() - began)
                assert all((a[0][0] == b[0][0]).all() for a, b in zip(result, first, strict=True))
        files = [path.stat().st_size for path in prompts.iterdir()]
    without, kept = (statistics.median(times[name]) for name in ("without", "kept"))
    print(f"encoder of {size / 2**20:.0f} MiB; loading and two prompts {without:.2f} s, with both kept {kept:.2f} s")
    print(f"ratio {without / kept:.1f}; {max(files) / 2**20:.2f} MiB a prompt on disk; conditionings equal")
    return 0


def _start(graph: Any) -> Any:
    """Load the folder and encode two prompts, as a fresh run does; the model is dropped behind it."""
    from opent2v import nodes  # pyright: ignore[reportMissingImports]

    classes = nodes.NODE_CLASS_MAPPINGS
    clip = classes["OpenT2VLoadModel"]().load("bench", "auto", "1", graph)["result"][1]
    encoder = classes["OpenT2VEncodePrompt"]()
    result = encoder.encode(clip, "a red circle", "blurry", prompt_cache=graph is not None)["result"]
    del clip
    gc.collect()
    return result


def _make(path: Path, width: int, layers: int) -> int:
    """A tiny Wan folder with an encoder of this size; returns the bytes of its weights."""
    from transformers import UMT5Config, UMT5EncoderModel

    from opent2v.tests.tiny import wan  # pyright: ignore[reportMissingImports]
    from opent2v.training import captions  # pyright: ignore[reportMissingImports]

    wan.make(path)
    heads = max(width // 64, 1)
    config = UMT5Config(
        vocab_size=len(captions.tokenizer()), d_model=width, d_kv=64, d_ff=width * 5 // 2, num_layers=layers,
        num_heads=heads,
    )  # fmt: skip
    UMT5EncoderModel(config).eval().save_pretrained(path / "text_encoder")
    from diffusers import WanTransformer3DModel  # pyright: ignore[reportPrivateImportUsage]

    settings = json.loads((path / "transformer" / "config.json").read_text()) | {"text_dim": width}
    transformer: Any = WanTransformer3DModel.from_config(settings)
    transformer.save_pretrained(path / "transformer")
    return sum(file.stat().st_size for file in (path / "text_encoder").glob("*.safetensors"))


if __name__ == "__main__":
    sys.exit(console.guard(main))
