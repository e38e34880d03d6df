"""Nodes that read IMAGEs take grey ones and those with alpha, and refuse by name what is no picture.

Tests: nodes/rgb.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.nodes.rgb import rgb
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny

GREY = torch.rand(9, 32, 32, 1)
COLOURED = torch.rand(9, 32, 32, 3)


def encoded(images: torch.Tensor) -> torch.Tensor:
    return call("OpenT2VEncodeVideo", vae=tiny.shared()[2], images=images)[0][0]["samples"]


def joined(images: torch.Tensor) -> torch.Tensor:
    return call("OpenT2VJoinClips", first=images, second=COLOURED, overlap=2)[0][0]


def measured(images: torch.Tensor) -> str:
    return call("OpenT2VMeasureVideo", images=images)[0][0]


def finished(images: torch.Tensor) -> torch.Tensor:
    (steps,) = call("OpenT2VColourMatch", strength=1.0, reference=COLOURED)[0]
    return call("OpenT2VFinishFrames", images=images, finishing=steps, fps=8.0)[0][0]


def matched(images: torch.Tensor) -> torch.Tensor:
    (steps,) = call("OpenT2VColourMatch", strength=1.0, reference=images)[0]
    return call("OpenT2VFinishFrames", images=COLOURED, finishing=steps, fps=8.0)[0][0]


def marked(images: torch.Tensor) -> torch.Tensor:
    (steps,) = call("OpenT2VWatermark", image=images, position="centre", scale=0.5, opacity=1.0)[0]
    return call("OpenT2VFinishFrames", images=COLOURED, finishing=steps, fps=8.0)[0][0]


def beside(images: torch.Tensor) -> torch.Tensor:
    settings = dict(layout=["row"], labels=[""], blind=[False], seed=[0], moments=[4])
    return call("OpenT2VCompareClips", images=[images], images_b=[COLOURED], **settings)[0][0]


def likened(images: torch.Tensor) -> str:
    return call("OpenT2VCompareCache", images=images, reference_images=COLOURED)[0][0]


NODES = {
    "encode": (encoded, "images"),
    "join": (joined, "first"),
    "measure": (measured, "images"),
    "finish": (finished, "images"),
    "match": (matched, "reference"),
    "mark": (marked, "image"),
    "compare": (beside, "images"),
    "liken": (likened, "images"),
}


def test_grey_is_repeated_and_alpha_left_out():
    assert torch.equal(rgb(GREY, "images"), GREY.repeat(1, 1, 1, 3))
    with_alpha = torch.cat([COLOURED, GREY], -1)
    assert torch.equal(rgb(with_alpha, "images"), COLOURED)


@pytest.mark.parametrize("node", NODES)
def test_grey_gives_what_its_three_channels_give(node):
    run, _ = NODES[node]
    grey, coloured = run(GREY), run(GREY.repeat(1, 1, 1, 3))
    assert grey == coloured if isinstance(grey, str) else torch.equal(grey, coloured)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(9, 32, 32, 2), r"is \[9, 32, 32, 2\]; expected an IMAGE"),
        (torch.rand(9, 32, 32), r"is \[9, 32, 32\]; expected an IMAGE"),
        (torch.rand(0, 32, 32, 3), r"is \[0, 32, 32, 3\] and so has no frames"),
        (torch.zeros(9, 32, 32, 3, dtype=torch.uint8), r"is torch\.uint8; expected floating point numbers"),
    ],
)
def test_what_is_no_picture_is_refused_by_the_inputs_name(node, images, said):
    run, name = NODES[node]
    with pytest.raises(ValueError, match=f"^{name} {said}"):
        run(images)


def test_a_latent_without_frames_is_refused():
    vae = tiny.shared()[2]
    latent = {"samples": torch.zeros(1, 16, 0, 4, 4)}
    with pytest.raises(ValueError, match=r"^The latent is empty \(1 x 16 x 0 x 4 x 4\)\. Connect the LATENT of"):
        call("OpenT2VDecode", latent=latent, vae=vae)
