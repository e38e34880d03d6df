"""Streams of a latent as one tensor."""

from __future__ import annotations

import torch

from opent2v.host.embedded.nested import nested
from opent2v.sampling.streams import Packing, seeded_noise, unbind

SHAPES = ((2, 3, 4, 2, 2), (2, 5, 6, 7))


def test_several_streams_become_one_row_of_numbers_and_come_back():
    streams = [torch.randn(shape) for shape in SHAPES]
    packing = Packing.of(streams)
    packed = packing.pack(streams)
    assert packing.shapes == SHAPES and packed.shape == (2, 1, 3 * 4 * 2 * 2 + 5 * 6 * 7)
    assert all(map(torch.equal, packing.unpack(packed), streams))


def test_a_batch_of_another_size_is_unpacked_too():
    packing = Packing(SHAPES)
    first, second = packing.unpack(torch.zeros(6, 1, 258))
    assert first.shape == (6, 3, 4, 2, 2) and second.shape == (6, 5, 6, 7)


def test_a_single_stream_is_the_tensor_itself():
    latent = torch.randn(SHAPES[0])
    packing = Packing.of([latent])
    assert packing.pack([latent]) is latent and packing.unpack(latent)[0] is latent


def test_noise_is_drawn_stream_by_stream_from_one_generator():
    """As ComfyUI's prepare_noise draws it: the video's noise is the same with a sound and without."""
    video, sound = seeded_noise(SHAPES, 7)
    generator = torch.manual_seed(7)
    assert torch.equal(video, torch.randn(SHAPES[0], generator=generator))
    assert torch.equal(sound, torch.randn(SHAPES[1], generator=generator))
    assert torch.equal(seeded_noise(SHAPES[:1], 7)[0], video)


def test_the_streams_of_samples():
    latent, sound = torch.zeros(SHAPES[0]), torch.zeros(SHAPES[1])
    assert unbind(latent)[0] is latent and unbind(nested([latent, sound])) == [latent, sound]
