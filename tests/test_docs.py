"""What users read is complete, and says what the code says; the messages that it quotes: test_quotes.py."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from opent2v.families import families
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.training import captions, world

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "models" / "diffusers" / "opent2v-quickstart" / "README.md"
LANGUAGES = ("en", "zh")
# Heading of each part of a help page.
PARTS = {
    "en": ("Inputs", "Outputs", "Example", "Common mistakes"),
    "zh": ("输入", "输出", "示例", "常见错误"),
}
# The first rows of a help page's tables: the page's panel is so narrow that a third column lies outside.
INPUT_COLUMNS = {"en": "| Input | Effect | Values |", "zh": "| 输入 | 作用 | 取值 |"}
OUTPUT_COLUMNS = {"en": "| Output | What it is | Type |", "zh": "| 输出 | 说明 | 类型 |"}
# Choices that are whatever lies in the user's folders.
_LORAS = {"lora", "lora_low_noise", *(f"lora_{n}" for n in range(1, 6))}
FROM_FOLDERS = {"data", "preset", "model", "file", "file_2", *_LORAS}
PAGES = [(node, language) for node in NODE_CLASS_MAPPINGS for language in LANGUAGES]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    CARD,
    *sorted((ROOT / "web" / "docs").rglob("*.md")),
]


def help_page(node: str, language: str) -> Path:
    """Where ComfyUI's page looks: the language's own file first, the English one otherwise."""
    docs = ROOT / "web" / "docs"
    return docs / f"{node}.md" if language == "en" else docs / node / f"{language}.md"


def parts(text: str) -> dict[str, str]:
    """Text below each second-level heading."""
    pieces = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def first_column(table: str) -> list[str]:
    """What the rows of a table have as code at their start."""
    return re.findall(r"^\| `([^`]+)`", table, flags=re.MULTILINE)


def visible_inputs(node: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name -> (type or choices, options), in the order of the node."""
    declared = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    pairs = {**declared.get("required", {}), **declared.get("optional", {})}
    return {name: (spec[0], spec[1] if len(spec) > 1 else {}) for name, spec in pairs.items()}


def locale(language: str, name: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / f"{name}.json").read_text(encoding="utf-8"))


def texts(value: Any) -> list[str]:
    """Every text inside parsed JSON, keys left out."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    return [value]


@pytest.mark.parametrize(("node", "language"), PAGES)
def test_a_help_page_names_every_input_and_output(node: str, language: str) -> None:
    path = help_page(node, language)
    assert path.is_file(), f"{node} has no help page in {language}; write {path.relative_to(ROOT)}"
    text = path.read_text(encoding="utf-8")
    said = parts(text)
    assert tuple(said) == PARTS[language]
    inputs, outputs, example, _ = said.values()
    assert NODE_DISPLAY_NAME_MAPPINGS[node] in text.partition("\n")[0]
    assert INPUT_COLUMNS[language] in inputs and OUTPUT_COLUMNS[language] in outputs
    assert first_column(inputs) == list(visible_inputs(node))
    assert first_column(outputs) == list(NODE_CLASS_MAPPINGS[node].RETURN_NAMES)
    assert example.strip()


@pytest.mark.parametrize(("node", "language"), PAGES)
def test_a_help_page_names_every_fixed_choice(node: str, language: str) -> None:
    text = help_page(node, language).read_text(encoding="utf-8")
    for name, (kind, _) in visible_inputs(node).items():
        if isinstance(kind, list) and name not in FROM_FOLDERS:
            missing = [choice for choice in kind if f"`{choice}`" not in text]
            assert not missing, f"{name}: {', '.join(missing)}"


def test_the_english_locale_is_what_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    import locales

    assert locales.FILE.read_text(encoding="utf-8") == locales.text(), "run python3 scripts/make/locales.py"


def test_every_language_translates_every_text() -> None:
    def shape(value: Any) -> Any:
        return {key: shape(one) for key, one in value.items()} if isinstance(value, dict) else None

    english, chinese = (locale(one, "nodeDefs") for one in LANGUAGES)
    assert list(english) == list(NODE_CLASS_MAPPINGS)
    assert shape(chinese) == shape(english)
    for node, entry in chinese.items():
        for text in (entry["display_name"], entry["description"], *_tooltips(entry)):
            assert re.search(r"[\u4e00-\u9fff]", text), f"{node}: {text!r} is not translated"


def _tooltips(entry: dict[str, Any]) -> list[str]:
    both = [*entry["inputs"].values(), *entry["outputs"].values()]
    return [one["tooltip"] for one in both if "tooltip" in one]


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_are_translated(language: str) -> None:
    categories = {part for cls in NODE_CLASS_MAPPINGS.values() for part in cls.CATEGORY.split("/")}
    assert set(locale(language, "main")["nodeCategories"]) == categories


@pytest.mark.parametrize("language", LANGUAGES)
def test_locale_texts_hold_no_syntax_of_the_page(language: str) -> None:
    """The page's translation library reads { } as a placeholder, @ as a link and | as a plural."""
    for text in texts({name: locale(language, name) for name in ("nodeDefs", "main")}):
        assert text.strip() == text != ""
        assert not re.search(r"[{}@|]", text), text


def test_readme_names_every_node_and_family() -> None:
    said = parts((ROOT / "README.md").read_text(encoding="utf-8"))
    for node, title in NODE_DISPLAY_NAME_MAPPINGS.items():
        assert f"| {title} (`{node}`) |" in said["Nodes"]
        for language in LANGUAGES:
            assert f"({help_page(node, language).relative_to(ROOT).as_posix()})" in said["Nodes"]
    for family in families().values():
        assert f"\n| {family.title} |" in said["Models"], f"the models table has no row for {family.title}"


@pytest.mark.parametrize("page", ["models.md", "models.zh.md"])
def test_the_models_page_names_every_family_and_template_with_its_files(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for family in families().values():
        assert f"\n## {family.title}\n" in text
    for path in (ROOT / "workflows").glob("*.json"):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        links = [one for node in nodes for one in node["properties"].get("models", ())]
        assert not links or f"[{path.stem}](../workflows/{path.name})" in text
        for one in links:
            repository = "/".join(one["url"].split("/")[3:5])
            assert f"`{one['name']}`" in text and f"`models/{one['directory']}`" in text and repository in text


@pytest.mark.parametrize("script", ["quickstart", "run_workflow"])
def test_readme_names_every_option(script: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = (ROOT / "scripts" / f"{script}.py").read_text(encoding="utf-8")
    options = re.findall(r"add_argument\(\s*\"(--[a-z]+)\"", source)
    assert options
    assert [option for option in options if f"`{option}" not in readme] == []


def test_readme_and_card_state_the_bundled_models_own_values() -> None:
    own = json.loads((CARD.parent / "opent2v.json").read_text(encoding="utf-8"))
    line = (
        f"{own['width']} x {own['height']}{{}}, {own['frames']} frames at {own['fps']:g} fps, "
        f"{own['steps']} steps, cfg {own['guidance']:g}"
    )
    assert line.format("") in (ROOT / "README.md").read_text(encoding="utf-8")
    card = CARD.read_text(encoding="utf-8")
    assert line.format(" pixels") in card
    assert f"up to {own['max_tokens']} tokens" in card
    for negative in captions.NEGATIVE.values():
        assert f"`{negative}`" in card


def test_card_states_the_world() -> None:
    card = CARD.read_text(encoding="utf-8")
    rows = {"Shape": world.SHAPES, "Colour": world.COLOURS, "Background": world.BACKGROUNDS, "Motion": world.MOTIONS}
    for name, words in rows.items():
        assert f"| {name} | {', '.join(words)} |" in card
    trained, held_out = world.split()
    assert f"{len(trained) + len(held_out)} scenes" in card
    assert f"{len(trained)} were trained on; the {len(held_out)} with" in card


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = [heading.strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        assert not target or (path.parent / target).exists(), f"{link} leads nowhere"
        assert target or anchor in headings, f"{link}: no such heading"


def test_every_test_that_a_table_names_exists() -> None:
    defined = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.M))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "interoperates.md").read_text(encoding="utf-8"))
    assert len(named) > 40 and sorted(set(named) - defined) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_document_names_somebodys_machine(path: Path) -> None:
    place = re.compile(r"/(?:home|root|Users)/|[A-Z]:\\|~/|file://|localhost|127\.0\.0\.1")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if place.search(line)] == []
