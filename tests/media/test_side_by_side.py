"""Clips beside each other: what stands where, and when."""

from __future__ import annotations

import pytest
import torch

from opent2v.media.side_by_side import Blind, contact_sheet, side_by_side


def clip(level, frames=4, height=40, width=60):
    """Each frame a little brighter than the one before, so that its time can be read off."""
    values = level + torch.arange(frames) / 100
    return values[:, None, None, None].expand(frames, height, width, 3)


def test_a_row_shows_the_same_time_of_each():
    both = side_by_side([clip(0.2), clip(0.6)], ["", ""])
    assert both.shape == (4, 40, 122, 3)
    for frame in range(4):
        assert torch.allclose(both[frame, :, :60], clip(0.2)[frame])
        assert torch.allclose(both[frame, :, 62:], clip(0.6)[frame])
    assert both[:, :, 60:62].max() == 0


def test_a_shorter_clip_holds_its_last_frame():
    both = side_by_side([clip(0.2, 2), clip(0.6, 5)], ["", ""])
    assert len(both) == 5 and torch.allclose(both[4, :, :60], clip(0.2, 2)[1])


def test_other_sizes_are_brought_to_the_first_ones_height():
    both = side_by_side([clip(0.2), clip(0.6, height=80, width=80)], ["", ""])
    assert both.shape == (4, 40, 102, 3) and torch.allclose(both[0, 10:30, 70:90], torch.tensor(0.6), atol=1e-4)


@pytest.mark.parametrize(("layout", "size"), [("row", (40, 184)), ("column", (124, 60)), ("grid", (82, 122))])
def test_layouts_of_three(layout, size):
    result = side_by_side([clip(0.1), clip(0.5), clip(0.9)], [""] * 3, layout)
    assert result.shape[1:3] == size
    places = {"row": (20, 150), "column": (110, 30), "grid": (60, 30)}
    assert torch.allclose(result[(0, *places[layout])], torch.tensor(0.9))


def test_names_stand_above_the_clips_and_leave_the_pictures_alone():
    both = side_by_side([clip(0.2), clip(0.6)], ["cfg 2", "cfg 6"])
    bar = both.shape[1] - 40
    assert bar >= 14 and both[0, :bar, :60].max() > 0.5 and both[0, :bar, 62:].max() > 0.5
    assert not torch.equal(both[0, :bar, :60], both[0, :bar, 62:])
    assert torch.allclose(both[2, bar:, :60], clip(0.2)[2])


def test_a_contact_sheet_has_a_line_for_each_clip_and_its_moments_from_left_to_right():
    sheet = contact_sheet([clip(0.2, 9), clip(0.6, 9)], ["", ""], 3)
    assert sheet.shape == (1, 82, 184, 3)
    for column, frame in enumerate((0, 4, 8)):
        assert torch.allclose(sheet[0, 20, 30 + 62 * column], torch.tensor(0.2 + frame / 100))
        assert torch.allclose(sheet[0, 62, 30 + 62 * column], torch.tensor(0.6 + frame / 100))


def test_more_moments_than_frames():
    assert contact_sheet([clip(0.2, 2)], [""], 9).shape == (1, 40, 122, 3)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="There are 0 clips; expected 1 to 26"):
        side_by_side([], [])
    with pytest.raises(ValueError, match="There are 1 labels for 2 clips"):
        side_by_side([clip(0.1), clip(0.2)], ["a"])


def test_a_blind_order_is_a_permutation_that_the_seed_decides():
    orders = {Blind.of(5, seed).order for seed in range(50)}
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders) and len(orders) > 30
    assert Blind.of(5, 7) == Blind.of(5, 7)
    blind = Blind.of(3, 1)
    assert blind.key(["a", "b", "c"]) == {"ABC"[place]: "abc"[number] for place, number in enumerate(blind.order)}
