"""The page of a training: losses by noise level, sizes of the clips, what was refused.

Tests: finetune/page.py, finetune/plan.py
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opent2v.finetune import Clip, Record, Refused
from opent2v.finetune.buckets import Bucket
from opent2v.finetune.ceiling import NAME
from opent2v.finetune.page import bands, page
from opent2v.finetune.plan import bucket_counts
from opent2v.finetune.prepare import Item


def cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows]


def item(name: str, bucket: Bucket) -> Item:
    return Item(Clip(name, Path(name), "a star"), bucket, name, "prompt")


def test_losses_of_four_bands_of_noise_at_first_and_at_last():
    # Twenty steps of two clips: the first and the last two steps are the tenths.
    history = [Record(step, 0.5, [(0.1, 1.0), (0.6, 2.0)]) for step in range(1, 21)]
    history[1] = Record(2, 0.5, [(0.2, 3.0), (1.0, 8.0)])
    history[18] = Record(19, 0.5, [(0.25, 0.5), (0.74, 0.25)])
    assert cells(bands(history)) == [
        ["noise", "first tenth", "last tenth"],
        ["0.00 to 0.25", "2.0000", "1.0000"],
        ["0.25 to 0.50", "", "0.5000"],
        ["0.50 to 0.75", "2.0000", "1.1250"],
        ["0.75 to 1.00", "8.0000", ""],
    ]


def test_clips_are_counted_by_bucket_the_largest_first():
    small, large, still = Bucket(32, 32, 9), Bucket(64, 32, 9, has_sound=True), Bucket(64, 32, 1)
    items = [item("a", small), item("b", large), item("c", small), item("d", still)]
    counts = bucket_counts(items)
    assert list(counts.items()) == [
        ("64 x 32, 9 frames, with sound", 1), ("64 x 32, picture", 1), ("32 x 32, 9 frames", 2),
    ]  # fmt: skip


def test_the_page_names_clips_and_shows_what_the_vae_leaves(tmp_path):
    refused = (Refused("<b>.mp4", "It is silent."),)
    items = (item("a", Bucket(32, 32, 9)), item("b", Bucket(32, 32, 9)))
    training: Any = SimpleNamespace(
        history=[Record(1, 0.5, [(0.5, 0.5)], 0.75)],
        prepared=SimpleNamespace(items=items, refused=refused, variant=SimpleNamespace(title="Wan <tiny>")),
        settings=SimpleNamespace(steps=10),
        step=1,
        ended_early=False,
    )
    text = page(training, [], [], tmp_path)
    assert "LoRA for Wan &lt;tiny&gt;" in text and "1 of 10 steps; 2 clips." in text
    assert "<td>2</td><td>32 x 32, 9 frames</td>" in text and "<li>&lt;b&gt;.mp4: It is silent.</li>" in text
    assert "<td>0.50 to 0.75</td><td>0.5000</td><td>0.5000</td>" in text and text.count("<polyline") == 2
    assert "<img" not in text
    (tmp_path / NAME).write_bytes(b"")
    assert f'<img src="{NAME}" alt="">' in page(training, [], [], tmp_path)
