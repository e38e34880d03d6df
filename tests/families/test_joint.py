"""Families whose models make a video and its sound together: the streams of their LATENTs. Tests: base/streams.py"""

from __future__ import annotations

import pytest

from opent2v.base import Recognised
from opent2v.families import ltx2, minimax_h3
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.families.layouts import minimax_h3 as minimax_layout

LTX2 = {layout.original(name): shape for name, shape in layout.published("2.0")[1].items()}
H3 = minimax_layout.published()[1]


@pytest.mark.parametrize(
    ("family", "header", "video", "sound", "is_needed"),
    [(ltx2, LTX2, (128, 13, 16, 24), (8, 97, 16), False), (minimax_h3, H3, (24, 37, 48, 84), (32, 2, 207), True)],
    ids=["ltx2", "minimax_h3"],
)
def test_they_have_a_video_and_a_sound(family, header, video, sound, is_needed):
    found = family.FAMILY.recognise(header, "model.safetensors")
    assert isinstance(found, Recognised)
    variant, own = found.variant, found.variant.defaults
    shapes = [stream.latent_shape(own.width, own.height, own.frames, own.fps) for stream in variant.streams]
    assert shapes == [video, sound] and [stream.name for stream in variant.streams] == ["video", "sound"]
    assert variant.sound is variant.streams[1] and variant.sound.is_needed == is_needed
    assert variant.geometry is variant.streams[0].geometry
