"""The sound of a file alone, from its first sample to its last."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from opent2v.media import VideoError
from opent2v.media.reader_sound import read_whole_sound

RATE = 48000


def two_tracks(path: Path) -> Path:
    """An AC-3 track of 1 s in front of an AAC track of 2 s."""
    with av.open(str(path), "w") as output:
        tracks = [output.add_stream(codec, rate=RATE, layout="mono") for codec in ("ac3", "aac")]
        for seconds, track in enumerate(tracks, 1):
            wave = np.sin(np.arange(seconds * RATE) / 20).astype(np.float32)[None] / 2
            piece = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE, 0, Fraction(1, RATE)
            output.mux(track.encode(piece))
            output.mux(track.encode(None))
    return path


def test_the_first_track_that_can_be_decoded_is_read_to_its_end(tmp_path):
    path = two_tracks(tmp_path / "clip.mkv")
    assert abs(read_whole_sound(path)[0]["waveform"].shape[-1] / RATE - 1) < 0.1
    data = path.read_bytes()
    assert data.count(b"A_AC3") == 1
    path.write_bytes(data.replace(b"A_AC3", b"A_XYZ"))
    assert abs(read_whole_sound(path)[0]["waveform"].shape[-1] / RATE - 2) < 0.1


def test_a_cut_off_file_gives_what_is_there(tmp_path):
    path = two_tracks(tmp_path / "clip.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert 0.2 < read_whole_sound(path)[0]["waveform"].shape[-1] / RATE < 1


def test_no_sound_is_refused_in_words(tmp_path):
    path = tmp_path / "clip.mp3"
    path.write_bytes(b"\xff\xfb\x90")
    with pytest.raises(VideoError) as error:
        read_whole_sound(path)
    assert str(error.value) == (
        "clip.mp3 is no sound that can be read: it is damaged, cut off or something else. Choose another file."
    )
