"""Rows of tables as spreadsheets, editors and people write them. Tests: media/rows.py, media/encoding.py"""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from opent2v.media.encoding import encoding_of
from opent2v.media.rows import Table, TableError

TEXT = "prompt,seed\r\n一只猫在草地上奔跑,1\r\n\r\n一只狗在海边散步,2\r\n"


def table(tmp_path, content, name="rows.csv", encoding=None):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Table(path, encoding)


def cells(*arguments, **options):
    return [row.cells for row in table(*arguments, **options).rows()]


def problems(*arguments):
    return {row.number: (row.line, row.problem) for row in table(*arguments).rows() if row.problem}


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("gbk", "gb18030"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
def test_encodings_of_spreadsheets(tmp_path, encoding, name):
    content = TEXT.encode(encoding)
    assert cells(tmp_path, content) == [
        {"prompt": "一只猫在草地上奔跑", "seed": "1"},
        {"prompt": "一只狗在海边散步", "seed": "2"},
    ]
    assert encoding_of(tmp_path / "rows.csv") == name


@pytest.mark.parametrize("text", ["café au lait", "été à la plage", "Müller grüßt"])
def test_accents_of_an_older_excel_are_not_taken_for_chinese(tmp_path, text):
    content = f"prompt\na cat\n{text}\n".encode("cp1252")
    with pytest.raises(TableError, match=r"rows.csv is neither UTF-8 nor GBK nor UTF-16 \(line 3\).*'CSV UTF-8'"):
        table(tmp_path, content)
    assert cells(tmp_path, content, encoding="cp1252")[1] == {"prompt": text}


def test_one_broken_byte_far_behind_the_start(tmp_path):
    content = b"prompt\n" + b"a cat on a mat\n" * 200_000 + b"\xff\xfe\n"
    with pytest.raises(TableError, match=r"\(line 200002\)"):
        table(tmp_path, content)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters(tmp_path, mark):
    content = f'prompt{mark}seed\n"a cat, a dog; both"{mark}7\n'
    assert cells(tmp_path, content) == [{"prompt": "a cat, a dog; both", "seed": "7"}]


def test_excels_own_line_about_the_delimiter(tmp_path):
    rows = list(table(tmp_path, "sep=;\nprompt;seed\na, b;1\n").rows())
    assert rows[0].cells == {"prompt": "a, b", "seed": "1"} and rows[0].line == 3


def test_quotes_and_lines_within_cells(tmp_path):
    rows = list(table(tmp_path, 'prompt,seed\n"a ""big"" cat\nruns",1\na dog,2\n').rows())
    assert rows[0].cells["prompt"] == 'a "big" cat\nruns'
    assert (rows[1].number, rows[1].line) == (2, 4)


def test_rows_that_cannot_be_right_are_told_and_the_rest_is_read(tmp_path):
    content = 'prompt,seed\na cat,1\na cat, black,2\nalone\n"open "x,3\n=A1&B1,4\n#REF!,5\nlast,6\n'
    told = problems(tmp_path, content)
    assert set(told) == {2, 3, 4, 5, 6}
    assert told[2] == (3, "it has 3 cells, the header 2; put a text that holds ',' in quotes")
    assert told[3] == (4, "it has 1 cells, the header 2; a cell is missing")
    assert told[4][0] == 5 and "the quotes do not fit" in told[4][1]
    assert told[5][1] == "prompt is the formula '=A1&B1'; save the table with values"
    assert told[6][1].startswith("prompt is #REF!, a formula without a result")
    assert cells(tmp_path, content)[-1] == {"prompt": "last", "seed": "6"}


def test_a_quote_that_is_never_closed(tmp_path):
    told = problems(tmp_path, 'prompt,seed\n"a cat,1\na dog,2\n')
    assert list(told) == [1] and "lines 2 to 3: the quotes do not fit" in told[1][1]


def test_empty_cells_rows_and_columns_at_the_end(tmp_path):
    assert cells(tmp_path, "prompt,seed,,\na cat,,,\n,,,\n\n") == [{"prompt": "a cat"}]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "rows.csv", "rows.csv is empty; expected a header"),
        ("a,a\n", "rows.csv", "two columns are called 'a'"),
        ("a,,b\n1,2,3\n", "rows.csv", "column 2 has no name"),
        (b"PK\x03\x04", "rows.xlsx", "rows.xlsx is a spreadsheet; save it as 'CSV UTF-8'"),
        (b"\x00\x01\x02\x00\x00", "rows.csv", "holds zero bytes"),
        ("[1, 2]", "rows.json", "one JSON list; expected JSON lines"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, name, message):
    with pytest.raises(TableError, match=message):
        table(tmp_path, content, name)


def test_a_file_that_is_not_there_and_an_encoding_that_is_none(tmp_path):
    with pytest.raises(TableError, match="does not exist; expected a file of rows"):
        Table(tmp_path / "no.csv")
    with pytest.raises(TableError, match="'klingon' is no encoding"):
        table(tmp_path, "a\n1\n", encoding="klingon")


def test_json_lines(tmp_path):
    content = '{"prompt": "a cat", "seed": 1, "cfg": 2.5, "sound": true, "negative": null}\n\n{"seed": [1]}\n{"a"\n3\n'
    rows = list(table(tmp_path, content, "rows.jsonl").rows())
    assert rows[0].cells == {"prompt": "a cat", "seed": "1", "cfg": "2.5", "sound": "true"}
    assert rows[1].problem == "seed is list data; expected a text, a number, true or false" and rows[1].line == 3
    assert rows[2].problem.startswith("it is not JSON (column ")
    assert rows[3].problem == "it holds int data; expected an object, {...}"


@pytest.mark.slow
def test_a_million_rows_one_at_a_time(tmp_path):
    path = tmp_path / "rows.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("prompt,seed\n")
        file.writelines(f'"a cat, number {number}",{number}\n' for number in range(1_000_000))
    assert sum(int(row.cells["seed"]) for row in Table(path).rows()) == 999_999 * 500_000
    rows = Table(path).rows()
    tracemalloc.start()
    for _ in itertools.islice(rows, 20_000):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
