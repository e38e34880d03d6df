"""The VAE of a joint model's sound, from a file to an AUDIO. Tests: loaders/single.py, base/loaded.py"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import (
    Defaults,
    Family,
    Geometry,
    Recognised,
    Recognition,
    Sound,
    SoundStream,
    Variant,
    VideoStream,
)
from opent2v.host import host
from opent2v.loaders import ModelFileError, load_sound_vae, load_vae, open_file, single
from opent2v.loaders.weights import build

CLASS = "AutoencoderOobleck"
CONFIG = {
    "encoder_hidden_size": 8, "downsampling_ratios": [2, 2], "channel_multiples": [1, 2], "decoder_channels": 8,
    "decoder_input_channels": 3, "audio_channels": 2, "sampling_rate": 80,
}  # fmt: skip


def find(shapes, name):
    if "decoder.conv1.weight_v" not in shapes:
        return "no decoder.conv1.weight_v"
    return Recognised("audio_vae", "diffusers", CLASS, CONFIG, VARIANT)


FAMILY = Family(
    id="toy_sound",
    title="Toy",
    recognition=Recognition(find),
    sound=Sound(lambda vae, latent: vae.decode(latent).sample.clamp(-1, 1), lambda vae: vae.config.sampling_rate),
)
VARIANT = Variant(
    family=FAMILY,
    name="with sound",
    streams=(
        VideoStream(Geometry(channels=2, temporal=4, spatial=8)),
        SoundStream(lambda frames, fps: (3, round(frames / fps * 20))),
    ),
    defaults=Defaults(16, 16, 9, 3.0, 4, 1.0),
    scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler"},
)


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A file of an audio VAE, whose family is the only one there is."""
    monkeypatch.setattr(single, "families", lambda: {"toy_sound": FAMILY})
    torch.manual_seed(0)
    module, file = build(CLASS, CONFIG).to_empty(device="cpu"), tmp_path / "toy_audio_vae.safetensors"
    save_file({name: torch.randn(tensor.shape) * 0.3 for name, tensor in module.state_dict().items()}, file)
    return file


def test_a_file_becomes_what_decodes_a_sound(path):
    part = load_sound_vae(open_file(path), torch.float32)
    assert part.channels == 3 and part.rate == 80
    decoder = host.audio_decoder(host.vae(part))
    assert decoder is not None and decoder.channels == 3
    latent = torch.randn(2, 3, 60)
    audio = decoder.decode(latent)
    assert audio["sample_rate"] == 80 and audio["waveform"].shape == (2, 2, 240)
    with torch.no_grad():
        assert torch.allclose(audio["waveform"], part.vae.decode(latent).sample.clamp(-1, 1), atol=1e-5)
    assert part.again is not None and part.again().rate == 80


def test_it_is_no_video_vae(path):
    with pytest.raises(ModelFileError, match=r"holds no vae but Toy with sound audio_vae. Choose it in Load Video VAE"):
        load_vae(open_file(path), torch.float32)
