"""Imports between rooms go down only, the host is touched in one place, and nothing that ships reaches outside.

Tests: base/, families/, loaders/, sampling/, media/, host/, headless/, finetune/, nodes/
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "nodes": {"finetune", "loaders", "sampling", "media", "host", "families", "base"},
    "finetune": {"loaders", "sampling", "media", "host", "families", "base"},
    "headless": {"host", "loaders", "media"},
    "host": {"sampling", "families", "base"},
    "loaders": {"families", "base"},
    "sampling": {"families", "base"},
    "media": set(),
    "families": {"base"},
    "base": set(),
}
HOST_MODULES = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_execution", "comfy_extras", "folder_paths"}
HOST_MODULES |= {"execution", "latent_preview", "server"}
BANNED_MODULES = {
    "ctypes",
    "dill",
    "http",
    "httpx",
    "huggingface_hub",
    "joblib",
    "marshal",
    "multiprocessing",
    "pickle",
}
BANNED_MODULES |= {"pty", "requests", "shelve", "socket", "subprocess", "urllib", "urllib3", "webbrowser"}
BANNED_NAMES = {"eval", "exec", "os.environ", "os.environb", "os.getenv", "os.popen", "os.putenv", "os.system"}
BANNED_NAMES |= {"torch.load"}
LATE_MODULES = {"accelerate", "av", "diffusers", "matplotlib", "peft", "safetensors", "tokenizers", "transformers"}


def violations(root: Path) -> list[str]:
    """Every breach of the rules above in the rooms below `root`, as "file:line: what"."""
    found = []
    for room in MAY_IMPORT:
        for path in sorted((root / room).rglob("*.py")):
            file = path.relative_to(root)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            late = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
            for node in ast.walk(tree):
                found += [f"{file}:{node.lineno}: {what}" for what in _faults(node, file, room, id(node) in late)]
    return found


def _faults(node: ast.AST, file: Path, room: str, is_late: bool) -> Iterator[str]:
    for target in _relative_targets(node, file):
        if target != room and target not in MAY_IMPORT[room]:
            yield f"{room} may not import {target or 'the root'}"
    for module in _absolute_modules(node):
        if module in HOST_MODULES and not file.is_relative_to(Path("host/comfyui")):
            yield f"only host/comfyui may import {module}"
        if module in MAY_IMPORT or module in ("opent2v", "training", "scripts"):
            yield f"{module} is imported absolutely"
        if module in BANNED_MODULES:
            yield f"{module} is banned"
        if module in LATE_MODULES and not is_late:
            yield f"{module} is imported at module level"
    if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in BANNED_NAMES:
        yield f"{ast.unparse(node)} is banned"


def _relative_targets(node: ast.AST, file: Path) -> Iterator[str]:
    """The rooms that a relative import reaches; "" is the root itself."""
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return
    base = file.parent.parts[: len(file.parent.parts) - (node.level - 1)]
    base += tuple((node.module or "").split(".")) if node.module else ()
    for alias in node.names:
        yield (base or (alias.name if (ROOT / alias.name).is_dir() else "",))[0]


def _absolute_modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield (node.module or "").split(".")[0]


def test_the_rooms_keep_the_rules():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("families/wan.py", "from ..loaders import open_folder", "families may not import loaders"),
        ("base/keys.py", "from ..families import families", "base may not import families"),
        ("headless/runner.py", "from ..nodes import load", "headless may not import nodes"),
        ("media/writer.py", "from ..base import Geometry", "media may not import base"),
        ("loaders/folder.py", "from .. import host", "loaders may not import host"),
        ("media/writer.py", "from ..sampling import solve", "media may not import sampling"),
        ("sampling/solve.py", "def f():\n    from ..media import VideoWriter", "sampling may not import media"),
        ("sampling/calibration/record.py", "from ...nodes import load", "sampling may not import nodes"),
        ("sampling/calibration/profile.py", "import pickle", "pickle is banned"),
        ("sampling/caches/gate.py", "from ...host import leaves", "sampling may not import host"),
        ("families/text/t5.py", "from ...loaders import open_folder", "families may not import loaders"),
        ("families/text/llama.py", "import transformers", "transformers is imported at module level"),
        ("host/embedded/sample.py", "from ...nodes import load", "host may not import nodes"),
        ("host/leaves.py", "from ..loaders import DTYPES", "host may not import loaders"),
        ("nodes/load.py", "from .. import NODE_CLASS_MAPPINGS", "nodes may not import the root"),
        ("nodes/load.py", "from ..training import world", "nodes may not import training"),
        ("finetune/loop.py", "from ..nodes import load", "finetune may not import nodes"),
        ("finetune/adapter.py", "import peft", "peft is imported at module level"),
        ("nodes/load.py", "def f():\n    import comfy.sd", "only host/comfyui may import comfy"),
        ("host/embedded/model.py", "import folder_paths", "only host/comfyui may import folder_paths"),
        ("nodes/load.py", "from loaders import DTYPES", "loaders is imported absolutely"),
        ("loaders/header.py", "import pickle", "pickle is banned"),
        ("loaders/containers/safetensors.py", "import safetensors", "safetensors is imported at module level"),
        ("loaders/containers/safetensors.py", "from ...sampling import solve", "loaders may not import sampling"),
        ("loaders/quantised/layer.py", "import comfy.ops", "only host/comfyui may import comfy"),
        ("loaders/quantised/scaled_fp8.py", "from ...host import leaves", "loaders may not import host"),
        ("media/writer.py", "from subprocess import run", "subprocess is banned"),
        ("loaders/header.py", "import os\nx = os.environ.get('HOME')", "os.environ is banned"),
        ("base/family.py", "x = eval('1')", "eval is banned"),
        ("loaders/weights.py", "import torch\nx = torch.load", "torch.load is banned"),
        ("families/wan.py", "import diffusers", "diffusers is imported at module level"),
        ("loaders/weights.py", "if True:\n    from transformers import T5Config", "transformers is imported at module"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, file, line, said):
    room = file.split("/")[0]
    shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / file, "a", encoding="utf-8") as planted:
        planted.write(f"\n{line}\n")
    found = violations(tmp_path)
    assert len(found) == 1, found
    assert found[0].startswith(str(Path(file))) and said in found[0]
