"""Colours stay where they are, however often a clip is saved and loaded again. Tests: media/scaling.py"""

from __future__ import annotations

import pytest
import torch

from opent2v.media import read_video
from opent2v.media.formats import FORMATS, available
from opent2v.tests.media.clips import save

LUMA = torch.tensor([0.2126, 0.7152, 0.0722])
SUBSAMPLED = [
    key for key, one in FORMATS.items() if not one.is_hardware and any("42" in p for p in one.pixels.values())
]
EDGE = 31.5  # between columns 31 and 32


def squares() -> torch.Tensor:
    """Grey, and from column 32 to 95 a colour of the same brightness."""
    clip = torch.full((3, 64, 128, 3), 0.5)
    clip[:, :, 32:96] = torch.tensor([0.75, 0.45, 0.40])
    return clip


def edge(frame: torch.Tensor) -> float:
    """The column where red beyond the brightness is half of what it is on the coloured side."""
    red = (frame[..., 0] - frame @ LUMA)[28:36].mean(0)
    half = (red[:20].mean() + red[60:68].mean()) / 2
    column = next(n for n in range(15, 50) if (red[n] - half) * (red[n + 1] - half) <= 0)
    return column + ((half - red[column]) / (red[column + 1] - red[column])).item()


@pytest.mark.parametrize("key", SUBSAMPLED)
def test_ten_generations_leave_an_edge_where_it_is(tmp_path, key):
    if key not in available():
        pytest.skip(f"this PyAV cannot write {key}")
    clip = squares()
    for generation in range(10):
        clip = read_video(save(tmp_path, clip, f"generation{generation}", format=key, quality=100)).frames[:3]
    assert abs(edge(clip[1]) - EDGE) <= 0.05
    assert (clip[1] - squares()[1]).abs().mean() < 0.01


@pytest.mark.parametrize("key", [key for key in SUBSAMPLED if 10 in FORMATS[key].pixels and "prores" not in key])
def test_in_ten_bits_only_the_encoder_moves_an_edge(tmp_path, key):
    """At the encoder's finest; at quality 100 x265 leaves a colour's edge 0.09 pixel to the left at once, and there."""
    if key not in available():
        pytest.skip(f"this PyAV cannot write {key}")
    clip = squares()
    for generation in range(10):
        saved = save(tmp_path, clip, f"generation{generation}", format=key, crf=1, bit_depth=10)
        clip = read_video(saved).frames[:3]
    assert abs(edge(clip[1]) - EDGE) <= 0.05


def test_other_readers_find_the_colours_where_the_file_says(tmp_path):
    """H.264 without a word about it has chroma at the left; here it is looked at as it is stored."""
    import av

    path = save(tmp_path, squares(), quality=100)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    chroma = torch.from_numpy(frame.to_ndarray())  # rows of Y, then of U and V, half as wide
    red = chroma[64 + 16 :].reshape(-1, 64)[8].float()
    # The sample at column 32 sees one grey column of four and three coloured ones, weighted: more colour than grey.
    share = (red[16] - red[8]) / (red[24] - red[8])
    assert 0.6 < share < 0.9
