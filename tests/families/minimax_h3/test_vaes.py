"""MiniMax H3's VAEs: their files are known whole, and both compute as diffusers' classes do.

Tests: families/minimax_h3/vae.py, families/minimax_h3/sound.py
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError, Recognised, SoundVAE, VideoVAE
from opent2v.base.packed import PackedTensor
from opent2v.families import families
from opent2v.families.minimax_h3 import FAMILY
from opent2v.families.minimax_h3.layout import GROUP
from opent2v.families.minimax_h3.versions import GroupedGeometry, of_parts
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_sound_vae, load_vae, open_file
from opent2v.tests.tiny import minimax_h3_parts as tiny
from opent2v.tests.tiny import packed

VIDEO = {"original": lambda: tiny.original_video_vae(tiny.video_vae()), "diffusers": tiny.video_vae}
SOUND = {"original": tiny.plain_sound_vae, "diffusers": tiny.sound_vae}


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def shapes_of(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def saved(path, tensors: dict[str, torch.Tensor]):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def video_vae(tmp_path, layout: str = "original") -> VideoVAE:
    return load_vae(open_file(saved(tmp_path / "vae.safetensors", VIDEO[layout]())), torch.float32)


def sound_vae(tmp_path, layout: str = "original") -> SoundVAE:
    return load_sound_vae(open_file(saved(tmp_path / "sound.safetensors", SOUND[layout]())), torch.float32)


def librarys(class_name: str, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Any:
    import diffusers

    module = getattr(diffusers, class_name)(**config).eval()
    module.load_state_dict({name: w for name, w in weights.items() if not name.startswith("latents_")})
    return module


def column(name: str, weights: dict[str, torch.Tensor], axes: int) -> torch.Tensor:
    return weights[f"latents_{name}"].view(1, -1, *[1] * axes)


@pytest.mark.parametrize("layout", VIDEO)
def test_a_video_vae_is_this_familys_alone(layout):
    shapes = shapes_of(VIDEO[layout]())
    recognised = {n: family.recognise(shapes, "x.safetensors") for n, family in families().items()}
    (name,) = [name for name, part in recognised.items() if isinstance(part, Recognised)]
    part = recognised[name]
    assert name == "minimax_h3" and isinstance(part, Recognised)
    assert (part.part, part.layout) == ("vae", layout)
    assert {key: part.config[key] for key in tiny.VIDEO_VAE} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in tiny.VIDEO_VAE.items()
    }


@pytest.mark.parametrize("layout", SOUND)
def test_a_sounds_vae_is_this_familys_alone(layout):
    shapes = shapes_of(SOUND[layout]())
    recognised = {n: family.recognise(shapes, "x.safetensors") for n, family in families().items()}
    (name,) = [name for name, part in recognised.items() if isinstance(part, Recognised)]
    part = recognised[name]
    assert name == "minimax_h3" and isinstance(part, Recognised) and part.part == "audio_vae"
    assert {key: part.config[key] for key in tiny.SOUND_VAE} == tiny.SOUND_VAE
    assert part.config["encoder_rates"] == [2, 4, 4, 5, 5] and part.config["decoder_rates"] == [5, 5, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("class_name", ["AutoencoderKLMiniMaxH3", "AutoencoderKLMiniMaxH3Audio"])
def test_the_published_sizes_are_the_librarys_defaults(class_name):
    import diffusers
    from diffusers.utils import torch_utils  # noqa: F401

    with torch.device("meta"):
        module = getattr(diffusers, class_name)()
    stated = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    channels = 24 if class_name == "AutoencoderKLMiniMaxH3" else 32
    part = FAMILY.recognise({**stated, "latents_mean": (channels,), "latents_std": (channels,)}, "x")
    assert isinstance(part, Recognised)
    for key, value in part.config.items():
        expected = module.config[key]
        assert value == (list(expected) if isinstance(expected, tuple) else expected), key


@pytest.mark.parametrize("layout", VIDEO)
@pytest.mark.parametrize("frames", [7, 12, 32])
def test_the_video_decodes_as_diffusers_class_does(tmp_path, layout, frames):
    weights = tiny.video_vae()
    module = librarys("AutoencoderKLMiniMaxH3", tiny.VIDEO_VAE, weights)
    latent = torch.randn(1, 24, frames, 3, 4, generator=torch.Generator().manual_seed(1))
    raw = module.decode(latent * column("std", weights, 3) + column("mean", weights, 3)).sample
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = (raw * std + mean).clamp(0, 1) * 2 - 1
    ours = video_vae(tmp_path, layout).decode(latent)
    assert ours.shape[2] == GroupedGeometry(24, 4, 16).frames(frames)
    assert expected.std() > 0.1 and (ours - expected).abs().max() < 1e-5


def test_the_video_encodes_as_diffusers_class_does(tmp_path):
    weights = tiny.video_vae()
    module = librarys("AutoencoderKLMiniMaxH3", tiny.VIDEO_VAE, weights)
    part = video_vae(tmp_path)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for frames, expected_frames in ((1, 1), (5, 2), (22, 7), (30, 7), (39, 12)):
        video = torch.rand(1, 3, frames, 32, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
        raw = module.encode(((video + 1) / 2 - mean) / std).latent_dist.mode()
        expected = (raw - column("mean", weights, 3)) / column("std", weights, 3)
        ours = part.encode(video)
        assert ours.shape[2] == expected_frames and (ours - expected).abs().max() < 1e-5


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 5, 6, 8, 17])
def test_any_length_decodes_to_the_frames_of_its_groups(tmp_path, latent_frames):
    """diffusers' class fails for one and two latent frames: a picture, and the shortest clip."""
    latent = torch.randn(1, 24, latent_frames, 2, 2, generator=torch.Generator().manual_seed(1))
    part = video_vae(tmp_path)
    whole, rest = divmod(latent_frames, 5)
    frames = part.decode(latent)
    assert frames.shape == (1, 3, whole * 17 + sum(GROUP[:rest]), 32, 32)
    pieces = list(part.decode_frames(latent))
    assert all(piece.shape[2] <= 22 for piece in pieces) and torch.equal(torch.cat(pieces, 2), frames)


def test_what_comes_later_does_not_change_the_frames_before(tmp_path):
    """A decoder that looks back only: frames of a longer clip equal those of its beginning, but for the blended end."""
    latent = torch.randn(1, 24, 17, 2, 2, generator=torch.Generator().manual_seed(1))
    part = video_vae(tmp_path)
    whole, beginning = part.decode(latent), part.decode(latent[:, :, :12])
    assert torch.equal(whole[:, :, :34], beginning[:, :, :34])


@pytest.mark.parametrize("layout", SOUND)
def test_the_sound_decodes_and_encodes_as_diffusers_class_does(tmp_path, layout):
    weights = tiny.sound_vae()
    module = librarys("AutoencoderKLMiniMaxH3Audio", tiny.SOUND_VAE, weights)
    part = sound_vae(tmp_path, layout)
    latent = torch.randn(2, 32, 2, 9, generator=torch.Generator().manual_seed(1))
    raw = (latent * column("std", weights, 2) + column("mean", weights, 2)).transpose(1, 2).reshape(4, 32, 9)
    expected = module.decode(raw).sample.reshape(2, 2, -1)
    assert expected.std() > 1e-3 and expected.shape[-1] == 7200
    assert (part.decode(latent) - expected).abs().max() < 1e-5
    wave = 0.3 * torch.randn(1, 2, 7000, generator=torch.Generator().manual_seed(2))
    sides = module.encode(wave.transpose(0, 1)).latent_dist.mode()
    expected = (sides.transpose(0, 1)[None] - column("mean", weights, 2)) / column("std", weights, 2)
    ours = part.encode(wave, 32000)
    assert ours.shape == (1, 32, 2, 9) and (ours - expected).abs().max() < 1e-4


def test_a_sound_at_another_rate_and_of_one_side_fills_both(tmp_path):
    part = sound_vae(tmp_path)
    assert part.rate == part.input_rate == 32000 and part.channels == 32
    times = torch.arange(48000) / 48000
    latent = part.encode(0.3 * torch.sin(2 * math.pi * 440 * times).view(1, 1, -1), 48000)
    assert latent.shape == (1, 32, 2, 40) and torch.equal(latent[:, :, 0], latent[:, :, 1])


@pytest.mark.parametrize("frames", [5, 22, 124, 362, 1008])
def test_picture_and_sound_end_within_half_a_frame_of_each_other(frames):
    variant = of_parts(FAMILY)
    assert variant.sound is not None
    latents = variant.sound.latent_shape(1344, 768, frames, 24.0)[-1]
    assert abs(latents * 800 / 32000 - frames / 24) <= 0.5 / 24


def test_an_int8_convrot_video_vae_keeps_its_layers_packed(tmp_path):
    """The decoder's linear layers stay as they are stored; q, k and v are rows of one of them."""
    weights = tiny.original_video_vae(tiny.video_vae())
    inside = ("attn.to_qkv.weight", "attn.to_out.weight", "ff.w1.weight", "ff.w2.weight")
    exact = packed.write(
        tmp_path / "packed.safetensors", weights, lambda name: "int8_convrot" if name.endswith(inside) else ""
    )
    small = load_vae(open_file(tmp_path / "packed.safetensors"), torch.float32)
    plain = load_vae(open_file(saved(tmp_path / "plain.safetensors", exact)), torch.float32)
    kept = [name for name, weight in small.vae.named_parameters() if isinstance(weight, PackedTensor)]
    assert len(kept) == 2 * 6  # q, k, v, out and two of the feed-forward, in both blocks
    latent = torch.randn(1, 24, 7, 2, 3, generator=torch.Generator().manual_seed(1))
    embedded.vae(small)  # its layers multiply out while they compute
    assert (small.decode(latent) - plain.decode(latent)).abs().max() < 1e-5
    assert (plain.decode(latent) - video_vae(tmp_path).decode(latent)).abs().max() > 1e-4


def test_vaes_that_cannot_be_used_are_refused_by_name(tmp_path):
    sound, video = shapes_of(tiny.plain_sound_vae()), shapes_of(tiny.original_video_vae(tiny.video_vae()))
    with pytest.raises(FamilyError, match="without the mean and spread of its latents"):
        FAMILY.recognise({name: shape for name, shape in sound.items() if "latents" not in name}, "x")
    with pytest.raises(FamilyError, match="small VAE of MiniMax H3 for previews"):
        FAMILY.recognise({"decoder.22.bias": (12,), "decoder.1.weight": (256, 24, 3, 3)}, "x")
    with pytest.raises(FamilyError, match="has a kernel of 16"):
        FAMILY.recognise({**sound, "decoder.ups.0.0.weight": (8, 8, 16)}, "x")
    with pytest.raises(FamilyError, match="latents of 16 channels, MiniMax H3's has 24"):
        FAMILY.recognise({**video, "decoder.x_embedder.weight": (128, 16)}, "x")
    cut = tiny.original_video_vae(tiny.video_vae())
    del cut["decoder.transformer_blocks.1.scale2"]
    with pytest.raises(ModelFileError, match=r"1 missing, first decoder.transformer_blocks.1.scale2"):
        load_vae(open_file(saved(tmp_path / "cut.safetensors", cut)), torch.float32)
