"""Captions and watermarks."""

import sys

import pytest
import torch

from opent2v.media.finishing import PLACES, Caption, FontError, Watermark, draw_text, read_captions
from opent2v.media.finishing import fonts as font_room
from opent2v.media.finishing.captions import Line
from opent2v.media.finishing.overlay import lay
from opent2v.tests.media.finishing.clips import run

SRT = "\ufeff1\r\n00:00:00,500 --> 00:00:01,000\r\nHello\r\nthere\r\n\r\n2\r\n00:01:02.25 --> 01:00:00,000\r\n你好\r\n"


def black(frames=4, height=120, width=200):
    return torch.zeros(frames, height, width, 3)


def test_plain_words_are_shown_all_the_time():
    assert read_captions(" Hello\nthere \n") == [Line("Hello\nthere")]
    assert read_captions("  \n") == []


def test_subtitles():
    assert read_captions(SRT) == [Line("Hello\nthere", 0.5, 1.0), Line("你好", 62.025, 3600.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\n00:00:01 --> 2\nHi", "The caption '1' has no time line such as '00:00:01,000 --> 00:00:02,500'."),
        ("1\n00:00:02,000 --> 00:00:01,000\nHi", "The caption time '00:00:02,000 --> 00:00:01,000' ends before it"),
    ],
)
def test_subtitles_that_cannot_be_read(text, said):
    with pytest.raises(ValueError) as error:
        read_captions(text)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("<i>Where are you?</i>", "Where are you?"),
        ('<font color="#ffff00">Here!</font>', "Here!"),
        ("{\\an8}At the top", "At the top"),
        ("<v Anna>Hello</v>", "Hello"),
        ("2 < 3 and a > b", "2 < 3 and a > b"),
        ("&lt;3 &amp; more", "<3 & more"),
        ("a\u00a0b\tc\u200e\u200bd", "a b cd"),
    ],
)
def test_formatting_is_not_drawn(text, drawn):
    assert [line.text for line in read_captions(f"1\n00:00:00,000 --> 00:00:02,000\n{text}\n")] == [drawn]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "1\n00:00:00,000 --> 00:00:01,000\nA\n\n2\n00:00:01,000 --> 00:00:01,000\nB\n\n"
            "3\n00:00:01,000 --> 00:00:02,000\nC",
            [Line("A", 0, 1), Line("C", 1, 2)],
        ),
        (
            "WEBVTT\n\nintro\n00:00.000 --> 00:02.000\nHello\n\nNOTE a\n\n"
            "end\n00:02.000 --> 00:04.000 align:start\nBye",
            [Line("Hello\nNOTE a", 0, 2), Line("Bye", 2, 4)],
        ),
        (
            "1\n00:00:00,000 --> 00:00:02,000\nA\n2\n00:00:02,000 --> 00:00:04,000\nB",
            [Line("A", 0, 2), Line("B", 2, 4)],
        ),
        (
            "1\r00:00:00,000 --> 00:00:02,000\rA\r\r2\r00:00:02,000 --> 00:00:04,000\rB",
            [Line("A", 0, 2), Line("B", 2, 4)],
        ),
        ("1\n00:00:00,000 --> 00:00:02,000\nA\n\nstill A", [Line("A\nstill A", 0, 2)]),
    ],
)
def test_subtitles_as_people_have_them(text, lines):
    assert read_captions(text) == lines


ASS = (
    "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}Hello{\\i0}\\Nthere\n"
)


def test_other_formats_are_read_by_pysubs2():
    pytest.importorskip("pysubs2", reason="pysubs2 is not installed; what is said then has a test of its own")
    assert read_captions(ASS) == [Line("Hello\nthere", 1.0, 2.5)]


def test_other_formats_without_pysubs2(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysubs2", None)
    with pytest.raises(
        ValueError, match="The captions are in ASS form; SRT and WebVTT are read here, ASS where pysubs2 is"
    ):
        read_captions(ASS)
    with pytest.raises(ValueError, match=r"MicroDVD form.*-m pip install pysubs2"):
        read_captions("{10}{50}Hello")


def test_cues_shown_at_once_stand_on_each_other():
    def drawn(*lines, place="bottom"):
        return run(Caption(lines, place, 0.15), frames=black(1))[0][0].amax(-1)

    def rows(frame):
        return frame.amax(1).count_nonzero().item()

    wide, narrow = Line("WWWWWWW"), Line("i")
    assert rows(drawn(wide, narrow)) > 1.7 * rows(drawn(wide))
    # The first one lies lowest at the bottom, and highest at the top.
    bottom, top = drawn(wide, narrow), drawn(wide, narrow, place="top")
    assert bottom[-20:].count_nonzero() > 3 * bottom[-45:-25].count_nonzero()
    assert top[:20].count_nonzero() > 3 * top[25:45].count_nonzero()


@pytest.mark.parametrize(
    "word", ["https://example.com/a/very/long/path/without/any/space?x=123456789", "#" + "long" * 30]
)
def test_a_word_that_is_longer_than_the_line_is_broken(word):
    picture = draw_text(word, 20, 200)
    assert picture.shape[1] <= 200 and picture.shape[0] > 40


def test_a_caption_is_there_in_its_time_and_place():
    step = Caption((Line("Hello", 0.25, 0.5),), "top", 0.15)
    frames, *_ = run(step, frames=black(8), fps=8)
    assert [bool(frame.any()) for frame in frames] == [False, False, True, True, False, False, False, False]
    rows = frames[2].amax(dim=(1, 2)).nonzero().flatten()
    assert rows.min() >= 3 and rows.max() < 40
    assert frames.max() == 1


def test_words_have_a_dark_edge_on_a_white_picture():
    frames, *_ = run(Caption((Line("Hello"),)), frames=black(1) + 1)
    assert frames.min() < 0.1


@pytest.mark.parametrize(
    "text", ["a long caption that does not fit into one line at all", "这是一个很长的字幕放不进一行里面所以要换行"]
)
def test_long_lines_are_broken_to_fit(text):
    try:
        font_room.font_for(text, 20)
    except FontError as error:
        pytest.skip(str(error))
    picture = draw_text(text, 20, 200)
    assert picture.shape[1] <= 200 and picture.shape[0] > 40
    assert draw_text(text[0], 20, 200).shape[0] < 30


def test_opacity():
    solid, faint = (run(Caption((Line("Hi"),), size=0.3, opacity=o), frames=black(1))[0].max() for o in (1.0, 0.4))
    assert (solid, faint) == (1, pytest.approx(0.4))


def test_letters_no_font_has(monkeypatch):
    monkeypatch.setattr(font_room, "FOLDERS", ())
    with pytest.raises(FontError) as error:
        draw_text("Hi 你好", 20, 200)
    assert str(error.value) == (
        "No font on this machine has the letters '你好' of the caption. Put a .ttf or .otf file that has them, "
        "such as Noto Sans CJK, into models/fonts, or write the caption in other letters."
    )


def test_the_users_own_font_comes_first(tmp_path):
    found = next((p for folder in font_room.FOLDERS if folder.is_dir() for p in folder.rglob("DejaVuSerif.ttf")), None)
    if found is None:
        pytest.skip("DejaVu Serif is not installed")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "serif.ttf").write_bytes(found.read_bytes())
    assert font_room.font_for("Hi", 20, [tmp_path]).getname()[0] == "DejaVu Serif"
    assert font_room.font_for("Hi", 20).getname()[0] != "DejaVu Serif"


# --- watermark ---


@pytest.mark.parametrize("place", PLACES)
def test_a_watermark_lies_in_its_place(place):
    frames, *_ = run(Watermark(torch.ones(10, 20, 3), place, 0.2, 0.5), frames=black(2))
    marked = frames[1].amax(-1)
    ys, xs = (marked.amax(dim).nonzero().flatten() for dim in (1, 0))
    assert (len(xs), len(ys)) == (40, 20) and marked.max() == 0.5
    across, down = PLACES[place]
    assert xs.min() == pytest.approx(4 + across * (200 - 8 - 40), abs=1)
    assert ys.min() == pytest.approx(4 + down * (120 - 8 - 20), abs=1)


def test_alpha_hides_and_does_not_bleed():
    mark = torch.zeros(8, 8, 4)
    mark[..., 0] = 1  # red where it is invisible, white where it can be seen
    mark[2:6, 2:6] = 1
    frames, *_ = run(Watermark(mark, "centre", 0.1, 1.0), frames=black(1) + 0.5)
    assert (frames[..., 0] - frames[..., 1]).abs().max() < 0.02 and frames.max() > 0.95


def test_what_does_not_fit_is_cut_off():
    frames = lay(black(1, 10, 10), torch.ones(30, 40, 4), "centre")
    assert frames.min() == 1
