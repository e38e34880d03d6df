"""Geometry and normalisation, true of every family. Tests: base/geometry.py, base/family.py"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError, Geometry
from opent2v.families import families
from opent2v.tests.tiny import wan as tiny

WAN = Geometry(channels=16, temporal=4, spatial=8, patch=2)
TI2V = Geometry(channels=48, temporal=4, spatial=16, patch=2)


# Classes that MiniMaxAI's own folders name; families/minimax_h3/makers.py tells those of diffusers for them.
MAKERS_OWN = {"MiniMaxH3AudioVAE", "MiniMaxH3DiTModel", "MiniMaxH3Qwen3VLHFEncoder", "MiniMaxH3VideoVAE"}


@pytest.mark.parametrize(
    ("geometry", "asked", "legal"),
    [
        (WAN, (832, 480, 81), (832, 480, 81)),
        (WAN, (839, 487, 82), (832, 480, 81)),
        (WAN, (840, 488, 83), (848, 496, 85)),  # halves round up
        (WAN, (1, 1, 1), (16, 16, 1)),
        (WAN, (850, 7, 2), (848, 16, 1)),
        (WAN, (850, 7, 3), (848, 16, 5)),
        (TI2V, (1280, 720, 121), (1280, 736, 121)),
        (TI2V, (1280, 700, 120), (1280, 704, 121)),
    ],
)
def test_a_size_goes_to_the_nearest_the_model_can_make(geometry, asked, legal):
    assert geometry.legal(*asked) == legal
    assert geometry.legal(*legal) == legal


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((0, 480, 81), "width is 0; this model takes 1 to 16384 pixels. 0 means the model's own."),
        ((832, -16, 81), "height is -16; this model takes 1 to 16384 pixels."),
        ((16385, 480, 81), "width is 16385; this model takes 1 to 16384 pixels."),
        ((832, 10**9, 81), "height is 1000000000; this model takes 1 to 16384 pixels."),
        ((832, 480, 0), "frames is 0; this model takes 1 to 4093 frames."),
        ((832, 480, 4094), "frames is 4094; this model takes 1 to 4093 frames."),
        (
            (16384, 16384, 4093),
            "16384 x 16384 pixels with 4093 frames are 1,073,741,824 tokens; at most 4,194,304 can be computed at "
            "once. Choose a smaller size or fewer frames.",
        ),
    ],
)
def test_an_absurd_size_is_refused(asked, said):
    with pytest.raises(FamilyError) as error:
        WAN.legal(*asked)
    assert str(error.value).startswith(said)


def test_the_limits_follow_the_position_embedding():
    small = Geometry(channels=16, temporal=4, spatial=8, max_positions=64)
    assert (small.max_size, small.max_frames) == (1024, 253)
    assert small.legal(1024, 1024, 253) == (1024, 1024, 253)


@pytest.mark.parametrize(
    ("geometry", "size", "shape"),
    [
        (WAN, (832, 480, 81), (16, 21, 60, 104)),
        (WAN, (16, 16, 1), (16, 1, 2, 2)),
        (TI2V, (1280, 704, 121), (48, 31, 44, 80)),
    ],
)
def test_latent_shape_and_frames_are_inverse(geometry, size, shape):
    assert geometry.latent_shape(*size) == shape
    assert geometry.frames(shape[1]) == size[2]


def test_normalise_and_denormalise_are_inverse():
    variant = tiny.shared("ti2v")[0].part.variant
    latent = torch.randn(2, 48, 3, 2, 2)
    seen = variant.normalise(latent)
    assert torch.allclose(variant.denormalise(seen), latent, atol=1e-5)
    assert seen[0, 3, 0, 0, 0].item() == pytest.approx((latent[0, 3, 0, 0, 0].item() - 0.3) / 0.8, abs=1e-5)


def test_decoding_memory_grows_with_length_only_by_the_finished_video():
    variant = tiny.shared()[0].part.variant
    short, long = (variant.decode_memory((1, 16, frames, 4, 4), 4) for frames in (2, 4))
    assert long - short == 8 * 32 * 32 * 3 * 4  # eight frames more, three colours, four bytes
    assert variant.encode_memory((1, 3, 9, 32, 32), 2) * 2 == variant.encode_memory((1, 3, 9, 32, 32), 4)


def test_sampling_memory_is_the_hosts_estimate():
    variant = replace(tiny.shared()[0].part.variant, memory_factor=2.5)
    # BaseModel.memory_required: area * bytes * 0.01 * factor MiB
    assert variant.sample_memory((2, 16, 21, 60, 104), 2) == pytest.approx(2 * 21 * 60 * 104 * 2 * 0.01 * 2.5 * 1024**2)


def test_the_title_names_family_and_variant():
    assert tiny.shared()[0].part.variant.title == "Wan tiny"


@pytest.mark.parametrize("family", families().values(), ids=list(families()))
def test_every_family_says_who_it_is_and_names_classes_that_exist(family):
    import diffusers
    import transformers

    if family.id == "ltx2":
        pytest.importorskip("diffusers", "0.38")
    assert family.id == family.id.lower().strip() and families()[family.id] is family
    # Of a family without folders the pack loads single files.
    assert family.title and (family.files or family.network.predict)
    if family.files is None:
        return
    assert family.files.pipelines
    pipelines = getattr(diffusers.pipelines, family.id, None)
    alternatives = Counter(part.component for part in family.files.parts.values())
    for component, classes in family.components.items():
        known = {name for name in classes if any(hasattr(m, name) for m in (diffusers, transformers, pipelines))}
        # Tokenizer classes come and go between transformers 4 and 5, and an older one lacks the newest of several
        # encoders.
        is_any = component.startswith("tokenizer") or alternatives[component] > 1
        assert known if is_any else known == classes - MAKERS_OWN, component
    assert family.text is not None and {"text_encoder", "tokenizer"} <= family.components.keys()


def test_a_module_without_a_family_is_none():
    assert set(families()) >= {"wan"}
    assert not {"base", "parts"} & set(families())


def test_lengths_of_whole_groups_and_padding_frames_in_front():
    geometry = Geometry(channels=4, temporal=4, spatial=8, patch_frames=2, group=2)
    assert [geometry.legal(16, 16, frames)[2] for frames in (1, 4, 5, 12, 13, 81)] == [1, 1, 9, 9, 17, 81]
    assert [geometry.front_padding(n) for n in (1, 2, 5, 6)] == [1, 0, 1, 0]
    latent = torch.randn(1, 4, 3, 2, 2)
    padded = geometry.pad_front(latent)
    assert padded.shape == (1, 4, 4, 2, 2)
    assert torch.equal(padded[:, :, 1:], latent) and torch.equal(padded[:, :, :1], latent[:, :, :1])
    assert geometry.pad_front(padded) is padded and Geometry(4, 4, 8).pad_front(latent) is latent


def test_a_model_of_one_size():
    geometry = Geometry(channels=4, temporal=4, spatial=8, only=(48, 32, 17))
    assert geometry.legal(48, 32, 17) == (48, 32, 17)
    with pytest.raises(FamilyError) as error:
        geometry.legal(48, 32, 9)
    assert str(error.value) == (
        "48 x 32 pixels with 9 frames are asked for; this model makes only 48 x 32 pixels with 17 frames. 0 means the "
        "model's own."
    )
