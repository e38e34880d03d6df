"""Saved settings of Prompt Builder: the makers' examples, and the user's own in prompts/presets of the input folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..families import families
from .phrases import GROUPS, PhraseError, advice, user_folder

PARTS = ("subject", "action", "environment", *GROUPS)
_NAME = re.compile(r"[^\W_][\w .-]{0,79}")


def presets_folder() -> Path:
    """Where presets are saved; it may not exist yet."""
    return user_folder() / "presets"


def preset_names() -> list[str]:
    """The user's own, then the makers' examples ("Wan: boxing cats")."""
    return [*sorted(path.stem for path in presets_folder().glob("*.json")), *_examples()]


def read_preset(name: str) -> dict[str, str]:
    """The parts that a preset sets, as Prompt Builder's inputs name them.

    Raises:
        PhraseError: there is none of this name, or its file cannot be used.
    """
    examples = _examples()
    if name in examples:
        return {"subject": examples[name]}
    path = presets_folder() / f"{name}.json"
    if path.parent != presets_folder() or not path.is_file():
        raise PhraseError(f"There is no preset {name!r} (any more); choose another, or none.")
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(parts, dict) or not all(isinstance(text, str) for text in parts.values()):
            raise ValueError("it holds something else than texts")
        unknown = [part for part in parts if part not in PARTS]
        if unknown:
            raise ValueError(f"it has {unknown[0]!r}, expected {', '.join(PARTS)}")
    except (OSError, ValueError) as error:
        raise PhraseError(f"The preset {path} cannot be used: {error}.") from None
    return parts


def save_preset(name: str, parts: Mapping[str, str]) -> str:
    """Save parts as a preset; returns a remark.

    Raises:
        PhraseError: no fit name, another preset has it, or the folder cannot be written to.
    """
    if not _NAME.fullmatch(name) or name.endswith((" ", ".")):
        raise PhraseError(f"A preset cannot be called {name!r}: expected letters, digits, spaces, dots, - and _.")
    path, text = presets_folder() / f"{name}.json", json.dumps(dict(parts), ensure_ascii=False, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            if path.read_text(encoding="utf-8") != text:
                raise PhraseError(
                    f"There is a preset {name!r} with other parts already. Save under another name, or delete {path}."
                ) from None
    except OSError as error:
        raise PhraseError(f"The preset cannot be saved to {path}: {error.strerror or error}.") from error
    return f"Saved as preset {name!r}; press R to see it in the list."


def _examples() -> dict[str, str]:
    """Names and prompts of the examples that work."""
    titles = {"quickstart": "OpenT2V quickstart"} | {key: family.title for key, family in families().items()}
    return {
        f"{titles[key]}: {example['name']}": example["prompt"]
        for key, entry in advice().items()
        for example in entry.get("examples", ())
        if example["works"]
    }
