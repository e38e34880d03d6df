"""Starts a real ComfyUI inside this process, on the CPU, with the pack mounted. For the `cases_*.py` modules.

They hold cases; `run` runs them and prints the results as one line of JSON. A case that fails gives its traceback.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CASES: dict[str, Callable[[], Any]] = {}


def start(comfyui: Path) -> None:
    """Make `comfy`, core's nodes with all extras, and the pack as `opent2v` importable."""
    sys.path.insert(0, str(comfyui))
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options  # pyright: ignore[reportMissingImports]

    comfy.options.enable_args_parsing()
    import folder_paths  # noqa: F401
    import torch
    import utils.extra_config  # noqa: F401  # pyright: ignore[reportMissingImports]  before `nodes` shadows it

    import nodes as core

    asyncio.run(core.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    spec = importlib.util.spec_from_file_location("opent2v_pack", ROOT / "scripts" / "pack.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    pack.mount("opent2v")
    from opent2v.host import host
    from opent2v.nodes import NODE_CLASS_MAPPINGS
    from opent2v.nodes.lora import read_for_host

    host.install(read_for_host)
    core.NODE_CLASS_MAPPINGS.update(NODE_CLASS_MAPPINGS)
    torch.set_num_threads(1)


def scratch() -> Path:
    """A folder that lives as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="opent2v-host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def call(node: str, **given: Any) -> Any:
    """Run a node, core's or ours, with its own defaults for what is not given; its outputs, or the only one."""
    import torch

    import nodes as core

    cls = core.NODE_CLASS_MAPPINGS[node]
    values = {name: _default(spec) for name, spec in cls.INPUT_TYPES()["required"].items() if name not in given}
    values.update(given)
    with torch.inference_mode():  # as the executor runs it
        function = cls.execute if hasattr(cls, "define_schema") else getattr(cls(), cls.FUNCTION)
        result = function(**values)
    result = result["result"] if isinstance(result, dict) else getattr(result, "result", result)
    return result[0] if len(result) == 1 else result


def _default(spec: Any) -> Any:
    options = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [None])
    return options.get("default", choices[0])


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[f"{function.__module__.removeprefix('cases_')} {function.__name__}"] = function
    return function


def run() -> None:
    report = {}
    for name, function in CASES.items():
        began = time.monotonic()
        try:
            report[name] = function()
        except Exception:
            report[name] = {"error": traceback.format_exc()[-3000:]}
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    print("REPORT " + json.dumps(report))


def largest(a: Any, b: Any) -> float:
    """The largest difference of two tensors of one shape, as a share of the largest value where that is above 1.

    How far two orders of one sum are apart depends on the processor, and grows with the numbers.
    """
    if a.shape != b.shape:
        raise AssertionError(f"{list(a.shape)} against {list(b.shape)}")
    a, b = a.float().cpu(), b.float().cpu()
    return (a - b).abs().max().item() / max(1.0, b.abs().max().item())
