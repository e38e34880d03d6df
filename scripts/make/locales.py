"""Writes the English texts of the nodes, locales/en/nodeDefs.json, from their classes.

python3 scripts/make/locales.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack

FILE = pack.ROOT / "locales" / "en" / "nodeDefs.json"


def main() -> int:
    console.describe(__doc__)
    environment.ensure()
    pack.hide_scripts()
    pack.mount()
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
    return 0


def text() -> str:
    """The file of today's nodes."""
    from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS  # pyright: ignore[reportMissingImports]

    nodes = {name: entry(cls, NODE_DISPLAY_NAME_MAPPINGS[name]) for name, cls in NODE_CLASS_MAPPINGS.items()}
    return json.dumps(nodes, indent=2, ensure_ascii=False) + "\n"


def entry(cls: Any, title: str) -> dict[str, Any]:
    """What the page shows of a node: title, description, and the name and tooltip of each input and output."""
    declared = cls.INPUT_TYPES()
    inputs: dict[str, dict[str, str]] = {}
    for name, (_, *options) in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        inputs[name] = {"name": name, "tooltip": options[0]["tooltip"]}
        if options[0].get("control_after_generate"):
            inputs["control_after_generate"] = {"name": "control after generate"}
    outputs = zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS, strict=True)
    return {
        "display_name": title,
        "description": cls.DESCRIPTION,
        "inputs": inputs,
        "outputs": {str(n): {"name": name, "tooltip": tooltip} for n, (name, tooltip) in enumerate(outputs)},
    }


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
