"""Every sentence of the rooms has its translations, with the same values.

Tests: scripts/make/messages.py, scripts/make/sentences.py, scripts/make/fields.py
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from opent2v.base.catalogue import DOMAIN, FOLDER, Catalogue, catalogue, fields, read_po, translated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts" / "make"))
import messages  # pyright: ignore[reportMissingImports]
import sentences  # pyright: ignore[reportMissingImports]

sys.path.pop(0)
ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = sorted(path.name for path in FOLDER.iterdir() if (path / "LC_MESSAGES").is_dir())
# "s" of a plural, which Chinese has not.
ENDINGS = {"s", "s2", "s3"}


# Words of one field that are names all the same: of inputs, tensors, choices, libraries.
NAMES = {"scale", "weight", "image", "audio", "state", "optimizer", "cut", "quanto", "picture", "latents"}


@cache
def sentences_of_the_code() -> dict[tuple[str, str], list[str]]:
    return messages.messages()


def entries(language: str) -> dict[tuple[str, str], str]:
    file = FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    return {(where, english): other for where, english, other in read_po(file.read_text(encoding="utf-8")) if english}


def values_of(message: str) -> dict[str, str]:
    """A value for each field, that no message has in it; of two beside each other the second is empty."""
    names = re.findall(r"\{([A-Za-z_]\w*)\}", message)
    numbers = dict.fromkeys(("total", "width", "height", "across", "down", "number", "n", "used", "multiple"), "{}")
    forms = {"bytes_text": "{}.5 GiB", "list": "[{}]", "EXPERTS": "low noise", **numbers}
    values = {name: forms.get(name.rstrip("0123456789"), "⟨{}⟩").format(n) for n, name in enumerate(names)}
    return values | {name: "" for name in re.findall(r"\}\{(\w+)\}", message) if name not in numbers}


def test_the_languages():
    assert ["zh"] == LANGUAGES == list(messages.LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_holds_the_sentences_of_the_code_and_no_others(language):
    assert list(entries(language)) == list(sentences_of_the_code()), (
        "run python3 scripts/make/messages.py, and translate"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_translated(language):
    missing = [message for message, other in entries(language).items() if not other]
    assert missing == []
    # Names and words of models may stay; a sentence may not, nor a word that is no name.
    same = [message for message, other in entries(language).items() if message[1] == other]
    assert [english for _, english in same if re.search(r"^[A-Z{].*[a-z] [a-z].*\.$", english)] == []
    assert {english for where, english in same if where and "{" not in english} <= NAMES


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_sides_have_the_same_values(language):
    for (_, english), other in entries(language).items():
        assert fields(other) <= fields(english) and fields(english) - fields(other) <= ENDINGS, english


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_found_again_by_what_it_says(language):
    known = catalogue(language)
    assert isinstance(known, Catalogue)
    wrong = {}
    for english, other in known.messages.items():
        values = values_of(english)
        # Words of the sentence that stand in for a value are translated as well.
        expected = other.format(**{name: known.translate(value) for name, value in values.items()})
        if (translation := known.translate(english.format(**values))) != expected:
            wrong[english] = translation
    assert wrong == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_translated_where_it_stands(language):
    """Each sentence with each of the words, lists and parts that its fields may hold."""
    known = catalogue(language)
    assert isinstance(known, Catalogue)
    wrong, count, files = {}, 0, sentences_of_the_code()
    for english, other in known.messages.items():
        values = values_of(english)
        expected = {name: known.translate(value) for name, value in values.items()}
        for name in values.keys() - set(re.findall(r"(?<=\}\{)\w+|\w+(?=\}\{)", english)):
            where = name.rstrip("0123456789")
            for word, translation in known.words.get(where, {}).items():
                is_here = set(files["", english]) & set(files[where, word])
                if is_here and word[0].isalpha() and not fields(word):
                    count += 1
                    said = known.translate(english.format(**values | {name: word}))
                    if said != other.format(**expected | {name: translation}):
                        wrong[english, name, word] = said
    assert wrong == {} and count > 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_that_come_from_other_modules_are_in_the_code(language):
    files = [path for room in messages.ROOMS for path in (ROOT / room).rglob("*.py")]
    files += [ROOT / "scripts" / f"{script}.py" for script in messages.SCRIPTS]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for context, words in messages.FROM_ELSEWHERE.items():
        assert context == sentences.LABEL or f"{context}}}" in code or f".{context}" in code
        assert [word for word in words if f'"{word}"' not in code] == []


MADE_UP = {"sign": {",": ";;", ":": " ::", ".": " ."}, "which": {"first": "prima", "last": "ultima"}}


def test_a_further_language_is_one_file(tmp_path, monkeypatch):
    """What the script writes for a language that nobody has translated yet, filled in like a translator would."""
    pytest.importorskip("babel")
    monkeypatch.setattr("opent2v.base.catalogue.FOLDER", tmp_path)
    catalogue.cache_clear()
    file = tmp_path / "eo" / "LC_MESSAGES" / f"{DOMAIN}.po"
    file.parent.mkdir(parents=True)
    english_messages = sentences_of_the_code()
    file.write_bytes(messages.text("eo", english_messages, {}))
    assert messages.known(file) == dict.fromkeys(english_messages, "")
    assert translated("The prompt is empty: the video will show anything.", "eo").startswith("The prompt is empty")
    upper = {
        (where, english): MADE_UP.get(where, {}).get(english)
        or re.sub(r"\{\w+\}|[a-z]+", lambda word: word[0] if word[0].startswith("{") else word[0].upper(), english)
        for where, english in english_messages
    }
    file.write_bytes(messages.text("eo", english_messages, upper))
    catalogue.cache_clear()
    try:
        assert translated("clip.mp4 is a video: its last 5 of 9 frames are used.", "eo") == (
            "clip.mp4 IS A VIDEO: ITS ultima 5 OF 9 FRAMES ARE USED."
        )
        assert translated("20 steps, cfg 1", "eo-XX") == "20 STEPS;; CFG 1"
        # Only what the language's file says: no sign of another language.
        plain = [english for where, english in english_messages if not where and english.isascii()]
        assert "".join(translated(english, "eo") for english in plain).isascii()
    finally:
        catalogue.cache_clear()


def test_texts_that_nobody_reads_are_left_out():
    code = '''
"""A docstring with words."""
PATTERN = re.compile("two words|(?:three of them)")
class Node:
    DESCRIPTION = "the page translates this"
    @classmethod
    def INPUT_TYPES(cls):
        return {"x": ("INT", {"tooltip": "and this one"})}
def f(value):
    if "some words" in value:
        raise ValueError(f"{value.name} has {len(value)} frames{'s' if value else ''}: {value!r:>3}.")
    return "mp4 h264", "{} of {} read", {"tooltip": f"a {value} too"}
'''
    assert set(sentences.of_code(code)) == {"{name} has {value} frames{s}: {value2}.", "{value} of {value2} read"}


def test_words_are_followed_to_the_fields_that_hold_them():
    code = """
SIDES = {"left": "leftmost", "right": "rightmost"}
def f(which, names, low, high):
    side = SIDES["left"] if low else None
    span = f"{low:g} to {high:g}"
    for unit in ("frames", "pixels"):
        check(f"The {which} frame of the {side} clip: {', '.join(names) or 'none'} in {unit}, {span}.")
def g():
    f("last", [], 1, 2)
    return as_table([["speed", f"{x} dB"]])
"""
    assert set(sentences.words_of_code(code)) == {
        ("side", "leftmost"), ("side", "rightmost"), ("which", "last"), ("names", ", "), ("names", "none"),
        ("unit", "frames"), ("unit", "pixels"), ("span", "{low} to {high}"), ("label", "speed"),
    }  # fmt: skip
