"""Sound in every format that has it, padded or cut, and said to be missing where there is none."""

from __future__ import annotations

import av
import pytest
import torch

from opent2v.media import SaveSettings, VideoWriter, read_video
from opent2v.media.formats import FORMATS, available
from opent2v.tests.media.clips import RED, save, solid, sound

CODECS = {".mp4": "aac", ".webm": "opus", ".mkv": "flac", ".mov": "pcm_s16le"}
WITH_SOUND = [key for key in available() if FORMATS[key].sound]


@pytest.mark.parametrize("key", WITH_SOUND)
@pytest.mark.parametrize("rate", [44100, 48000])
def test_sound_is_in_step(tmp_path, key, rate):
    path = save(tmp_path, solid(RED, 24, 64, 64), format=key, audio=sound(4, rate))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == CODECS[path.suffix]
    audio = read_video(path).audio
    assert audio is not None
    wave, found = audio["waveform"], audio["sample_rate"]
    assert found == (48000 if path.suffix == ".webm" else rate)
    assert wave.shape[:2] == (1, 2) and abs(wave.shape[2] / found - 1.5) < 0.03
    middle = slice(found // 2, found)
    expected = sound(4, found)["waveform"][0, 0, middle]
    tolerance = 1e-4 if path.suffix in (".mkv", ".mov") else 0.05
    assert (wave[0, 0, middle] - expected).abs().max() < tolerance


@pytest.mark.parametrize("key", WITH_SOUND)
def test_silence_follows_a_short_sound_where_asked(tmp_path, key):
    lengths = []
    for rule in ("cut", "pad"):
        path = save(tmp_path, solid(RED, 32, 64, 64), format=key, audio=sound(0.5), audio_length=rule)
        audio = read_video(path).audio
        assert audio is not None
        lengths.append(audio["waveform"].shape[2] / audio["sample_rate"])
        late = audio["waveform"][..., int(0.6 * audio["sample_rate"]) :]
        assert not late.numel() or late.abs().max() < 1e-3
    assert lengths == pytest.approx([0.5, 2.0], abs=0.03)


@pytest.mark.parametrize("key", ["gif", "webp", "png sequence"])
def test_a_silent_format_says_so(tmp_path, key):
    with VideoWriter(tmp_path, "clip", SaveSettings(key), fps=16, width=64, height=48, audio=sound(1)) as writer:
        writer.write(solid(RED))
    assert writer.remarks == [f"The sound was left out: {key} has none."]
    with VideoWriter(tmp_path, "clip", SaveSettings(key), fps=16, width=64, height=48, audio=sound(0)) as writer:
        writer.write(solid(RED))
    assert writer.remarks == []
    two = {"waveform": torch.zeros(2, 1, 9), "sample_rate": 8000}
    with pytest.raises(ValueError, match="audio holds 2 sounds"):
        VideoWriter(tmp_path, "clip", SaveSettings(key), fps=16, width=64, height=48, audio=two)
