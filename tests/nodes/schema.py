"""What saved workflows rely on in every node, as plain data, and which changes of it break them.

Not a test. `python3 tests/nodes/schema.py` writes the nodes of today to schema.json, unless that would break saved
workflows; `--break` writes it all the same (a new major version).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("schema.json")
# Texts may change freely.
TEXTS = {"tooltip", "placeholder", "display", "advanced"}
# Inputs whose choices are whatever lies in the user's folders.
_LORAS = {"lora", "lora_low_noise", *(f"lora_{n}" for n in range(1, 6))}
FROM_FOLDERS = {"data", "preset", "model", "file", "file_2", *_LORAS}
KEEP = "Saved workflows rely on it: keep it as it was"
NEW_INPUT = 'a new input goes to the end of "optional", with a default that keeps the old behaviour'


def schema(classes: Mapping[str, Any]) -> dict[str, Any]:
    """Node id -> {"inputs": [...], "outputs": [...]}, in the order in which values and links are saved."""
    return {node_id: {"inputs": list(_inputs(cls)), "outputs": list(_outputs(cls))} for node_id, cls in classes.items()}


def _inputs(cls: Any) -> Iterator[dict[str, Any]]:
    declared = cls.INPUT_TYPES()
    for part in ("required", "optional"):
        for name, (kind, *rest) in declared.get(part, {}).items():
            options = {key: value for key, value in (rest[0] if rest else {}).items() if key not in TEXTS}
            entry = {"name": name, "is_required": part == "required"}
            if isinstance(kind, list):
                entry |= {"type": "COMBO"} if name in FROM_FOLDERS else {"type": "COMBO", "choices": kind}
                if name in FROM_FOLDERS:
                    options.pop("default", None)
            else:
                entry["type"] = kind
            yield entry | options


def _outputs(cls: Any) -> Iterator[dict[str, Any]]:
    names = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
    for kind, name in zip(cls.RETURN_TYPES, names, strict=True):
        yield {"name": name, "type": kind}


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Every change from `old` to `new` that is not a mere addition at the end: what it is, and how to do it right."""
    found = []
    for node_id, before in old.items():
        after = new.get(node_id)
        if after is None:
            found.append(f"{node_id} is gone. {KEEP}, marked DEPRECATED, for one major version at least.")
            continue
        found += [f"{node_id}: {what}" for what in _input_breaks(before["inputs"], after["inputs"])]
        found += [f"{node_id}: {what}" for what in _output_breaks(before["outputs"], after["outputs"])]
    return found


def _input_breaks(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    for n, before in enumerate(old):
        name, after = before["name"], new[n] if n < len(new) else None
        if after is None or after["name"] != name:
            instead = "missing" if after is None else f"{after['name']!r}"
            yield (
                f"input {n + 1} was {name!r} and is {instead} now. Values are saved by position: keep names and order; "
                f"{NEW_INPUT}."
            )
            return  # whatever follows is shifted
        for key in dict.fromkeys([*before, *after]):
            was, now = before.get(key), after.get(key)
            if was == now or (key == "choices" and now is not None and now[: len(was or [])] == was):
                continue
            yield f"input {name!r}: {key} was {was!r} and is {now!r} now. {_advice(key)}"
    for added in new[len(old) :]:
        if added["is_required"]:
            yield f"the new input {added['name']!r} is required, so saved workflows lack it: {NEW_INPUT}."


def _output_breaks(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    for n, before in enumerate(old):
        after = new[n] if n < len(new) else None
        if after != before:
            yield f"output {n + 1} was {before} and is {after} now. Links are saved by position: append new outputs."


def _advice(key: str) -> str:
    if key == "choices":
        return f"{KEEP}, in its order, and append new choices."
    if key in ("min", "max", "step", "round"):
        return f"{KEEP}; where the range only became wider, record it: python3 tests/nodes/schema.py --break"
    if key == "default":
        return f"{KEEP}; for another default make a new node or a major version."
    return f"{KEEP}; {NEW_INPUT}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--break", action="store_true", dest="breaks", help="write what breaks saved workflows")
    may_break = parser.parse_args().breaks
    sys.path.insert(0, str(FILE.parents[2] / "scripts"))
    import pack

    pack.hide_scripts()
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FILE.parent]
    pack.mount()
    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    today = schema(NODE_CLASS_MAPPINGS)
    broken = breaks(json.loads(FILE.read_text(encoding="utf-8")), today) if FILE.is_file() else []
    print(*broken, sep="\n", end="\n" if broken else "")
    if broken and not may_break:
        print(f"{FILE.name} stays as it was; --break writes it all the same")
        return 1
    FILE.write_text(json.dumps(today, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{FILE} has {len(today)} nodes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
