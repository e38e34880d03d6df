"""Compare Clips: clips from sockets and lists, labels, blind."""

from __future__ import annotations

import json

import pytest
import torch

from opent2v.media.overlaid import difference, split
from opent2v.media.side_by_side import contact_sheet, side_by_side
from opent2v.nodes.compare_clips import OpenT2VCompareClips
from opent2v.tests.nodes.calls import remarks


def compare(*clips, layout="row", labels="", blind=False, seed=0, moments=3, **more):
    """A call as ComfyUI makes it: every input is a list."""
    returned = OpenT2VCompareClips().compare(
        images=list(clips), layout=[layout], labels=[labels] if isinstance(labels, str) else labels, blind=[blind],
        seed=[seed], moments=[moments], **{name: [clip] for name, clip in more.items()},
    )  # fmt: skip
    return returned["result"], returned["ui"]


def clips(count, frames=3):
    return [torch.full((frames, 32, 48, 3), (number + 1) / 10) for number in range(count)]


def test_clips_of_sockets_and_lists_in_order():
    a, b, c = clips(3)
    (result, key, _), ui = compare(a, b, images_c=c)
    assert torch.equal(result, side_by_side([a, b, c], ["1", "2", "3"])) and key == ""
    assert remarks(ui) == "3 clips: 48 x 32, 3 frames"


def test_labels_as_lines_or_as_a_list():
    a, b = clips(2)
    expected = side_by_side([a, b], ["one", "two"])
    assert torch.equal(compare(a, b, labels="one\ntwo")[0][0], expected)
    assert torch.equal(compare(a, b, labels=["one", "two"])[0][0], expected)
    with pytest.raises(ValueError, match=r"There are 1 labels for 2 clips. Write one on each line"):
        compare(a, b, labels="one")


def test_a_contact_sheet():
    a, b = clips(2)
    (result, *_), _ = compare(a, b, layout="contact sheet")
    assert torch.equal(result, contact_sheet([a, b], ["1", "2"], 3))


def test_other_lengths_are_told():
    a, b = clips(2)
    (result, *_), ui = compare(a, b[:1])
    assert len(result) == 3 and "the shorter ones hold their last frame" in remarks(ui)


def test_blind_shows_letters_and_saves_the_key_beside_the_videos(tmp_path):
    given = clips(4)
    (result, name, _), ui = compare(*given, labels="w\nx\ny\nz", blind=True, seed=5)
    key = json.loads((tmp_path / "output" / name).read_text())
    assert sorted(key) == list("ABCD") and sorted(key.values()) == list("wxyz")
    order = ["wxyz".index(key[letter]) for letter in "ABCD"]
    assert torch.equal(result, side_by_side([given[number] for number in order], list("ABCD")))
    assert not any(label in remarks(ui) for label in ("w,", "A is"))
    assert order != [0, 1, 2, 3]
    (_, second, _), _ = compare(*given, labels="w\nx\ny\nz", blind=True, seed=5)
    assert second != name and json.loads((tmp_path / "output" / second).read_text()) == key


@pytest.mark.parametrize(
    ("layout", "draw", "name"), [("split", split, "1 | {}"), ("difference", difference, "{} - 1, x 10")]
)
def test_each_other_clip_over_the_first(layout, draw, name):
    a, b, c = clips(3)
    (result, *_), _ = compare(a, b, c, layout=layout)
    assert torch.equal(result, side_by_side([draw(b, a), draw(c, a)], [name.format(2), name.format(3)], "grid"))


@pytest.mark.parametrize("layout", ["split", "difference"])
def test_what_cannot_be_laid_over_the_first_is_refused(layout):
    a, b = clips(2)
    with pytest.raises(ValueError, match=f"There is one clip; {layout} needs two. Connect the other one to images_b"):
        compare(a, layout=layout)
    with pytest.raises(ValueError, match="Clip 2 is 20 x 32, the first 48 x 32"):
        compare(a, b[:, :, :20], layout=layout)


def test_a_blind_split_names_no_clip(tmp_path):
    given = clips(2)
    (result, name, _), _ = compare(*given, labels="w\nx", blind=True, seed=5, layout="split")
    key = json.loads((tmp_path / "output" / name).read_text())
    order = ["wx".index(key[letter]) for letter in "AB"]
    assert torch.equal(result, side_by_side([split(given[order[1]], given[order[0]])], ["A | B"], "grid"))


def test_the_chart_has_the_decibels_of_each_frame_of_each_other_clip():
    from opent2v.nodes.charts import frame_panels

    (panel,) = frame_panels("cfg 2", {"cfg 6": [20.0, float("inf")], "cfg 9": [30.0, 31.0]})
    assert (panel.x, panel.y) == ("frame", "PSNR against cfg 2, dB (100: equal)")
    assert [(line.name, list(line.xs), list(line.ys)) for line in panel.lines] == [
        ("cfg 6", [1, 2], [20.0, 100.0]), ("cfg 9", [1, 2], [30.0, 31.0]),
    ]  # fmt: skip
    pytest.importorskip("matplotlib")
    a, b = clips(2)
    (*_, chart), _ = compare(a, b)
    assert chart.shape[0] == 1 and chart.shape[2] == 640 and chart.std() > 0.05


@pytest.mark.parametrize("others", [[], [torch.rand(3, 32, 20, 3)]], ids=["one clip", "another shape"])
def test_where_there_is_nothing_to_chart_the_clips_are_shown_all_the_same(others):
    (a,) = clips(1)
    (result, _, chart), _ = compare(a, *others)
    assert torch.equal(result, side_by_side([a, *others], ["1", "2"][: 1 + len(others)]))
    assert not isinstance(chart, torch.Tensor)
    assert ("do not lie over" if others else "images_b") in chart.message
