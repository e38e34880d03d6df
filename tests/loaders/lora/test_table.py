"""The published table of LoRA formats says what the tests try, no more and no less. Tests: docs/interoperates.md"""

from __future__ import annotations

import pytest

from opent2v.tests.loaders.lora import table
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES
from opent2v.tests.loaders.lora.table import CELLS, CORE_CELLS, HOST_CELLS, NONE
from opent2v.tests.tiny import wan as tiny

PAGES = (tiny.ROOT / "README.md", *sorted((tiny.ROOT / "docs").rglob("*.md")))


def test_every_family_and_every_format_has_a_cell_or_a_reason():
    assert {family for family, _ in CELLS} == set(FAMILIES)
    assert {name for _, name in CELLS} == set(FORMATS)
    for name, fmt in FORMATS.items():
        for family in FAMILIES:
            written = not fmt.families or family in fmt.families
            assert ((family, name) in CELLS) == (written and (family, name) not in NONE)
    assert set(CORE_CELLS) <= set(CELLS)


def test_a_real_host_meets_every_family_and_every_format():
    assert {family for family, _ in HOST_CELLS} == set(FAMILIES) and {name for _, name in HOST_CELLS} == set(FORMATS)
    assert len(HOST_CELLS) == len(set(HOST_CELLS) & set(CELLS)) < len(CELLS) / 5


def test_the_published_table_is_this_one():
    """`python3 -m pytest tests/loaders/lora/test_table.py` shows the table where it is out of date."""
    title = table.markdown().splitlines()[0]
    pages = [page for page in PAGES if title in page.read_text(encoding="utf-8")]
    if not pages:
        pytest.skip("the table is not published yet")
    for page in pages:
        assert table.markdown() in page.read_text(encoding="utf-8"), f"{page.name}: expected\n{table.markdown()}"
