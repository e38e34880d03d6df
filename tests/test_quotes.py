"""Messages that help pages quote are the code's, and on Chinese pages the catalogue's, with the English behind them.

A Chinese page has both, as a person sees the one on the page and the other in the log: `中文`（`English`）.

Tests: web/docs, docs/models.md, docs/models.zh.md, base/catalogue.py
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from opent2v.base.catalogue import Catalogue, catalogue, translated
from opent2v.nodes import NODE_CLASS_MAPPINGS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("nodes", "headless", "finetune", "loaders", "families", "base", "sampling", "media", "host")
LANGUAGES = ("en", "zh")
HELP = ROOT / "web" / "docs"
PAGES = [(path, "en") for path in sorted(HELP.glob("*.md"))] + [(path, "zh") for path in sorted(HELP.glob("*/zh.md"))]
MODELS = [(ROOT / "docs" / "models.md", "en"), (ROOT / "docs" / "models.zh.md", "zh")]
CHINESE_PAGES = [*sorted(HELP.glob("*/zh.md")), *sorted((ROOT / "docs").glob("*.zh.md"))]
# Last of a page's parts, whose table begins with messages.
MESSAGES = re.compile(r"^## (?:Common mistakes|常见错误|What is often said|常见提示)\n(.*)", re.MULTILINE | re.DOTALL)
HAN = re.compile("[\u4e00-\u9fff]")
QUOTE = re.compile("`([^`]+)`")
# A note may stand behind the English.
BOTH = re.compile("`([^`]*[\u4e00-\u9fff][^`]*)`（`([^`\u4e00-\u9fff]+)`[^`）]*）")
# What a person types or chooses, in either language: no message, though a part of some message may read the same.
TYPED = {
    "as the model likes", "1 until 50 %, then 0", "0 until 20 %, 1 until 80 %, then 0.5",
    "Negative prompt: blurry, noisy, flicker", "一个黄色的星星在天蓝色背景上旋转", "一只{红色|白色}的狐狸",
    "在深雪中奔跑", "白桦林里", "中文", "prompts/presets/名称.json",
    '{"camera": {"whip pan": {"en": "Fast whip pan", "zh": "快速甩镜"}}, "style": {"mine": "in my style"}}',
    r"3 秒 \| 一颗红星升起 \| 种子 5 \| lora style.safetensors 0.8 \| 图片 first.png \| 淡入 8 帧",
    "3 秒", "49 帧", "淡入", "衔接", "硬切", "%视频采样器.seed%",
}  # fmt: skip


def name(value: Path | str) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else value


def quoted(path: Path) -> list[str]:
    """The English messages of a page's table: each one in its rows' first cells."""
    part = MESSAGES.search(path.read_text(encoding="utf-8"))
    assert part, f"{name(path)} has no table of messages"
    cells = re.findall(r"^\| (`.*?) \| ", part[1], flags=re.MULTILINE)
    return [quote for cell in cells for quote in QUOTE.findall(BOTH.sub(r"`\2`", cell))]


def without_code(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def pieces(quote: str) -> list[str]:
    """… stands for what the code fills in, and for what the page leaves out."""
    return [piece for part in quote.split("…") if (piece := part.strip(" .,:;/()，。：；（）"))]


@pytest.fixture(scope="module")
def code_texts() -> list[str]:
    """Every text constant of the rooms: the fixed pieces of all messages."""
    found = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found += [n.value for n in tree if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return found


@pytest.mark.parametrize(("path", "language"), [*PAGES, *MODELS], ids=name)
def test_quoted_messages_are_in_the_code(path: Path, language: str, code_texts: list[str]) -> None:
    """Each piece of a quote must be a piece of one of the code's texts."""
    messages = quoted(path)
    assert messages
    for message in messages:
        if (path, language) in PAGES:
            assert max(map(len, pieces(message))) > 10, f"{message!r} quotes too little"
        for piece in pieces(message):
            assert any(piece in text for text in code_texts), f"no text in the code holds {piece!r}, of {message!r}"


# Modules whose remarks and refusals are read beside a run of few steps; of some, one function.
REMARKS = {
    "base/few_steps.py": "remark", "base/strengths.py": "", "sampling/few_steps.py": "", "sampling/strengths.py": "",
    "nodes/few_steps.py": "", "nodes/lora_pairs.py": "partner_file", "loaders/lora/origin.py": "step_remark",
}  # fmt: skip


def sentences(path: str, function: str) -> list[list[str]]:
    """Of each text that the code fills in, its fixed pieces, sentence by sentence, without short ones."""
    tree: ast.AST = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    if function:
        tree = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
    filled = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = [
                part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            pieces = [piece.strip(" .,:;/()") for text in fixed for piece in text.split(". ")]
            filled.append([piece for piece in pieces if len(piece) > 14])
    return [pieces for pieces in filled if pieces]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", REMARKS)
def test_every_remark_on_few_steps_is_quoted(path: str, language: str) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path, other in PAGES if other == language)
    remarks = sentences(path, REMARKS[path])
    assert remarks
    assert [pieces for pieces in remarks if not any(piece in pages for piece in pieces)] == []


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_both_languages_quote_the_same_messages(node: str) -> None:
    assert quoted(HELP / f"{node}.md") == quoted(HELP / node / "zh.md")


@cache
def chinese() -> Catalogue:
    messages = catalogue("zh")
    assert messages
    return messages


def holds(message: str, quote: str) -> bool:
    """The pieces of the quote are pieces of the message between its fields, in their order.

    A quote without … in front begins where a part of the message does.
    """
    return pattern(quote).search(without_fields(message)) is not None


@cache
def pattern(quote: str) -> re.Pattern[str]:
    begin = "" if quote.startswith("…") else r"(?:^|(?<=[\s\0.:;,(。：；，（“]))"
    return re.compile(begin + ".*?".join(map(re.escape, pieces(quote))), re.DOTALL)


@cache
def without_fields(message: str) -> str:
    return re.sub(r"\{[A-Za-z_]\w*\}", "\0", message)


def is_translation(chinese_quote: str, english: str) -> bool:
    """The catalogue says the one for the other: as they stand with their values, or piece by piece."""
    if translated(english, "zh") == chinese_quote:
        return True
    entries = list(chinese().messages.items())
    if whole := [other for message, other in entries if holds(message, english)]:
        return any(holds(other, chinese_quote) for other in whole)
    # Messages whose fields hold others: each piece of both quotes is of a message that the other has a piece of, too.
    entries += [pair for words in chinese().words.values() for pair in words.items()]
    ours = [
        (message, other)
        for message, other in entries
        if any(len(piece) > 3 and holds(message, piece) for piece in pieces(english))
        and any(len(piece) > 1 and holds(other, piece) for piece in pieces(chinese_quote))
    ]
    return all(any(holds(other, piece) for _, other in ours) for piece in pieces(chinese_quote)) and all(
        any(holds(message, piece) for message, _ in ours) for piece in pieces(english)
    )


@pytest.mark.parametrize(
    ("chinese_quote", "english", "is_one"),
    [
        ("提示词为空：视频会随意生成。", "The prompt is empty: the video will show anything.", True),
        ("提示词为空：视频会随意播放。", "The prompt is empty: the video will show anything.", False),
        ("3.9 秒声音，97 个 latent 中的 97 个", "3.9 s of sound, 97 of 97 latents", True),
        ("3.9 秒声音，97 个 latent 中的 96 个", "3.9 s of sound, 97 of 97 latents", False),
        ("无法保存到 …：磁盘已满。", "Cannot save to …: the disk is full.", True),
        ("无法保存到 …：没有写入权限。", "Cannot save to …: the disk is full.", False),
        ("文件 … 不存在（或已不在）。…", "The model folder … is not there (any more).", False),
    ],
)
def test_what_is_a_translation(chinese_quote: str, english: str, is_one: bool) -> None:
    assert is_translation(chinese_quote, english) is is_one


@pytest.mark.parametrize("path", CHINESE_PAGES, ids=name)
def test_chinese_quotes_are_the_catalogues(path: Path) -> None:
    text = without_code(path)
    assert [pair for pair in BOTH.findall(text) if not is_translation(*pair)] == []
    alone = [quote for quote in QUOTE.findall(BOTH.sub("", text)) if HAN.search(quote) and quote not in TYPED]
    assert alone == [], "write the English behind it, as `中文`（`English`）, or name it in TYPED if it is no message"


@pytest.mark.parametrize("path", CHINESE_PAGES, ids=name)
def test_english_quotes_have_their_chinese_beside_them(path: Path) -> None:
    text = BOTH.sub("", without_code(path))
    part = MESSAGES.search(text)
    rows = re.findall(r"^\| `[^`]+`.*", part[1], flags=re.MULTILINE) if part else []
    assert rows == [], "a message of the table stands in English alone"
    quotes = [" ".join(quote.split()) for quote in QUOTE.findall(text)]
    messages = [quote for quote in quotes if len(quote.split()) > 2 and quote not in TYPED]
    assert [quote for quote in messages if translated(quote, "zh") != quote] == []
