"""Writes the English half of the pack's messages, locales/LANGUAGE/LC_MESSAGES/opent2v.po, from the code.

python3 scripts/make/messages.py              # after a sentence was changed; says what has no translation yet

Translations stay with their sentences; those of sentences that are gone go with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack
from sentences import LABEL, SIGNS, Message, of_code, words_of_code

ROOMS = ("base", "families", "loaders", "sampling", "media", "host", "headless", "finetune", "nodes")
# Scripts whose sentences a person reads in a terminal. The service answers programs, in English.
SCRIPTS = (
    *("batch", "batch_ray", "batch_session", "comfyui_run", "comfyui_start", "console", "convert", "embedded_run"),
    *("environment", "quantise", "quantise_files", "quickstart", "run_workflow", "serve", "train_lora"),
)
LANGUAGES = ("zh",)
# Words of fields, and cells, that come from other modules: a layout's name, an expert's, measured numbers.
FROM_ELSEWHERE = {
    "layout": ("original",),
    "stored_as": ("; ",),
    "content": ("video", "sound"),
    "named": ("high", "low"),
    "expert": ("high", "low"),
    LABEL: (
        *("run", "motion", "rhythm", "verdict", "identical", "none", "computed", "speed", "off"),
        *("Interrupted.", "Stopping."),
        *("load", "encode", "sample", "decode", "save", "train"),
        *("frames", "latents", "sound", "reused", "red", "green", "blue", "contrast", "sharpness"),
    ),
}


def main() -> int:
    console.describe(__doc__)
    environment.ensure(("babel",))
    pack.hide_scripts()
    sentences = messages()
    for language in LANGUAGES:
        file = path(language)
        file.parent.mkdir(parents=True, exist_ok=True)
        before = known(file)
        file.write_bytes(text(language, sentences, before))
        missing = [message for message in sentences if not before.get(message)]
        print(f"{file}: {len(sentences)} sentences, {len(missing)} without a translation")
        for context, sentence in missing:
            print(f"  {sentences[context, sentence][0]}: {sentence}{context and f' (in {{{context}}})'}")
    return 0


def path(language: str) -> Path:
    return pack.ROOT / "locales" / language / "LC_MESSAGES" / "opent2v.po"


def known(file: Path) -> dict[Message, str]:
    """Message -> translation of a file; none where there is no file yet."""
    if not file.is_file():
        return {}
    from babel.messages.pofile import read_po

    with file.open("rb") as opened:
        return {(entry.context or "", str(entry.id)): str(entry.string) for entry in read_po(opened) if entry.id}


def text(language: str, sentences: dict[Message, list[str]], translations: dict[Message, str]) -> bytes:
    """The file of a language."""
    from io import BytesIO

    from babel.messages.catalog import Catalog
    from babel.messages.pofile import write_po

    catalog = Catalog(locale=language, project="OpenT2V", charset="utf-8", fuzzy=False)
    for (context, sentence), files in sentences.items():
        translation = translations.get((context, sentence), "")
        catalog.add(sentence, translation, locations=[(file, 0) for file in files], context=context or None)
    written = BytesIO()
    write_po(written, catalog, width=120, include_lineno=False, omit_header=True)
    header = f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    return header.encode() + written.getvalue()


def messages(root: Path = pack.ROOT) -> dict[Message, list[str]]:
    """Message with its {fields} -> the files that have it, of all rooms and of the scripts."""
    sentences: dict[Message, list[str]] = {("sign", sign): ["base/catalogue.py"] for sign in SIGNS}
    files = [file for room in ROOMS for file in sorted((root / room).rglob("*.py"))]
    files += [root / "scripts" / f"{script}.py" for script in SCRIPTS]
    for file in files:
        code = file.read_text(encoding="utf-8")
        for message in [*(("", sentence) for sentence in of_code(code)), *words_of_code(code)]:
            places = sentences.setdefault(message, [])
            if (name := file.relative_to(root).as_posix()) not in places:
                places.append(name)
    for context, words in FROM_ELSEWHERE.items():
        sentences |= {(context, word): ["scripts/make/messages.py"] for word in words}
    return sentences


if __name__ == "__main__":
    sys.exit(console.guard(main))
