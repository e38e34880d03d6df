"""The tensors that a LATENT holds: shapes, normalisation, padding frames."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import Geometry, SoundStream, VideoStream

VIDEO = VideoStream(Geometry(channels=2, temporal=4, spatial=8, patch_frames=2), mean=(1.0, -1.0), std=(2.0, 4.0))
SOUND = SoundStream(lambda frames, fps: (3, round(frames / fps * 10), 5), std=(0.5,))


def test_each_stream_has_a_shape_of_its_own():
    assert VIDEO.latent_shape(32, 16, 9, 4.0) == (2, 3, 2, 4)
    assert SOUND.latent_shape(32, 16, 9, 4.0) == (3, 22, 5) and SOUND.latent_shape(32, 16, 9, 9.0) == (3, 10, 5)
    assert (VIDEO.name, VIDEO.is_needed, SOUND.name, SOUND.is_needed) == ("video", True, "sound", True)


@pytest.mark.parametrize(("stream", "shape"), [(VIDEO, (2, 2, 3, 2, 4)), (SOUND, (2, 3, 22, 5))])
def test_normalise_and_denormalise_are_inverse(stream, shape):
    latent = torch.randn(shape)
    assert torch.allclose(stream.denormalise(stream.normalise(latent)), latent, atol=1e-6)


def test_normalisation_is_by_channel_or_the_same_for_all():
    seen = VIDEO.normalise(torch.ones(1, 2, 1, 1, 1))
    assert seen.flatten().tolist() == [0.0, 0.5]
    assert SOUND.normalise(torch.ones(1, 3, 1, 1)).flatten().tolist() == [2.0] * 3


def test_without_numbers_a_latent_is_left_as_it_is():
    stream, latent = VideoStream(Geometry(channels=2, temporal=4, spatial=8)), torch.randn(1, 2, 3, 2, 4)
    assert stream.normalise(latent) is latent and stream.denormalise(latent) is latent


def test_only_the_video_has_padding_frames():
    video, sound = torch.randn(1, 2, 3, 2, 4), torch.randn(1, 3, 11, 5)
    assert (VIDEO.front_padding(video), SOUND.front_padding(sound)) == (1, 0)
    assert torch.equal(VIDEO.pad_front(video), torch.cat([video[:, :, :1], video], 2))
    assert SOUND.pad_front(sound) is sound
