"""Runs in a process of its own: starts the pack by its folder, as ComfyUI does, with some libraries hidden.

Not a test. Argument: JSON with "pack" (folder), "hidden" (names of modules) and "output" (folder). Prints JSON:
"nodes", "models" (the loader's choices) and "error" of the quickstart's run ("" where it made its file).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def hide(names: list[str]) -> None:
    """From now on, modules of these names are not found, as if they were not installed."""
    find = PathFinder.find_spec

    def find_others(name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in names else find(name, path, target)

    PathFinder.find_spec = find_others  # type: ignore[method-assign]


def load(folder: Path):
    """The pack as a module, the way ComfyUI's `load_custom_node` does it."""
    spec = importlib.util.spec_from_file_location("the_pack", folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["the_pack"] = module
    spec.loader.exec_module(module)
    return module


def run(pack, folder: Path, output: Path) -> str:
    """The message of the error that ends the quickstart workflow; "" where it made its file."""
    from the_pack.headless import runner, workflow  # pyright: ignore[reportMissingImports]
    from the_pack.host import embedded  # pyright: ignore[reportMissingImports]

    embedded.configure(output=output)
    classes = pack.NODE_CLASS_MAPPINGS
    text = (folder / "workflows" / "quickstart.json").read_text(encoding="utf-8")
    graph = workflow.load_workflow(text, classes, pack.NODE_DISPLAY_NAME_MAPPINGS)
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    try:
        runner.run(graph, classes)
    except (workflow.WorkflowError, runner.NodeError) as error:
        return str(error)
    return "" if list(output.rglob("*.mp4")) else "no file was written"


def main() -> None:
    order = json.loads(sys.argv[1])
    hide(order["hidden"])
    pack = load(Path(order["pack"]))
    models = pack.NODE_CLASS_MAPPINGS["OpenT2VLoadModel"].INPUT_TYPES()["required"]["model"][0]
    error = run(pack, Path(order["pack"]), Path(order["output"]))
    answer = {"nodes": list(pack.NODE_CLASS_MAPPINGS), "models": models, "error": error}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
