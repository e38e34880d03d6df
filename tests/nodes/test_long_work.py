"""Long work is told on the bar, and after a second in words on the node."""

from __future__ import annotations

import pytest

from opent2v.host import embedded, host
from opent2v.nodes import long_work
from opent2v.nodes.long_work import LongWork, time_left


@pytest.fixture
def shown(monkeypatch) -> list[list[str]]:
    lines: list[list[str]] = []
    monkeypatch.setattr(host, "show", lambda remarks, node: lines.append(remarks))
    return lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_words_come_after_a_second_and_then_every_second(shown):
    seen, clock = [], Clock()
    embedded.configure(on_progress=lambda *what: seen.append(what))
    work = LongWork("7", lambda done, total, seconds: f"{done} of {total}, {seconds:g}", ["plan"], clock=clock)
    for done, now in ((1, 0.2), (2, 0.9), (3, 1.0), (4, 1.5), (5, 2.1), (6, 9.0)):
        clock.now = now
        work(done, 6)
    assert seen == [("7", done, 6) for done in range(1, 7)]
    assert shown == [["plan", "3 of 6, 1"], ["plan", "5 of 6, 2.1"]]  # the end has the node's own remarks


def test_weights_are_told_in_bytes(shown, monkeypatch):
    monkeypatch.setattr(long_work, "WORDS_FROM", 0.0)
    long_work.reading(None, ["Memory: enough"])(2**30, 4 * 2**30)
    assert shown == [["Memory: enough", "Reading: 1.0 GiB of 4.0 GiB"]]


def test_steps_are_told_with_the_time_that_is_left(shown, monkeypatch):
    monkeypatch.setattr(long_work, "WORDS_FROM", 0.0)
    long_work.sampling_work(None, None)(5, 20)
    assert len(shown) == 1 and shown[0][0].startswith("Step 5 of 20; about 0 s left")


def test_time_left():
    assert [time_left(*values) for values in ((0, 20, 3.0), (5, 20, 10.0), (1, 20, 60.0))] == [
        "", "about 30 s left", "about 19 min left",
    ]  # fmt: skip


def test_an_interrupt_is_raised_at_the_next_report(shown):
    work = LongWork(None, lambda *_: "")
    work(1, 3)
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        work(2, 3)
