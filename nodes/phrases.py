"""Parts of prompts: words from data files, wildcards, and how parts become a sentence."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..host import host
from ..media.encoding import EncodingError, encoding_of

LANGUAGES = {"English": "en", "中文": "zh"}
GROUPS = ("style", "camera", "light")
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}|__([\w./ -]+?)__")
# A wildcard's file may hold wildcards; this deep, it holds itself.
_DEEPEST = 20


class PhraseError(ValueError):
    """A data file or a wildcard that cannot be used; the message names it."""


def user_folder() -> Path:
    """Where people put words and wildcards of their own: prompts/ in the input folder."""
    return host.file_folders()["input"] / "prompts"


def words(group: str) -> dict[str, dict[str, str]]:
    """Name -> {"en": ..., "zh": ...} of a group; those of the user's words.json are added and come first.

    Raises:
        PhraseError: the user's file cannot be used.
    """
    path = user_folder() / "words.json"
    own_words = _user_words(path).get(group, {}) if path.is_file() else {}
    return {**own_words, **_bundled("words")[group]}


def advice() -> dict[str, dict[str, Any]]:
    """Family -> what its makers say of prompts: form, least and most words, a hint in each language, source, examples.

    An example has a name, a prompt, whether it "works" and why, in each language.
    """
    return _bundled("families")


@cache
def _bundled(name: str) -> dict[str, Any]:
    path = host.model_roots("prompts")[0] / "opent2v" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _user_words(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        data = json.loads(path.read_text(encoding=encoding_of(path)))
        if not isinstance(data, dict):
            raise ValueError(f"it holds {type(data).__name__} data")
        groups = {group: {name: _both(entry) for name, entry in data[group].items()} for group in data}
        unknown = [group for group in groups if group not in GROUPS]
    except (OSError, EncodingError, ValueError, AttributeError, TypeError) as error:
        raise PhraseError(
            f'{path} cannot be used ({error}); expected {{"camera": {{"name": {{"en": "words", "zh": "words"}}}}}}.'
        ) from None
    if unknown:
        raise PhraseError(f"{path} has the group {unknown[0]!r}; expected {', '.join(GROUPS)}.")
    return groups


def _both(entry: Any) -> dict[str, str]:
    """{"en", "zh"} of an entry; a plain text, or one language alone, stands for both."""
    texts = {"en": entry} if isinstance(entry, str) else dict(entry)
    if not texts or not all(isinstance(text, str) and key in ("en", "zh") for key, text in texts.items()):
        raise ValueError(f"{str(entry)[:40]!r} is no text in en or zh")
    return {key: texts.get(key) or next(iter(texts.values())) for key in ("en", "zh")}


def drawn(text: str, dice: random.Random, depth: int = 0) -> str:
    """The text with each {a|b} and __name__ replaced by one of its values, which the dice decide.

    __name__ is a line of prompts/name.txt in the input folder. Values may hold wildcards themselves.

    Raises:
        PhraseError: no such file, or one that holds itself.

    >>> drawn("a {red|red} ball", random.Random(1))
    'a red ball'
    """
    if depth > _DEEPEST:
        raise PhraseError(f"The wildcards in {text[:60]!r} hold each other without an end; remove one of them.")

    def value(match: re.Match[str]) -> str:
        choices = match[1].split("|") if match[1] is not None else _lines(match[2])
        return drawn(dice.choice(choices).strip(), dice, depth + 1)

    replaced = _CHOICE.sub(value, text)
    # {a {b|c}|d}: the inner one is replaced first, the outer one in the next round.
    return replaced if replaced == text else drawn(replaced, dice, depth + 1)


def _lines(name: str) -> list[str]:
    folder = user_folder()
    path = folder / f"{name}.txt"
    if ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise PhraseError(f"The wildcard __{name}__ leads out of {folder}; name a file inside it.")
    try:
        lines = [line.strip() for line in path.read_text(encoding=encoding_of(path)).splitlines()]
    except FileNotFoundError:
        raise PhraseError(f"The wildcard __{name}__ needs the file {path}, with a value on each line.") from None
    except (OSError, EncodingError, UnicodeDecodeError) as error:
        raise PhraseError(f"The wildcard __{name}__ cannot be read: {error}") from None
    filled = [line for line in lines if line and not line.startswith("#")]
    if not filled:
        raise PhraseError(f"The wildcard __{name}__ has no lines in {path}; write a value on each.")
    return filled


def composed(parts: Mapping[str, str], language: str, form: str) -> str:
    """Parts as one prompt.

    Args:
        parts: "subject", "action", "environment", "style", "camera", "light"; empty ones are left out.
        language: "en" or "zh".
        form: "sentences", "tags" (one after another, with commas) or "plain" (the scene alone, nothing of how it is
            filmed).
    """
    cleaned = {name: " ".join(text.split()).strip(" .。,，") for name, text in parts.items()}
    scene = [cleaned.get(name, "") for name in ("subject", "action", "environment")]
    filming = [cleaned.get(name, "") for name in ("camera", "light", "style")]
    if form == "tags":
        return ("，" if language == "zh" else ", ").join(part for part in (*scene, *filming) if part)
    if language == "zh":
        first = "，".join(part for part in ("".join(scene[:2]), scene[2]) if part)
        kept = [first] if form == "plain" else [first, *filming]
        return "".join(f"{part}。" for part in kept if part) if form == "sentences" else first
    first = " ".join(part for part in scene if part)
    if form == "plain":
        return first
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in (first, *filming) if part)


def word_count(text: str) -> int:
    """Words; each Chinese sign counts as two thirds of one."""
    signs = len(re.findall(r"[\u3400-\u9fff]", text))
    return len(re.findall(r"[A-Za-z0-9'’-]+", text)) + round(signs * 2 / 3)
