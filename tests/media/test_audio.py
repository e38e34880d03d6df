"""The sound's checks and its cutting into frames, without a file."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from opent2v.media import AudioTrack
from opent2v.media.audio import joined as joined_sounds


def track(samples=100, rate=10, channels=2):
    ramp = torch.linspace(-1, 1, samples) if samples else torch.zeros(0)
    return AudioTrack({"waveform": ramp.expand(1, channels, samples), "sample_rate": rate})


def test_pieces_join_without_gap_or_overlap():
    sound = track()
    steps = [Fraction(1, 3), Fraction(1, 3), Fraction(5, 2), Fraction(99)]
    frames = [frame for until in steps for frame in sound.frames(until)]
    # 3 samples up to 1/3 s, none more for the same moment, 25 up to 2.5 s (10 a piece), then the rest
    assert [frame.samples for frame in frames] == [3, 10, 10, 2, *[10] * 7, 5]
    assert [frame.pts for frame in frames[:4]] == [0, 3, 13, 23]
    assert frames[0].time_base == Fraction(1, 10)
    joined = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    assert (joined == torch.linspace(-1, 1, 100).expand(2, 100).numpy()).all()


def test_layout_rates_and_length():
    assert (track(channels=1).layout, track(channels=2).layout) == ("mono", "stereo")
    rates = {8000: 8000, 11024: 11025, 44100: 44100, 44101: 48000, 48000: 48000, 192_000: 48000, 1: 8000}
    assert {rate: track(rate=rate).encoded_rate for rate in rates} == rates
    assert track(samples=0).samples == 0 and list(track(samples=0).frames(Fraction(5))) == []


def test_padding_goes_on_with_silence():
    sound = AudioTrack({"waveform": torch.ones(1, 2, 25), "sample_rate": 10}, pad=True)
    frames = [frame for until in (Fraction(2), Fraction(4)) for frame in sound.frames(until)]
    assert [frame.pts for frame in frames] == [0, 10, 20, 30]
    joined = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    assert joined.shape == (2, 40) and joined[:, :25].min() == 1 and not joined[:, 25:].any()


def test_rates_of_another_codec():
    audio = {"waveform": torch.zeros(1, 1, 9), "sample_rate": 44100}
    assert AudioTrack(audio, (48000,)).encoded_rate == 48000
    assert AudioTrack(audio | {"sample_rate": 96000}, (48000,)).encoded_rate == 48000


def test_loud_samples_are_clipped():
    sound = AudioTrack({"waveform": torch.tensor([[[3.0, -3.0, 0.5]]], dtype=torch.float64), "sample_rate": 8000})
    assert next(sound.frames(Fraction(1))).to_ndarray().tolist() == [[1.0, -1.0, 0.5]]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"samples": 3}, "audio is dict; expected a dict with 'waveform' and 'sample_rate'"),
        (5, "audio is int; expected a dict"),
        ({"waveform": [0.0], "sample_rate": 8000}, r"audio waveform is list; expected a float tensor \[1, channels"),
        ({"waveform": torch.zeros(2, 9), "sample_rate": 8000}, r"audio waveform is \[2, 9\] torch.float32; expected"),
        ({"waveform": torch.zeros(1, 2, 9, dtype=torch.int16), "sample_rate": 8000}, "torch.int16; expected a float"),
        ({"waveform": torch.zeros(3, 2, 9), "sample_rate": 8000}, "audio holds 3 sounds; a video takes one. Pick one"),
        ({"waveform": torch.zeros(1, 0, 9), "sample_rate": 8000}, "audio has no channels; expected at least 1"),
        ({"waveform": torch.zeros(1, 2, 9), "sample_rate": 0}, "sample_rate is 0; expected a whole number of Hz"),
        ({"waveform": torch.zeros(1, 2, 9), "sample_rate": 8000.5}, r"sample_rate is 8000\.5; expected a whole number"),
        (
            {"waveform": torch.zeros(1, 2, 9), "sample_rate": float("nan")},
            "sample_rate is nan; expected a whole number",
        ),
        ({"waveform": torch.zeros(1, 2, 9), "sample_rate": None}, "sample_rate is None; expected a whole number"),
    ],
)
def test_unusable_sounds(audio, message):
    with pytest.raises(ValueError, match=message):
        AudioTrack(audio)


def test_broken_samples_are_silent_and_named_by_time():
    wave = torch.full((1, 1, 100), 0.5)
    wave[0, 0, 55], wave[0, 0, 71] = float("nan"), float("-inf")
    sound = AudioTrack({"waveform": wave, "sample_rate": 10})
    heard = np.concatenate([frame.to_ndarray() for frame in sound.frames(Fraction(10))], axis=1)[0]
    assert np.flatnonzero(heard != 0.5).tolist() == [55, 71] and not heard[[55, 71]].any()
    assert sound.remarks == [
        "The sound has NaN or infinite samples near second 5.00; they are silent. The node that made the sound failed."
    ]


@pytest.mark.parametrize(("channels", "layout"), [(5, "5.0"), (6, "5.1"), (8, "7.1")])
def test_surround_is_kept(channels, layout):
    wave = torch.arange(channels).float().div(10).view(1, -1, 1).expand(1, channels, 20)
    sound = AudioTrack({"waveform": wave, "sample_rate": 10})
    frame = next(sound.frames(Fraction(1)))
    assert sound.layout == layout and sound.remarks == [] and frame.samples == 10
    if channels < 8:  # PyAV reads behind the end of eight planes
        assert np.allclose(frame.to_ndarray()[:, 0], np.arange(channels) / 10)


@pytest.mark.parametrize("channels", [3, 4, 7, 9, 16])
def test_other_numbers_of_channels_are_mixed_down(channels):
    left = torch.zeros(1, channels, 10)
    left[0, 0] = 1
    sound = AudioTrack({"waveform": left, "sample_rate": 10})
    heard = next(sound.frames(Fraction(1))).to_ndarray()
    assert sound.layout == "stereo" and heard.shape == (2, 10) and heard[0].max() > 0.05
    assert heard[1].max() == (0 if channels in (3, 4, 7) else heard[0].max())
    loud = AudioTrack({"waveform": torch.ones(1, channels, 10), "sample_rate": 10})
    assert next(loud.frames(Fraction(1))).to_ndarray().max() <= 1
    assert sound.remarks == [f"The sound has {channels} channels; it was mixed down to stereo."]


# --- two sounds as one ---


def tone(seconds, rate=100, channels=1, value=1.0):
    return {"waveform": torch.full((1, channels, int(seconds * rate)), value), "sample_rate": rate}


def test_two_sounds_fade_over_at_equal_power():
    made = joined_sounds(tone(2), tone(1, value=0.0), (Fraction(2), Fraction(1)), Fraction(1, 2))
    before = made["waveform"][0, 0]
    after = joined_sounds(tone(2, value=0.0), tone(1), (Fraction(2), Fraction(1)), Fraction(1, 2))["waveform"][0, 0]
    assert len(before) == 250 and made["sample_rate"] == 100
    assert torch.allclose(before**2 + after**2, torch.ones(250), atol=1e-5)
    assert before[149] == 1 and 0 < before[199] < before[150] < 1 and before[200] == 0


def test_a_sound_keeps_to_its_clip():
    # The first is shorter than its clip, the second longer.
    made = joined_sounds(tone(1), tone(5), (Fraction(2), Fraction(1)), Fraction(0))["waveform"][0, 0]
    assert len(made) == 300 and made[:100].all() and not made[100:200].any() and made[200:].all()


def test_silence_stands_for_a_missing_sound_and_mono_goes_with_stereo():
    assert joined_sounds(None, None, (Fraction(1), Fraction(1)), Fraction(0)) is None
    made = joined_sounds(None, tone(1, channels=2), (Fraction(1), Fraction(1)), Fraction(0))["waveform"]
    assert made.shape == (1, 2, 200) and not made[..., :100].any()
    assert (
        joined_sounds(tone(1), tone(1, channels=2), (Fraction(1), Fraction(1)), Fraction(0))["waveform"].shape[1] == 2
    )


def test_sounds_that_do_not_go_together_are_refused():
    lengths = Fraction(1), Fraction(1)
    with pytest.raises(ValueError, match="The sounds have 100 and 200 samples a second; both need the same rate"):
        joined_sounds(tone(1), tone(1, rate=200), lengths, Fraction(0))
    with pytest.raises(ValueError, match="The sounds have 2 and 6 channels; both need as many, or one channel"):
        joined_sounds(tone(1, channels=2), tone(1, channels=6), lengths, Fraction(0))
