"""Starts a real ComfyUI inside this process, without its server. Scripts and tests alike start it here."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import environment
import pack


def ensure(comfyui: Path) -> None:
    """Return only in an interpreter that has what ComfyUI and the pack need; else start again in the checkout's own.

    Raises:
        SetupError: no checkout there, or no interpreter that would do.
    """
    if not (comfyui / "comfy").is_dir() or not (comfyui / "execution.py").is_file():
        raise environment.SetupError(
            f"{comfyui} is no ComfyUI checkout (no comfy/ and execution.py in it); give the folder of its main.py"
        )
    # Packages called comfyui-... belong to its page, which does not run here.
    needed = [
        line for line in environment.requirements(comfyui / "requirements.txt") if not line.startswith("comfyui-")
    ]
    needed += [environment.TORCH, *environment.requirements(pack.ROOT / "requirements.txt")]
    lacking = environment.missing(needed)
    if not lacking:
        return
    for venv in (comfyui / "venv", comfyui / ".venv"):
        python = environment.python_of(venv)
        if python.exists():
            if Path(sys.prefix).resolve() != venv.resolve():
                environment.restart(python)
            raise environment.SetupError(
                f"ComfyUI's Python lacks {', '.join(lacking)}; run: "
                f"{python} -m pip install -r {pack.ROOT / 'requirements.txt'}"
            )
    raise environment.SetupError(
        f"{sys.executable} lacks {', '.join(lacking)}, and {comfyui} has no venv or .venv; start this script with "
        "ComfyUI's Python"
    )


def start(comfyui: Path, *options: str) -> ModuleType:
    """Import ComfyUI in the order it needs, with the options of its command line.

    Returns:
        Its module `nodes`. `comfy`, `folder_paths` and the others can be imported from now on.
    """
    pack.hide_scripts()
    sys.path.insert(0, str(comfyui.resolve()))
    sys.argv = [str(comfyui / "main.py"), *options]
    import_module("comfy.options").enable_args_parsing()
    import_module("utils.extra_config")  # before `nodes`, which puts a folder with another `utils` in front
    return import_module("nodes")


def start_with_pack(comfyui: Path, *options: str) -> ModuleType:
    """`start`, with core's extra nodes and ours in `NODE_CLASS_MAPPINGS`, the pack mounted as `opent2v`, one thread."""
    core = start(comfyui, *options)
    asyncio.run(core.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    pack.mount()
    # As the root does.
    import_module("opent2v.host").host.install(import_module("opent2v.nodes.lora_for_host").read_for_host)
    core.NODE_CLASS_MAPPINGS.update(import_module("opent2v.nodes").NODE_CLASS_MAPPINGS)
    import_module("torch").set_num_threads(1)
    return core


def call(node: str, **inputs: Any) -> Any:
    """Run a node, core's or ours, with its own defaults for what is not given; its outputs, or the only one."""
    cls = import_module("nodes").NODE_CLASS_MAPPINGS[node]
    values = {name: _default(spec) for name, spec in cls.INPUT_TYPES()["required"].items() if name not in inputs}
    values.update(inputs)
    with import_module("torch").inference_mode():  # as the executor runs it
        function = cls.execute if hasattr(cls, "define_schema") else getattr(cls(), cls.FUNCTION)
        result = function(**values)
    result = result["result"] if isinstance(result, dict) else getattr(result, "result", result)
    return result[0] if len(result) == 1 else result


def _default(spec: Any) -> Any:
    options = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [None])
    return options.get("default", choices[0])
