"""Memory: the plan on a loader, and what is advised where it ran out. Tests: host/memory.py, host/memory_plan.py"""

from __future__ import annotations

import re

import pytest
import torch

from opent2v.base.family import Family
from opent2v.families import mochi, wan
from opent2v.host.memory import DeviceMemory, OutOfMemory, each_or_advice, is_out_of_memory, or_advice
from opent2v.host.memory_plan import Weights, Work, decoding, decoding_advice, plan, sampling, sampling_advice
from opent2v.tests.families.layouts.wan import LARGE, configs

GIB = 2**30


@pytest.fixture(scope="module")
def large():
    """Wan 2.1 T2V 14B, whose own size is 1280 x 720 with 81 frames."""
    return wan.FAMILY.files.read(configs(transformer=LARGE))


def gpu(device: float, main: float = 64, offloads: bool = True) -> DeviceMemory:
    return DeviceMemory(device * GIB, main * GIB, False, offloads)


def weights_of(variant, bits: float) -> Weights:
    count = 14_288_491_584
    return Weights(count * bits / 8, count, 5120 * 13824 * 2)


def test_what_fits_is_said(large):
    said = plan(sampling(large, 2), weights_of(large, 8), gpu(24))
    assert re.fullmatch(
        r"Memory: 13\.3 GiB of weights and about [\d.]+ GiB to sample 832 x 480 with 81 frames; 24\.0 GiB are free on "
        r"the device: all of it fits",
        said,
    )


def test_what_waits_in_main_memory_is_said(large):
    run = large.sample_memory((1, *large.geometry.latent_shape(832, 480, 81)), 2)
    weights = weights_of(large, 8)
    waiting = weights.nbytes - (12 * GIB - run - weights.layer)
    said = plan(sampling(large, 2), weights, gpu(12))
    assert said.endswith(
        f": about {waiting / GIB:.1f} GiB of the weights wait in main memory for their turn, which is slower"
    )


@pytest.mark.parametrize(
    ("memory", "smaller"),
    [
        (gpu(24, offloads=False), "An fp8 or int8 file of this model would, with about 13.5 GiB"),
        (gpu(14, offloads=False), "A Q5_K file of this model would, with about 9.3 GiB"),
        (gpu(12, 4), "A Q6_K file of this model would, with about 11.0 GiB"),
        (
            DeviceMemory(13 * GIB, 13 * GIB, True, False),
            "An nvfp4 or Q4_K file of this model would, with about 7.7 GiB",
        ),
    ],
)
def test_where_it_does_not_fit_a_smaller_file_is_named(large, memory, smaller):
    said = plan(sampling(large, 2), weights_of(large, 16), memory)
    assert said.endswith(f": it does not fit. {smaller}")
    assert ("free on main memory" in said) is memory.is_main


def test_where_no_file_of_the_model_fits_that_is_said(large):
    said = plan(sampling(large, 2), weights_of(large, 16), gpu(6, offloads=False))
    assert said.endswith(": it does not fit, nor would a file of this model in fewer bits. Choose a smaller model")


def test_where_the_weights_fit_and_the_run_does_not(large):
    said = plan(sampling(large, 2), weights_of(large, 8), gpu(3))
    assert said.endswith(": too little for this size. Make fewer frames, or a smaller size")


def test_a_text_encoder_takes_its_weights_alone():
    said = plan(Work(), Weights(6 * GIB, 5_680_910_336, 4096 * 10240 * 2), gpu(24))
    assert said == "Memory: 6.0 GiB of weights; 24.0 GiB are free on the device: all of it fits"
    waiting = plan(Work(), Weights(11 * GIB, 5_680_910_336, 4096 * 10240 * 2), gpu(8))
    assert waiting.endswith("about 3.1 GiB of the weights wait in main memory for their turn, which is slower")
    smaller = plan(Work(), Weights(11 * GIB, 5_680_910_336, 4096 * 10240 * 2), gpu(8, offloads=False))
    assert smaller.endswith("it does not fit. An fp8 or int8 file of this model would, with about 5.4 GiB")


def test_a_vae_that_fits_and_whose_video_does_not_points_to_decoding_in_pieces(large):
    weights = Weights(0.5 * GIB, GIB // 4, GIB // 64)
    work = decoding(large, 2)
    assert work.nbytes > 4 * GIB
    said = plan(work, weights, gpu(4, offloads=False))
    assert re.search(r"of weights and about [\d.]+ GiB to decode 832 x 480 with 81 frames; 4\.0 GiB are free", said)
    assert said.endswith(
        ": too little for this size. It is decoded in tiles, which is slower; Decode to Video File keeps one piece in "
        "memory at a time"
    )
    assert plan(work, weights, gpu(1 + work.nbytes / GIB, offloads=False)).endswith(": all of it fits")


def test_sampling_advice_fits_and_is_legal(large):
    """The lower length and the lower size need at most three quarters, and both can be made."""
    shape = (1, *large.geometry.latent_shape(1280, 720, 81))
    advice = sampling_advice(large, shape, gpu(24))
    frames, width, height = map(
        int, re.search(r"Lower frames from 81 to (\d+) or the size to about (\d+) x (\d+)\. ", advice).groups()
    )
    needed = large.sample_memory(shape, 2)
    assert large.geometry.legal(1280, 720, frames) == (1280, 720, frames)
    assert large.geometry.legal(width, height, 81) == (width, height, 81)
    for fewer in ((1280, 720, frames), (width, height, 81)):
        assert 0.6 * needed < large.sample_memory((1, *large.geometry.latent_shape(*fewer)), 2) <= 0.75 * needed
    assert advice.startswith("Out of memory while sampling 1280 x 720 pixels with 81 frames: about 9.7 GiB beside the")
    assert "24.0 GiB free on the device for both" in advice and "int8, nvfp4, GGUF" in advice


def test_advice_goes_by_what_is_free(large):
    shape = (1, *large.geometry.latent_shape(1280, 720, 81))
    frames = int(re.search(r"frames from 81 to (\d+)", sampling_advice(large, shape, gpu(2)))[1])
    assert large.sample_memory((1, *large.geometry.latent_shape(1280, 720, frames)), 2) <= 1.8 * GIB


def test_a_batch_is_told_to_be_made_one_by_one(large):
    shape = (2, *large.geometry.latent_shape(832, 480, 81))
    advice = sampling_advice(large, shape, gpu(8))
    assert "sampling 2 clips of 832 x 480 pixels with 81 frames" in advice
    assert "Make one clip at a time (batch_size 1 in Empty Video Latent)." in advice


def test_where_nothing_fits_a_smaller_model_is_advised(large):
    shape = (1, *large.geometry.latent_shape(832, 480, 81))
    assert "Not even a single small frame fits: choose a smaller model." in sampling_advice(large, shape, gpu(0))


def test_decoding_advice_names_the_node_that_takes_less(large):
    shape = (1, *large.geometry.latent_shape(1280, 720, 81))
    advice = decoding_advice(large, shape, gpu(4))
    assert advice.startswith("Out of memory while decoding 1280 x 720 pixels with 81 frames, in tiles too: about ")
    assert "Decode to Video File keeps one piece of the video in memory at a time. Lower " in advice
    in_pieces = decoding_advice(large, shape, gpu(4), in_pieces=True)
    assert "Decode to Video File" not in in_pieces and "Lower the size to about " in in_pieces


def test_a_model_of_one_size_is_not_told_another():
    assert isinstance(mochi.FAMILY, Family)
    one_size = wan.FAMILY.files.read(configs(transformer=LARGE))
    geometry = type(one_size.geometry)(**{**vars(one_size.geometry), "only": (832, 480, 81)})
    stream = type(one_size.streams[0])(**{**vars(one_size.streams[0]), "geometry": geometry})
    variant = type(one_size)(**{**vars(one_size), "streams": (stream,)})
    advice = sampling_advice(variant, (1, *geometry.latent_shape(832, 480, 81)), gpu(8))
    assert "The model makes this size only: free memory, or choose a smaller model." in advice


@pytest.mark.parametrize(
    ("error", "is_short"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 40 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_an_error_is_known_by_class_and_words(error, is_short):
    assert is_out_of_memory(error) is is_short


def test_advice_takes_the_errors_place_and_lets_go_of_its_tensors():
    def compute():
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(OutOfMemory, match="lower frames") as caught:
        or_advice(compute, lambda: "lower frames")
    assert caught.value.__context__ is None and is_out_of_memory(caught.value)


def test_other_errors_pass():
    def compute():
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        or_advice(compute, lambda: "lower frames")


def test_pieces_come_until_memory_runs_out():
    def pieces():
        yield torch.zeros(1)
        raise RuntimeError("CUDA out of memory")

    given = each_or_advice(pieces(), lambda: "lower the size")
    assert next(given).shape == (1,)
    with pytest.raises(OutOfMemory, match="lower the size"):
        next(given)
    assert len(list(each_or_advice(iter([torch.zeros(2)] * 3), str))) == 3
