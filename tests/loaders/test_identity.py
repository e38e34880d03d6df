"""A file that was replaced is told. Tests: loaders/identity.py"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from opent2v.loaders import files_identity


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(os.urandom(3_000_000))
    os.utime(path, ns=(10**18, 10**18))
    return path


def replaced(path, content):
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return files_identity([path])


def test_other_weights_of_the_same_name_size_and_time_are_other_files(file):
    before, content = files_identity([file]), file.read_bytes()
    assert replaced(file, os.urandom(len(content))) != before
    assert replaced(file, content) == before
    for place in (0, len(content) // 2, len(content) - 1):  # a stretch of 2 %, wherever it lies
        start = max(place - 60_000, 0)
        assert replaced(file, content[:start] + bytes(60_000) + content[start + 60_000 :]) != before


def test_time_size_facts_and_order_count_and_the_folder_does_not(file, tmp_path):
    before = files_identity([file], "bf16")
    assert files_identity([file], "fp32") != before and files_identity([file, file], "bf16") != before
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy2(file, tmp_path / "copy"))
    assert files_identity([copy], "bf16") == before
    os.utime(copy, ns=(10**18, 10**18 + 10**9))
    assert files_identity([copy], "bf16") != before


def test_an_empty_file_and_one_that_is_not_there(tmp_path):
    (tmp_path / "empty").touch()
    assert files_identity([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError):
        files_identity([tmp_path / "no"])
