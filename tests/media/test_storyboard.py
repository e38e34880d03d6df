"""Shots from lines and rows: what is read, what is refused by number, and the prompts as one that travels."""

from __future__ import annotations

import pytest

from opent2v.media.rows import Row
from opent2v.media.storyboard import LEAD, Shot, StoryboardError, fitted, shots_of, travelling, typed_rows
from opent2v.sampling.travel import travel


def shots(text, fps=16.0):
    return shots_of(typed_rows(text), fps, 100)


def test_lines_with_everything_and_with_a_prompt_alone():
    text = """# the story
3 s | a red star | seed 5 | lora my style.safetensors 0.8 | picture first one.png | fade 0.5 s

a blue star, rising
49 f | x | cut
y | lead
"""
    assert shots(text) == [
        Shot(1, "line 2", "a red star", 48, 5, "my style.safetensors", 0.8, "first one.png", 8),
        Shot(2, "line 4", "a blue star, rising"),
        Shot(3, "line 5", "x", 49),
        Shot(4, "line 6", "y", fade=LEAD),
    ]


def test_chinese_words_and_bars():
    assert shots("3秒｜一颗红星｜种子 7｜图片 开始.png｜淡入 8 帧\n蓝星｜衔接") == [
        Shot(1, "line 1", "一颗红星", 48, 7, picture="开始.png", fade=8),
        Shot(2, "line 2", "蓝星", fade=LEAD),
    ]


def test_rows_of_a_table():
    cells = {"length": "2 s", "prompt": "a\n b", "lora": "x", "strength": "-0.5", "transition": "fade 3 f", "note": "?"}
    assert shots_of([Row(1, 2, cells)], 8.0, 100) == [Shot(1, "line 2", "a b", 16, None, "x", -0.5, fade=3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a | 3 s",
            r"shot 1 \(line 1\): '3 s' is no part of a shot; expected seed, lora, strength, picture, fade, lead",
        ),
        ("a\nb | seed x\n3 s |", r"shot 2 \(line 2\): seed is 'x'; expected(.|\n)*shot 3 \(line 3\): it has no prompt"),
        ("a | seed 1 | seed 2", "seed stands there twice"),
        ("0 s | a", "length is 0 s; expected more than nothing"),
        ("a | fade", "transition is 'fade'; expected cut, lead, or fade with a length"),
        ("a | lead 3 f", "transition is 'lead 3 f'; expected cut, lead, or fade with a length"),
        ("a | fade 3", "fade is '3'; expected seconds or frames, such as 3 s or 49 f"),
        ("a | lora x 30", "strength is '30'; expected a number from -20 to 20"),
        ("a | strength 1", "strength is 1, and it has no lora"),
        ("# nothing\n", "There is no shot. Write one on each line"),
        ("a\n" * 101, "There are more than 100 shots"),
    ],
)
def test_bad_shots_are_named(text, message):
    with pytest.raises(StoryboardError, match=message):
        shots(text)


def test_seconds_need_a_rate_and_a_bad_row_keeps_its_reason():
    with pytest.raises(StoryboardError, match="length is 3 s, and the frames per second are not known"):
        shots("3 s | a", fps=0)
    with pytest.raises(StoryboardError, match=r"shot 4 \(line 9\): a cell is missing"):
        shots_of([Row(4, 9, problem="a cell is missing")], 16.0, 100)


def test_lengths_are_those_the_model_can_make():
    sized = fitted(shots("50 f | a\nb | fade 3 f"), 17, lambda frames: (frames - 1) // 4 * 4 + 1)
    assert [shot.frames for shot in sized] == [49, 17]


def test_fades_longer_than_a_shot_are_refused():
    with pytest.raises(StoryboardError, match=r"shot 2 \(line 2\): it has 5 frames, and the fades at its ends take 6"):
        fitted(shots("9 f | a\n5 f | b | fade 3 f\n9 f | c | fade 3 f"), 17, lambda frames: frames)
    # a first shot has nothing to fade in from
    assert len(fitted(shots("5 f | b | fade 4 f\n9 f | c | fade 3 f"), 17, lambda frames: frames)) == 2


def test_prompts_hold_for_their_shot_and_go_over_where_shots_fade():
    text, whole = travelling(shots("10 f | a\n10 f | b | fade 4 f\n1 f | c"))
    assert whole == 17 and text.splitlines() == ["0 f: a", "5 f: a", "10 f: b", "15 f: b", "16 f: c"]
    places = [(place.value, prompt) for place, prompt in travel(text, 0)]
    assert places == [(0, "a"), (5, "a"), (10, "b"), (15, "b"), (16, "c")]


def test_a_shot_that_is_all_fade_has_one_moment():
    text, whole = travelling(shots("4 f | a\n4 f | b | fade 2 f\n4 f | c | fade 2 f"))
    assert whole == 8 and [line.split(":")[0] for line in text.splitlines()] == ["0 f", "1 f", "4 f", "6 f", "7 f"]
    assert travel(text, 0)
