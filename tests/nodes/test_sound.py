"""What Encode Sound refuses, each with what to do; it works in tests/nodes/test_ltx2.py. Tests: nodes/sound.py"""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.host.sound import AudioDecoder
from opent2v.nodes import sound
from opent2v.tests.nodes.calls import call, remarks

SHAPES = (1, 4, 3, 2, 2), (1, 8, 10, 16)
AUDIO = {"waveform": torch.ones(1, 1, 4000), "sample_rate": 16000}


def encoded(length: int):
    return lambda audio: torch.full((1, 8, length, 16), float(audio["waveform"].shape[1]))


@pytest.fixture
def decoders(monkeypatch):
    """Name of an audio VAE -> what the host makes of it."""
    known = {"audio": AudioDecoder(8, dict, encoded(6)), "long": AudioDecoder(8, dict, encoded(20)),
             "mute": AudioDecoder(8, dict), "other": AudioDecoder(5, dict, encoded(6))}  # fmt: skip
    monkeypatch.setattr(sound.host, "audio_decoder", known.get)


def latent():
    return {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}


def encode(audio_vae: str, **given):
    return call("OpenT2VEncodeAudio", **{"audio_vae": audio_vae, "audio": AUDIO, "latent": latent(), **given})


def test_a_short_sound_is_kept_and_the_rest_is_made_anew(decoders):
    (result,), ui = encode("audio", keep=0.75)
    video, heard = result["samples"].unbind()
    mask, kept = result["noise_mask"].unbind()
    assert heard.shape == SHAPES[1] and heard[:, :, :6].eq(2).all() and not heard[:, :, 6:].any()
    assert torch.equal(video, torch.zeros(SHAPES[0])) and mask.eq(1).all()
    assert kept[0, 0, :, 0].tolist() == [0.25] * 6 + [1.0] * 4
    assert "shorter than the video" in remarks(ui) and "0.2 s of sound, 6 of 10 latents" in remarks(ui)


def test_a_long_sound_is_cut_and_the_pictures_mask_stays(decoders):
    given = {**latent(), "noise_mask": torch.full((1, 1, 3, 2, 2), 0.5)}
    (result,), ui = encode("long", latent=given)
    assert result["samples"].unbind()[1].shape == SHAPES[1] and "longer than the video" in remarks(ui)
    assert result["noise_mask"].unbind()[0].eq(0.5).all() and not result["noise_mask"].unbind()[1].any()


@pytest.mark.parametrize(
    ("audio_vae", "given", "message"),
    [
        ("video", {}, "audio_vae is a VAE for pictures. Connect the model's audio VAE there"),
        ("mute", {}, "This audio VAE decodes only. LTX-2's encodes sounds."),
        ("audio", {"latent": {"samples": torch.zeros(SHAPES[0])}}, "The latent holds a picture only."),
        ("other", {}, "The latent's sound has 8 channels; this audio VAE encodes 5."),
        ("audio", {"audio": {**AUDIO, "waveform": torch.ones(1, 1, 0)}}, r"The AUDIO is of shape \[1, 1, 0\]"),
    ],
)
def test_what_cannot_be_is_refused(decoders, audio_vae, given, message):
    with pytest.raises(ValueError, match=message):
        encode(audio_vae, **given)
