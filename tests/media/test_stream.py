"""Encoding beside decoding: order, errors and interrupts on either side."""

import threading
import time

import pytest
import torch

from opent2v.media import VideoWriter
from opent2v.media.settings import SaveSettings
from opent2v.media.stream import WAITING, save_stream
from opent2v.tests.media.clips import read, save

FRAMES = torch.rand(23, 48, 64, 3)


def writer(folder, **options):
    return lambda width, height: VideoWriter(folder, "clip", fps=16, width=width, height=height, **options)


def test_the_pictures_are_those_that_a_writer_alone_makes(tmp_path):
    """Told without losses: on some machines x264 makes other bytes of the same small frames."""
    lossless = "mkv ffv1"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    streamed = save_stream(iter(FRAMES.split(4)), writer(tmp_path / "a", settings=SaveSettings(lossless))).path
    assert len(read(streamed)) == 23
    assert (read(streamed) == read(save(tmp_path / "b", FRAMES, format=lossless))).all()


def test_no_frames(tmp_path):
    with pytest.raises(ValueError, match="The video has no frames; a video needs at least one"):
        save_stream(iter(()), writer(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("decoder"), KeyboardInterrupt()])
def test_an_error_while_decoding_leaves_no_file_and_no_thread(tmp_path, error):
    def pieces():
        yield FRAMES[:4]
        yield FRAMES[4:8]
        raise error

    with pytest.raises(type(error)):
        save_stream(pieces(), writer(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "opent2v-encoder"]


def test_an_error_while_encoding_stops_the_decoder(tmp_path):
    made = 0

    def pieces():
        nonlocal made
        for _ in range(1000):
            made += 1
            yield torch.full((4, 48, 64, 3), float("nan")) if made == 3 else FRAMES[:4]

    with pytest.raises(ValueError, match="NaN or infinite"):
        save_stream(pieces(), writer(tmp_path))
    assert made < 20 and list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "opent2v-encoder"]


def test_an_error_in_the_last_piece_is_not_lost(tmp_path):
    with pytest.raises(ValueError, match="NaN or infinite"):
        save_stream(iter([FRAMES[:4], torch.full((4, 48, 64, 3), float("nan"))]), writer(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_slow_encoder_makes_the_decoder_wait(tmp_path, monkeypatch):
    """A piece is being written, WAITING pieces wait, one is in the decoder's hands: never more."""
    written, ahead = 0, []
    original = VideoWriter.write

    def slow(self, frames):
        nonlocal written
        time.sleep(0.02)
        original(self, frames)
        written += 1

    monkeypatch.setattr(VideoWriter, "write", slow)

    def pieces():
        for n in range(12):
            ahead.append(n - written)
            yield FRAMES[:2]

    save_stream(pieces(), writer(tmp_path))
    assert written == 12 and max(ahead) <= WAITING + 2
