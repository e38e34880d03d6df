"""The finishing nodes: each appends its step, and says what is wrong before anything runs."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from opent2v.media.finishing import Caption, ColourMatch, Deflicker, FontError, FrameRate, Loop, Watermark
from opent2v.media.finishing import fonts as font_room
from opent2v.tests.media import clips
from opent2v.tests.nodes.calls import call

IMAGES = torch.rand(6, 16, 24, 3)
NODES = {
    "OpenT2VColourMatch": ColourMatch,
    "OpenT2VDeflicker": Deflicker,
    "OpenT2VFrameRate": FrameRate,
    "OpenT2VCaption": Caption,
    "OpenT2VWatermark": Watermark,
    "OpenT2VLoop": Loop,
}


def steps(node, **given):
    if node == "OpenT2VWatermark":
        given.setdefault("image", IMAGES)
    (chain,), _ = call(node, **given)
    return chain


@pytest.mark.parametrize("node", NODES)
def test_a_step_is_added_behind_the_others(node):
    before = steps("OpenT2VLoop", fade=0)
    alone, chained = steps(node), steps(node, finishing=before)
    assert len(alone) == 1 and isinstance(alone[0], NODES[node])
    assert chained[0] is before[0] and isinstance(chained[1], NODES[node]) and len(before) == 1


def test_settings_arrive():
    assert steps("OpenT2VFrameRate", fps=29.97, method="blend") == (FrameRate(Fraction(30000, 1001), "blend"),)
    assert steps("OpenT2VDeflicker", window=5, strength=0.5) == (Deflicker(5, 0.5),)
    [match] = steps("OpenT2VColourMatch", strength=0.3, reference=IMAGES)
    assert match.strength == 0.3 and torch.equal(match.reference, IMAGES[:1])


def test_an_empty_caption_shows_nothing():
    (frames, *_), _ = call("OpenT2VFinishFrames", images=IMAGES, finishing=steps("OpenT2VCaption", text=" "))
    assert torch.equal(frames, IMAGES)


def test_letters_no_font_has_are_told_at_once(monkeypatch):
    monkeypatch.setattr(font_room, "FOLDERS", ())
    with pytest.raises(FontError, match="No font on this machine has the letters '你好' of the caption"):
        steps("OpenT2VCaption", text="你好")


def test_a_mask_hides_what_it_covers():
    mask = torch.zeros(1, 16, 24)
    mask[:, :, 12:] = 1
    [mark] = steps("OpenT2VWatermark", mask=mask, opacity=1.0)
    assert mark.picture.shape == (16, 24, 4)
    assert mark.picture[:, :12, 3].min() == 1 and mark.picture[:, 12:, 3].max() == 0
    # What Load Image hands out for a picture without alpha.
    [whole] = steps("OpenT2VWatermark", mask=torch.zeros(1, 64, 64))
    assert whole.picture[..., 3].min() == 1


def test_joining_clips():
    (joined, _), _ = call("OpenT2VJoinClips", first=IMAGES, second=torch.rand(5, 16, 24, 4), overlap=2)
    assert joined.shape == (9, 16, 24, 3) and torch.equal(joined[:4], IMAGES[:4])


@pytest.mark.parametrize("rates", [(44100, 32000), (32000, 44100)])
def test_joined_sounds_have_the_higher_rate(rates):
    """A model's 32000 samples a second behind a file's 44100, and the reverse: the tone goes on, as loud."""
    first, second = (clips.sound(1, rate) for rate in rates)
    frames = torch.rand(16, 8, 8, 3)
    (_, sound), _ = call(
        "OpenT2VJoinClips", first=frames, second=frames, overlap=0, first_audio=first, second_audio=second, fps=16.0
    )
    assert sound["sample_rate"] == 44100 and sound["waveform"].shape == (1, 2, 88200)
    expected = clips.sound(1)["waveform"][0, 0]
    for half in sound["waveform"][0, 0].split(44100):
        assert (half - expected)[100:-100].abs().max() < 1e-3
