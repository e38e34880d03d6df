"""The sound inside the file, in step with the picture."""

import av
import pytest
import torch

from opent2v.media import VideoWriter
from opent2v.tests.media.clips import GREY, RED, save, seconds, solid, sound


def read_sound(path):
    """[C, samples] float, Hz, seconds as the file states them."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        length, rate = float(seconds(stream)), stream.rate
        assert stream.codec_context.name == "aac"
        pieces = [torch.from_numpy(frame.to_ndarray()) for frame in container.decode(audio=0)]
    return torch.cat(pieces, dim=1), rate, length


@pytest.mark.parametrize(("rate", "encoded"), [(44100, 44100), (22000, 22050), (16000, 16000), (96000, 48000)])
def test_sound_is_cut_at_the_end_of_the_picture(tmp_path, rate, encoded):
    wave, found_rate, length = read_sound(save(tmp_path, solid(RED, frames=24), audio=sound(4, rate)))
    assert found_rate == encoded
    assert length == pytest.approx(24 / 16, abs=1e-3)
    assert wave.shape[0] == 2
    # In step from the first sample on: the same sine at the same phase.
    middle = slice(encoded // 2, encoded)
    expected = sound(4, encoded)["waveform"][0, 0, middle]
    assert (wave[0, middle] - expected).abs().max() < 0.05


def test_short_sound_stays_short_and_mono_stays_mono(tmp_path):
    path = save(tmp_path, solid(RED, frames=32), audio=sound(0.5, channels=1))
    wave, _, length = read_sound(path)
    assert wave.shape[0] == 1
    assert length == pytest.approx(0.5, abs=1e-3)
    with av.open(str(path)) as container:
        assert container.duration == 2_000_000


def test_sound_and_picture_lie_interleaved(tmp_path):
    with VideoWriter(tmp_path, "clip", fps=16, width=64, height=48, audio=sound(20)) as writer:
        for _ in range(20):
            writer.write(solid(GREY, frames=16))
    with av.open(str(writer.path)) as container:
        order = [packet.stream.type for packet in sorted(container.demux(), key=lambda p: p.pos or 0) if packet.size]
    assert "audio" in order[: len(order) // 4] and "video" in order[-len(order) // 4 :]


def test_empty_sound_is_none_and_broken_sound_is_told(tmp_path):
    with av.open(str(save(tmp_path, solid(RED), audio=sound(0)))) as container:
        assert not container.streams.audio
    broken = sound(1)
    broken["waveform"] = broken["waveform"] * float("inf")
    with VideoWriter(tmp_path, "broken", fps=16, width=64, height=48, audio=broken) as writer:
        writer.write(solid(RED))
    assert [remark[:42] for remark in writer.remarks] == ["The sound has NaN or infinite samples near"]
    with av.open(str(writer.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5 and container.streams.audio
