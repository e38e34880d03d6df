"""Files below a folder are found behind links, and a link to a folder above ends the walk."""

from __future__ import annotations

from opent2v.base.walk import files_below


def test_links_are_followed_and_loops_end(tmp_path):
    root, outside = tmp_path / "models", tmp_path / "outside"
    for path in (root / "a" / "x.bin", outside / "y.bin", root / ".git" / "z.bin", root / "w.bin"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (root / "linked").symlink_to(outside)
    (root / "again").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "gone")
    listed = [path.relative_to(root).as_posix() for path in files_below(root)]
    assert listed == ["w.bin", "a/x.bin", "again/y.bin", "linked/y.bin"]
    assert list(files_below(tmp_path / "none")) == []


def test_parts_of_a_whole_are_not_walked(tmp_path):
    (tmp_path / "model" / "vae").mkdir(parents=True)
    for name in ("model/index", "model/vae/file"):
        (tmp_path / name).write_bytes(b"")
    listed = files_below(tmp_path, lambda folder: (folder / "index").is_file())
    assert [path.name for path in listed] == ["index"]
