"""Prefixes stay inside the output folder; names are never taken twice."""

import errno
import os
import re
import time
from pathlib import Path

import pytest

from opent2v.media import OutputError, check_input, naming, save_location
from opent2v.media.naming import check_name, create_temporary, give_final_name


def finished(folder, text="new"):
    path = create_temporary(folder, "clip", ".mp4")
    path.write_text(text)
    return path


# --- save_location ---


@pytest.mark.parametrize(
    ("prefix", "folders", "stem"),
    [
        ("OpenT2V", "", "OpenT2V"),
        ("video/OpenT2V", "video", "OpenT2V"),
        ("a\\b/clip", "a/b", "clip"),
        (" ./a//./clip ", "a", "clip"),
        ("红色/圆 🎬👩‍🚀", "红色", "圆 🎬👩‍🚀"),
        ("%width%x%height%/clip 50% to 100%", "640x480", "clip 50% to 100%"),
        (".hidden..name", "", ".hidden..name"),
        ("console", "", "console"),
    ],
)
def test_prefixes(tmp_path, prefix, folders, stem):
    folder, found = save_location(tmp_path, prefix, 640, 480)
    assert (folder, found) == (tmp_path / folders, stem)
    assert folder.is_dir()


def test_dates(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "localtime", lambda: time.struct_time((2026, 3, 4, 5, 6, 7, 0, 0, 0)))
    _, stem = save_location(tmp_path, "%year%-%month%-%day% %hour%.%minute%.%second%", 1, 1)
    assert stem == "2026-03-04 05.06.07"


def test_output_folder_is_created_and_may_be_a_link(tmp_path):
    folder, _ = save_location(tmp_path / "new" / "output", "sub/clip", 1, 1)
    assert folder.is_dir()
    (tmp_path / "link").symlink_to(tmp_path / "new" / "output")
    assert save_location(tmp_path / "link", "sub/clip", 1, 1)[0] == tmp_path / "link" / "sub"


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("/etc/clip", "is absolute"),
        ("//server/share/clip", "is absolute"),
        ("\\\\server\\share\\clip", "is absolute"),
        ("\\clip", "is absolute"),
        ("../clip", "leads out of its folder"),
        ("a/../clip", "leads out of its folder"),
        ("a\\..\\..\\clip", "leads out of its folder"),
        ("a/..", "leads out of its folder"),
        ("C:/clip", "holds ':', which not every system allows"),
        ("C:clip", "holds ':'"),
        ("clip:stream", "holds ':'"),
        ("", "names no file"),
        ("   ", "names no file"),
        (".", "names no file"),
        ("video/", "names no file"),
        ("a\nb", r"holds a control character ('\n')"),
        ("a\0b", r"holds a control character ('\x00')"),
        ("a\x7fb", "holds a control character"),
        ("a\u2028b", "holds a line break"),
        ("a\ud83db", "holds a lone surrogate, half an emoji"),
        ("what?", "holds '?'"),
        ("CON/clip", "is reserved by Windows"),
        ("nul", "is reserved by Windows"),
        ("com1.x/clip", "is reserved by Windows"),
        (".. /clip", "ends in a dot or a space"),
        ("a./clip", "ends in a dot or a space"),
        ("圆" * 67, "is 201 bytes long in UTF-8, at most 200 fit; shorten it"),
        ("x" * 10_000, "is 10000 bytes long"),
        (None, "expected a text"),
    ],
)
def test_refused_prefixes(tmp_path, prefix, message):
    output = tmp_path / "output"
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        save_location(output, prefix, 1, 1)
    assert len(str(error.value)) < 250
    assert os.listdir(tmp_path) == []


def test_links_leading_out_are_refused(tmp_path):
    output, outside = tmp_path / "output", tmp_path / "outside"
    output.mkdir()
    outside.mkdir()
    (output / "link").symlink_to(outside)
    (output / "dangling").symlink_to(outside / "none")
    for prefix in ("link/clip", "link/deeper/clip", "dangling/clip"):
        with pytest.raises(ValueError, match=r"leads out of the output folder, to .*outside.* Choose a folder without"):
            save_location(output, prefix, 1, 1)
    assert os.listdir(outside) == []

    (output / "real").mkdir()
    (output / "inner").symlink_to(output / "real")
    assert save_location(output, "inner/clip", 1, 1)[0] == output / "inner"
    (output / "circle").symlink_to(output / "circle")
    with pytest.raises(OutputError, match=r"Cannot save to .*circle"):
        save_location(output, "circle/clip", 1, 1)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for prefix in ("file/clip", "file/deeper/clip"):
        with pytest.raises(
            OutputError, match=r"Cannot save to .*file.*: a file stands where a folder is needed\. Move"
        ):
            save_location(tmp_path, prefix, 1, 1)


def test_path_too_long_for_the_system(tmp_path):
    with pytest.raises(OutputError) as error:
        save_location(tmp_path, "/".join(["x" * 200] * 30), 1, 1)
    assert "the path is too long. Shorten filename_prefix or choose another output folder." in str(error.value)
    assert error.value.errno == errno.ENAMETOOLONG


def test_names_with_separators_are_no_names():
    for name in ("a/b", "a\\b"):
        with pytest.raises(ValueError, match="which not every system allows"):
            check_name(name)


# --- the final name ---


def test_one_past_the_highest_number(tmp_path):
    others = ["clip_00003.mp4", "clip_00009_.png", "clip_2024.mp4", "clip_20240131235959.mp4", "clip_00050 copy.mp4"]
    others += ["other_00077.mp4", "clip_x_00088.mp4", ".clip_00099.mp4.part", ".clip-00099.mp4.part", "clip_00066"]
    for name in others:
        (tmp_path / name).touch()
    assert give_final_name(finished(tmp_path), "clip", ".mp4").name == "clip_00010.mp4"
    (tmp_path / "clip_99999.mp4").touch()
    assert give_final_name(finished(tmp_path), "clip", ".mp4").name == "clip_100000.mp4"
    assert give_final_name(finished(tmp_path), "clip", ".mp4").name == "clip_100001.mp4"


def test_stems_are_not_patterns_and_ignore_case(tmp_path):
    (tmp_path / "CLIP_00004.MP4").touch()
    assert give_final_name(finished(tmp_path), "clip", ".mp4").name == "clip_00005.mp4"
    assert give_final_name(finished(tmp_path), "c.i(p", ".mp4").name == "c.i(p_00001.mp4"


@pytest.mark.parametrize("links", [True, False])
def test_a_name_taken_in_between_is_skipped(tmp_path, monkeypatch, links):
    if not links:  # as on exFAT

        def refuse(*_):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(naming, "_highest_number", lambda *_: 0)  # another writer was faster
    (tmp_path / "clip_00001.mp4").write_text("theirs")
    (tmp_path / "clip_00002.mp4").symlink_to(tmp_path / "nowhere")
    path = give_final_name(finished(tmp_path), "clip", ".mp4")
    assert (path.name, path.read_text()) == ("clip_00003.mp4", "new")
    assert (tmp_path / "clip_00001.mp4").read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()
    assert len(os.listdir(tmp_path)) == 3


def test_a_failed_rename_gives_the_name_back(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    path = finished(tmp_path)
    with pytest.raises(PermissionError):
        give_final_name(path, "clip", ".mp4")
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("pattern", "filled"),
    [
        ("yyyy-MM-dd", "2026-03-04"),
        ("yy", "26"),
        ("d.M", "4.3"),
        ("hhmmss", "050607"),
        ("h-m-s", "5-6-7"),
        ("yyy", "yyy"),
        ("", ""),
    ],
)
def test_a_date_is_written_as_the_page_writes_it(tmp_path, monkeypatch, pattern, filled):
    monkeypatch.setattr(naming.time, "localtime", lambda: time.struct_time((2026, 3, 4, 5, 6, 7, 2, 63, 0)))
    assert save_location(tmp_path, f"a%date:{pattern}%", 1, 1)[1] == f"a{filled}"
    assert save_location(tmp_path, "%date:yyyy%/%year%%month%", 1, 1) == (tmp_path / "2026", "202603")


@pytest.mark.parametrize(
    ("prefix", "token"),
    [("clip_%nothing%", "%nothing%"), ("%Video Sampler.seed%/a", "%Video Sampler.seed%"), ("%date%", "%date%")],
)
def test_a_token_that_nobody_fills_in_is_refused(tmp_path, prefix, token):
    with pytest.raises(ValueError) as error:
        save_location(tmp_path, prefix, 1, 1)
    assert str(error.value).startswith(
        f"filename_prefix '{prefix}' holds '{token}', which stands for nothing here. Use %date:yyyy-MM-dd%, %width% or "
        "%height%; only ComfyUI's page fills in values of nodes"
    )
    assert list(tmp_path.iterdir()) == []


# --- files to read ---


def folders(inputs: Path) -> dict[str, Path]:
    return {"input": inputs, "output": inputs.parent / "output", "temp": inputs.parent / "temp"}


def test_inputs_are_found_below_their_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.mp4", "sub/b.mp4", "红色 🎬.mp4", "..hidden.mp4"):
        (tmp_path / name).write_text("")
        assert check_input(folders(tmp_path), name) == tmp_path / name
    assert check_input(folders(tmp_path), "sub\\b.mp4") == tmp_path / "sub" / "b.mp4"


def test_a_name_says_which_folder_it_is_of(tmp_path):
    places = folders(tmp_path / "input")
    for which, folder in places.items():
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / f"{which}.mp4").write_text("")
        assert check_input(places, f"sub/{which}.mp4 [{which}]") == folder / "sub" / f"{which}.mp4"
    (tmp_path / "input" / "a [output].mp4").write_text("")
    assert check_input(places, "a [output].mp4") == tmp_path / "input" / "a [output].mp4"
    for name, said in (
        ("sub/output.mp4 [input]", "is not in the input folder"),
        ("sub/input.mp4 [output]", f"is not in the output folder {places['output']}; put it there"),
        ("../input/sub/input.mp4 [output]", "leads out of the output folder"),
        ("sub/output.mp4 [other]", "is not in the input folder"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            check_input(places, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "leads out of the input folder; choose a file inside it"),
        ("\\\\server\\share\\a.mp4", "leads out of the input folder"),
        ("../secret.mp4", "leads out of the input folder"),
        ("sub/../../secret.mp4", "leads out of the input folder"),
        ("sub\\..\\a.mp4", "leads out of the input folder"),
        ("link/secret.mp4", "is a link out of the input folder; copy the file into it instead"),
        ("link.mp4", "is a link out of the input folder"),
        ("circle.mp4", "cannot be opened|is not in the input folder"),
        ("gone.mp4", "file 'gone.mp4' is not in the input folder .*; put it there or upload it"),
        ("sub", "is not in the input folder"),
        ("C:/a.mp4", "is not in the input folder"),
        ("x" * 5000, "cannot be opened|is not in the input folder"),
        ("", "file is ''; expected the name of a file in the input folder"),
        ("a\0b.mp4", "expected the name of a file"),
        (None, "file is None; expected the name of a file"),
        (3, "file is 3; expected the name of a file"),
    ],
)
def test_inputs_elsewhere_are_refused(tmp_path, name, message):
    folder, outside = tmp_path / "input", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    for secret in (outside / "secret.mp4", tmp_path / "secret.mp4"):
        secret.write_text("secret")
    (folder / "link").symlink_to(outside)
    (folder / "link.mp4").symlink_to(outside / "secret.mp4")
    (folder / "circle.mp4").symlink_to(folder / "circle.mp4")
    with pytest.raises(ValueError, match=message):
        check_input(folders(folder), name)


def test_an_input_folder_behind_a_link_and_links_inside_it(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").write_text("")
    (tmp_path / "real" / "b.mp4").symlink_to(tmp_path / "real" / "a.mp4")
    (tmp_path / "input").symlink_to(tmp_path / "real")
    assert check_input(folders(tmp_path / "input"), "b.mp4").name == "b.mp4"
