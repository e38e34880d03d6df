"""Bytes are counted as they are read, in pieces, ahead of their use where main memory has room."""

from __future__ import annotations

import pytest
import torch

from opent2v.loaders import reading
from opent2v.loaders.reading import Reading

WEIGHTS = {"a": torch.arange(70_000, dtype=torch.float32), "b": torch.ones(3, 5, dtype=torch.bfloat16).t()}
TOTAL = sum(tensor.nbytes for tensor in WEIGHTS.values())


@pytest.fixture(autouse=True)
def pieces(monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", 2**16)
    monkeypatch.setattr(reading, "free_memory", lambda: 2 * TOTAL)


def counted(total: int = TOTAL) -> list[int]:
    seen: list[int] = []
    read = Reading(total, lambda done, whole: seen.append(done)).through(WEIGHTS.__getitem__)
    assert all(read(name) is tensor for name, tensor in WEIGHTS.items())
    return seen


def test_a_large_tensor_is_told_in_pieces():
    assert counted() == [65536, 131072, 196608, 262144, 280000, 280030]


def test_without_room_in_main_memory_nothing_is_read_ahead(monkeypatch):
    monkeypatch.setattr(reading, "free_memory", lambda: TOTAL - 1)
    assert counted() == [280000, 280030]


def test_more_than_there_should_be_ends_at_the_total():
    assert counted(200_000)[-3:] == [200_000] * 3


def test_a_report_that_raises_stops_within_a_tensor():
    seen = []

    def stop(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Reading(TOTAL, stop).through(WEIGHTS.__getitem__)("a")
    assert seen == [65536, 131072]


def test_whoever_asks_for_no_report_reads_as_before():
    read = WEIGHTS.__getitem__
    assert Reading(TOTAL, None).through(read) is read


def test_the_free_memory_of_this_machine(monkeypatch):
    monkeypatch.undo()
    psutil = pytest.importorskip("psutil")
    assert 0 < reading.free_memory() <= psutil.virtual_memory().total
