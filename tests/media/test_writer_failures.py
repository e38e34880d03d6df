"""Every failure leaves the folder as it was, and a finished file never takes another's name."""

import errno
import os
import shutil
import threading

import av
import av.error
import pytest
import torch

from opent2v.media import OutputError, VideoWriter
from opent2v.media import writer as writer_module
from opent2v.tests.media.clips import RED, read, save, solid

# --- bad folders, full disks, interrupts ---


def test_folder_under_a_file_and_missing_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        OutputError, match=r"Cannot save to .*file/x: a file stands where a folder is needed\. Move"
    ) as e:
        save(tmp_path / "file" / "x", solid(RED))
    assert e.value.errno == errno.ENOTDIR
    with pytest.raises(OutputError, match=r"the folder does not exist \(any more\)\. Create it or choose another"):
        save(tmp_path / "missing", solid(RED))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.EACCES,
            "no permission to write there. Change the folder's permissions or choose another output folder.",
        ),
        (errno.EROFS, "the disk is read-only."),
        (errno.EIO, "Input/output error. Check the folder or choose another output folder."),
    ],
)
def test_unwritable_folder(tmp_path, monkeypatch, code, message):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    # Simulated: root, as which tests often run, may write everywhere.
    monkeypatch.setattr(writer_module, "create_temporary", refuse)
    with pytest.raises(OutputError) as error:
        save(tmp_path, solid(RED))
    assert str(error.value).startswith(f"Cannot save to {tmp_path}: {message}")


@pytest.mark.parametrize("call", [2, -1])
def test_full_disk(tmp_path, monkeypatch, call):
    """The second packet, or the last one, does not fit."""

    class FullDisk:
        def __init__(self, container):
            self.container, self.calls = container, 0

        def __getattr__(self, name):
            return getattr(self.container, name)

        def mux(self, packets):
            self.calls += 1
            if self.calls == call or (call == -1 and self.calls == 6):
                raise av.error.OSError(errno.ENOSPC, "No space left on device")
            self.container.mux(packets)

    open_file = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: FullDisk(open_file(*a, **k)))
    with pytest.raises(OutputError, match=rf"Cannot save to {tmp_path}: the disk is full\. Free some space") as error:
        save(tmp_path, solid(RED, frames=5))
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("frames", [8, 200])  # too large when finishing, and long before
def test_file_size_limit_of_the_system(tmp_path, frames):
    resource = pytest.importorskip("resource", reason="a limit of POSIX systems")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"the file became larger than allowed there\. Save a shorter video or"):
            save(tmp_path, torch.rand(frames, 48, 64, 3), quality=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that holds an open file")
def test_folder_removed_in_the_middle(tmp_path):
    folder = tmp_path / "sub"
    folder.mkdir()
    writer = VideoWriter(folder, "clip", fps=16, width=64, height=48)
    with pytest.raises(OutputError, match=r"sub: the folder does not exist \(any more\)"), writer:
        writer.write(solid(RED))
        shutil.rmtree(folder)
        writer.write(solid(RED))
    assert os.listdir(tmp_path) == []


class Interrupt(BaseException):
    pass


def test_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(Interrupt), VideoWriter(tmp_path, "clip", fps=16, width=64, height=48) as writer:
        writer.write(solid(RED, frames=60))
        assert [name[:6] for name in os.listdir(tmp_path)] == [".clip-"]
        raise Interrupt
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["_open", "_finish"])
def test_interrupt_while_opening_or_finishing(tmp_path, monkeypatch, where):
    def interrupt(*_):
        raise Interrupt

    monkeypatch.setattr(VideoWriter, where, interrupt)
    with pytest.raises(Interrupt):
        save(tmp_path, solid(RED))
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_block_keeps_its_type(tmp_path):
    with pytest.raises(FileNotFoundError), VideoWriter(tmp_path, "clip", fps=16, width=64, height=48):
        raise FileNotFoundError("not ours")
    assert os.listdir(tmp_path) == []


# --- names ---


def test_never_overwrites_and_counts_on(tmp_path):
    (tmp_path / "clip_00007.mp4").write_text("mine")
    (tmp_path / ".clip-0badf00d.mp4.part").write_text("left by a crash")
    assert save(tmp_path, solid(RED)).name == "clip_00008.mp4"
    assert (tmp_path / "clip_00007.mp4").read_text() == "mine"
    assert len(os.listdir(tmp_path)) == 3


def test_stems_in_any_script(tmp_path):
    for stem in ("红色的圆 🎬", "%d clip's #1", "-v", "a" * 200):
        assert save(tmp_path, solid(RED), stem=stem).name == f"{stem}_00001.mp4"


def test_two_writers_at_once(tmp_path):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(save(tmp_path, solid(RED)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == [f"clip_0000{n}.mp4" for n in range(1, 7)]
    assert all(len(read(path)) == 5 for path in paths)
    assert len(os.listdir(tmp_path)) == 6


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_file_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        assert save(tmp_path, solid(RED)).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
