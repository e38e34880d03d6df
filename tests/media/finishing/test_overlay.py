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
            [Line("Hello", 0, 2), Line("Bye", 2, 4)],
        ),
        (
            "WEBVTT - title\n\nSTYLE\n::cue {\n  color: red\n}\n\n00:00.000 --> 00:01.000\n<c.red>A</c>\nNOTE b\n\n"
            "NOTE\nc\n\nREGION\nid:d\n\n00:01.000 --> 00:02.000\nB\n\nSTYLE\ne",
            [Line("A\nNOTE b", 0, 1), Line("B", 1, 2)],
        ),
        ("0:00:00.000,0:00:01.000\nA\n\n0:00:01.000,0:00:02.000\nB", [Line("A", 0, 1), Line("B", 1, 2)]),
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


ASS_HEAD = (
    "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
SSA_HEAD = ASS_HEAD.replace("v4.00+", "v4.00").replace("Layer", "Marked")


def said_in_ass(text, kind="Dialogue", end="0:00:02.50"):
    return f"{kind}: 0,0:00:01.00,{end},Default,,0,0,0,,{text}\n"


ASS = ASS_HEAD + said_in_ass("{\\i1}Hello{\\i0}\\Nthere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ASS, ["Hello\nthere"]),
        (ASS.replace("\n", "\r\n"), ["Hello\nthere"]),
        (
            ASS_HEAD + said_in_ass("no", "Comment") + said_in_ass("no", end="0:00:01.00") + said_in_ass("yes, all"),
            ["yes, all"],
        ),
        (ASS_HEAD + said_in_ass("{\\p1}m 0 0 l 9 9{\\p0}words") + said_in_ass("{\\an7\\p4}m 0 0 b 1 1"), ["words"]),
        (ASS_HEAD + said_in_ass("{\\pos(1,2)\\k20}ka{\\kf30}ra\\hoke"), ["kara oke"]),
        (SSA_HEAD + said_in_ass("Hi").replace(": 0", ": Marked=0"), ["Hi"]),
        ("{1}{1}2\n{2}{5}Hello|{y:i}there", ["Hello\nthere"]),
        ("[10][25]Hello|there", ["Hello\nthere"]),
        (
            '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml"><body><div>'
            '<p begin="00:00:01.000" end="00:00:02.500">Hello<br/>there</p></div></body></tt>',
            ["Hello\nthere"],
        ),
    ],
)
def test_other_formats_are_read_by_pysubs2(text, words):
    pytest.importorskip("pysubs2", reason="pysubs2 is not installed; what is said then has a test of its own")
    assert read_captions(text) == [Line(word, 1.0, 2.5) for word in words]


def test_times_without_an_end_and_sami():
    pytest.importorskip("pysubs2", reason="pysubs2 is not installed; what is said then has a test of its own")
    for text in ("00:00:01:Hello", "<SAMI><BODY><SYNC Start=1000><P>Hello<SYNC Start=2000><P>&nbsp;</BODY></SAMI>"):
        (line,) = read_captions(text)
        assert (line.text, line.start) == ("Hello", 1.0) and 1 < (line.end or 0) < 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{10}{50}Hello",
            "The captions are in MicroDVD form, whose times count frames, and do not say how many a second",
        ),
        (
            ASS_HEAD + said_in_ass("x").replace("0:00:01.00", "later"),
            "The captions look like ASS, but cannot be read (Fail",
        ),
        (
            ASS_HEAD + "Dialogue: none\n",
            "The captions look like ASS, but no line of words was read from them. Save them",
        ),
        (
            '<tt xmlns="http://www.w3.org/ns/ttml"><body><p begin=',
            "The captions look like TTML, but cannot be read (un",
        ),
        ("[ar:x]\n[00:01.00]Hello", "The captions are in LRC form, which is not read. Save them as SRT."),
    ],
)
@pytest.mark.filterwarnings("ignore:Failed to parse:RuntimeWarning")
def test_other_formats_that_cannot_be_read(text, said):
    pytest.importorskip("pysubs2", reason="pysubs2 is not installed; what is said then has a test of its own")
    with pytest.raises(ValueError) as error:
        read_captions(text)
    assert str(error.value).startswith(said)


def test_subtitles_of_pysubs2_are_drawn_at_their_times():
    """The drawn shape of the file leaves no letters, and the words look as plain ones do."""
    pytest.importorskip("pysubs2", reason="pysubs2 is not installed; what is said then has a test of its own")
    shape = said_in_ass("{\\p1}m 0 0 l 100 0 100 100 0 100{\\p0}", end="0:00:04.00")
    frames, *_ = run(Caption(tuple(read_captions(ASS + shape)), size=0.15), frames=black(8), fps=2)
    assert [bool(frame.any()) for frame in frames] == [False, False, True, True, True, False, False, False]
    plain, *_ = run(Caption((Line("Hello\nthere"),), size=0.15), frames=black(1))
    assert torch.equal(frames[2], plain[0])


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
