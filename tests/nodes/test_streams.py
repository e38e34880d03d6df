"""LATENTs of several streams in the nodes that decode and compare."""

from __future__ import annotations

import av
import pytest
import torch

from opent2v.host import host
from opent2v.host.sound import AudioDecoder
from opent2v.sampling import SamplingError
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.nodes.nested import Nested, nested
from opent2v.tests.tiny import wan as tiny

RATE = 16000
AUDIO_VAE = "an audio VAE"
LEFT_OUT = (
    "The latent holds sound too, which is left out. To get it, connect the model's audio VAE to audio_vae (Load Video "
    "VAE, for LTX-2 Load Video Diffusion Model too; or ComfyUI's Load LTXV Audio VAE for LTX-2, Load VAE for MiniMax "
    "H3)."
)


@pytest.fixture(autouse=True)
def audio_vae(monkeypatch):
    """One that makes 0.56 s of a tone for each sound, louder for each clip."""

    def decode(latent):
        tone = torch.sin(torch.arange(9000) * 0.2).expand(len(latent), 2, -1)
        return {"waveform": tone * torch.arange(1, len(latent) + 1).view(-1, 1, 1) / 4, "sample_rate": RATE}

    monkeypatch.setattr(host, "audio_decoder", lambda vae: AudioDecoder(8, decode) if vae is AUDIO_VAE else None)


def decode(latent, **given):
    return call("OpenT2VDecode", vae=tiny.shared()[2], latent=latent, **given)


def saved(latent, **given):
    return call("OpenT2VDecodeToVideo", vae=tiny.shared()[2], latent=latent, **given)


def test_the_picture_of_a_joint_latent_is_decoded_as_ever():
    latent = nested()
    (images, audio), ui = decode(latent)
    assert torch.equal(images, decode({"samples": latent["samples"].tensors[0]})[0][0])
    assert audio is None and remarks(ui) == LEFT_OUT


def test_its_sound_comes_with_an_audio_vae():
    (images, audio), ui = decode(nested(), audio_vae=AUDIO_VAE)
    assert images.shape == (9, 32, 32, 3) and audio["waveform"].shape == (1, 2, 9000) and audio["sample_rate"] == RATE
    assert remarks(ui) == ""


def test_a_latent_without_sound_says_so():
    (_, audio), ui = decode({"samples": torch.randn(1, 16, 3, 4, 4)}, audio_vae=AUDIO_VAE)
    assert audio is None and remarks(ui) == "The latent holds no sound, so audio_vae has nothing to decode."


def test_vaes_in_the_wrong_place_are_refused():
    with pytest.raises(ValueError, match=r"^audio_vae is a VAE for pictures. Connect the model's audio VAE there"):
        decode(nested(), audio_vae=tiny.shared()[2])
    with pytest.raises(ValueError, match=r"^vae is an audio VAE. Connect the model's video VAE there, and this one to"):
        call("OpenT2VDecode", vae=AUDIO_VAE, latent=nested())


def test_an_audio_vae_of_another_model_is_refused():
    latent = {"samples": Nested((torch.randn(1, 16, 3, 4, 4), torch.randn(1, 32, 2, 10)))}
    with pytest.raises(ValueError, match=r"^The latent's sound has 32 channels; this audio VAE decodes 8. Use"):
        decode(latent, audio_vae=AUDIO_VAE)


def test_picture_and_sound_go_into_one_file():
    (_, file, audio), ui = saved(nested(), fps=16.0, audio_vae=AUDIO_VAE)
    with av.open(file) as container:
        assert container.streams.video[0].frames == 9
        heard = container.streams.audio[0]
        assert heard.rate == RATE and abs(float(heard.duration * heard.time_base) - 9 / 16) < 0.07
    assert audio["waveform"].shape == (1, 2, 9000) and not any("sound" in line for line in ui["opent2v_remarks"])


def test_a_file_without_its_sound_says_so():
    (_, file, audio), ui = saved(nested())
    with av.open(file) as container:
        assert not container.streams.audio
    assert audio is None and LEFT_OUT in remarks(ui)
    other = {"waveform": torch.zeros(1, 2, RATE), "sample_rate": RATE}
    (_, file, audio), ui = saved(nested(), audio=other)
    assert audio is other and "sound" not in remarks(ui)


def test_two_sounds_are_one_too_many():
    other = {"waveform": torch.zeros(1, 2, RATE), "sample_rate": RATE}
    with pytest.raises(ValueError, match=r"^audio and audio_vae are both connected, and a file takes one sound."):
        saved(nested(), audio=other, audio_vae=AUDIO_VAE)


def test_a_rate_that_parts_picture_and_sound_is_said():
    _, ui = saved(nested(), fps=8.0, audio_vae=AUDIO_VAE)
    assert (
        "The picture lasts 1.1 s at 8 fps and its sound 0.6 s, so they do not go together. Set fps to 16."
        in remarks(ui).splitlines()
    )


def test_the_sounds_of_a_batch_begin_with_their_clips():
    (_, file, audio), _ = saved(nested(clips=3), fps=9.0, audio_vae=AUDIO_VAE)
    waveform = audio["waveform"][0, 0]
    assert len(waveform) == 3 * RATE  # 9 frames at 9 fps each
    loud = [waveform[n * RATE : n * RATE + 9000].abs().max().item() for n in range(3)]
    assert loud == pytest.approx([0.25, 0.5, 0.75], abs=1e-3)
    assert not waveform[9000:RATE].any()
    with av.open(file) as container:
        assert container.streams.video[0].frames == 27


def test_joint_latents_are_compared_stream_by_stream():
    one, other = nested(), nested()
    other["samples"].tensors[1] = other["samples"].tensors[1] + 0.1
    (report, psnr, *_), _ = call("OpenT2VCompareCache", latent=other, reference_latent=one)
    lines = report.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["run", "latents", "sound"]
    assert psnr == 100 and "identical" in lines[1] and "dB" in lines[2]
    with pytest.raises(
        SamplingError, match=r"^The cached run holds 2 streams \(1 x 16 x 3 x 4 x 4, 1 x 8 x 10 x 16\), the"
    ):
        call("OpenT2VCompareCache", latent=one, reference_latent={"samples": torch.zeros(1, 16, 3, 4, 4)})
