"""The Manager's static scan of the whole repository, tests too, finds every node and nothing else.

The map of nodes that "Install Missing Custom Nodes" uses is made by such a scan; the patterns are those of its
scanner.py of August 2026, in our own words.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from opent2v.nodes import NODE_CLASS_MAPPINGS

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "NODE_CONFIG")
# A dictionary after "..._CLASS_MAPPINGS =", wherever it stands, even in a text or a comment.
DISPLAY = re.compile(r"_CLASS_MAPPINGS\s*(?::\s*\w+\s*)?=\s*{([^}]*)}")
KEY = re.compile(r"""["']([^"']*)["']\s*:""")
ITEM = re.compile(r"""^[^=\n]*_CLASS_MAPPINGS\[["'](.*?)["']\]\s*=""", re.MULTILINE)
REGISTERED = re.compile(r"""@register_node\("(.+?)",|"(\w+)"\s*:\s*{"class":\s*\w+""")


def scan(source: str) -> set[str]:
    """Node ids that a file seems to define."""
    found = {key for written in DISPLAY.findall(source) for key in KEY.findall(written)}
    found |= set(ITEM.findall(source)) | {name for pair in REGISTERED.findall(source) for name in pair if name}
    tree = ast.parse(source)
    for node in tree.body:
        names = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = node.value if names else None
        if isinstance(value, ast.Dict) and any(isinstance(name, ast.Name) and name.id in NAMES for name in names):
            found |= {key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("ComfyNode") for base in node.bases):
            ids = [
                k.value
                for call in ast.walk(node)
                if isinstance(call, ast.Call)
                for k in call.keywords
                if k.arg == "node_id"
            ]
            found |= {one.value if isinstance(one, ast.Constant) else node.name for one in ids}
    return found


def scan_all(root: Path) -> dict[str, list[str]]:
    """Node id -> the files that seem to define it."""
    found: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names) if name.endswith(".py")):
            for node_id in scan(path.read_text(encoding="utf-8", errors="ignore")):
                found.setdefault(node_id, []).append(path.relative_to(root).as_posix())
    return found


def test_the_scan_finds_every_node_once_and_no_other():
    assert scan_all(ROOT) == {name: ["nodes/__init__.py"] for name in NODE_CLASS_MAPPINGS}


def test_what_the_scan_sees(tmp_path):
    name = "NODE_CLASS_MAPPINGS"  # not written next to a "=" here: this file is scanned too
    for n, source in enumerate(
        (
            f"{name} = {{'A': Load}}",
            f"{name}: dict = {{'B': Load}}",
            f"def f():\n    {name} = {{'C': Load}}",
            f"{name}['D'] = Load",
            "class E(io.ComfyNode):\n    def define_schema(cls):\n        return io.Schema(node_id='E1')",
            f"{name}, OTHER = CLASSES, TITLES",
        )
    ):
        (tmp_path / f"{n}.py").write_text(source)
    assert scan_all(tmp_path) == {name: [f"{n}.py"] for n, name in enumerate(("A", "B", "C", "D", "E1"))}
