"""A frame between two frames, along the motion: dense optical flow in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

# Pixels of the shorter side, of the coarsest picture at least and of the finest at most; beyond, flow is enlarged.
_SMALLEST, _LARGEST = 16, 400
_WARPS = 4  # corrections of the flow on every scale
_WINDOW = 7  # pixels of neighbours that move together
_NOISE = 1e-3  # contrast (squared, per pixel) below which a place says nothing about motion


def between(first: Tensor, second: Tensor, time: float) -> Tensor:
    """The frame at `time` (0 is `first`, 1 is `second`); frames are [1, 3, H, W] in 0..1.

    The flow is sought for the wanted frame itself: v such that first(x - time v) equals second(x + (1 - time) v), so
    nothing has to be projected and no place is left empty. Where the two disagree nevertheless (something is uncovered)
    they are blended.
    """
    flow = flow_between(first, second, time)
    there = _moved(first, flow, -time)
    back = _moved(second, flow, 1 - time)
    return there + (back - there) * time


def flow_between(first: Tensor, second: Tensor, time: float) -> Tensor:
    """Flow [1, 2, H, W] (x, y) in pixels from `first` to `second`, seen from the frame at `time`.

    Coarse to fine; on every scale the flow is corrected as Lucas and Kanade 1981 do, and places without contrast take
    the flow of their neighbours.
    """
    height, width = first.shape[2:]
    scales = [(height, width)]
    while min(scales[-1]) // 2 >= _SMALLEST:
        scales.append(((scales[-1][0] + 1) // 2, (scales[-1][1] + 1) // 2))
    flow = first.new_zeros(1, 2, *scales[-1])
    for scale in reversed([scale for scale in scales if min(scale) <= _LARGEST]):
        flow = _resized(flow, scale)
        start, end = (_smaller(frame, scale) for frame in (first, second))
        for _ in range(_WARPS):
            flow = _corrected(start, end, flow, time)
        # Smoothing drags a resting background along with a moving object, so zero flow is tried again.
        resting, moving = (_mismatch(start, end, each, time) for each in (torch.zeros_like(flow), flow))
        flow = flow * (moving < resting)
    return _resized(flow, (height, width))


def _mismatch(start: Tensor, end: Tensor, flow: Tensor, time: float) -> Tensor:
    """How much the two frames disagree along a flow, around each place: [1, 1, H, W]."""
    wrong = _moved(start, flow, -time) - _moved(end, flow, 1 - time)
    return _around(wrong.abs().sum(1, keepdim=True), 3)


def _corrected(start: Tensor, end: Tensor, flow: Tensor, time: float) -> Tensor:
    back, there = _moved(start, flow, -time), _moved(end, flow, 1 - time)
    wrong = there - back
    # Gradient of the mismatch with respect to the flow: [1, 3, H, W] for x and for y.
    gx, gy = ((1 - time) * b + time * a for a, b in zip(_gradient(back), _gradient(there), strict=True))
    pairs = ((gx, gx), (gy, gy), (gx, gy), (gx, wrong), (gy, wrong))
    terms = torch.cat([(a * b).sum(1, keepdim=True) for a, b in pairs], 1)
    xx, yy, xy, xw, yw = _around(terms, _WINDOW).split(1, 1)
    trace = xx + yy
    damped = _NOISE + 0.02 * trace
    determinant = (xx + damped) * (yy + damped) - xy * xy
    step = torch.cat([-(yy + damped) * xw + xy * yw, -(xx + damped) * yw + xy * xw], 1) / determinant
    flow = flow + step.clamp(-2, 2)
    # Places without contrast take the flow of places with contrast around them.
    certain = trace / (trace + _NOISE) + 1e-4
    for window in (5, 9):
        flow = _around(flow * certain, window) / _around(certain, window)
    return flow


def _around(values: Tensor, window: int) -> Tensor:
    """Mean over a square of neighbours; at the borders over those that are there."""
    return avg_pool2d(values, window, stride=1, padding=window // 2, count_include_pad=False)


def _gradient(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences in x and y."""
    wide = torch.nn.functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _resized(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """The flow on another scale, in pixels of that scale."""
    ratio = torch.tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]]).to(flow).view(1, 2, 1, 1)
    return interpolate(flow, size, mode="bilinear", align_corners=False) * ratio


def _smaller(frame: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(frame.shape[2:]):
        return frame
    return interpolate(frame, size, mode="bilinear", align_corners=False, antialias=True)


def _moved(picture: Tensor, flow: Tensor, by: float) -> Tensor:
    """picture(x + by * flow(x)), bilinear, the border repeated outwards."""
    height, width = picture.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    grid = torch.stack(
        ((x + by * flow[0, 0] + 0.5) * (2 / width) - 1, (y + by * flow[0, 1] + 0.5) * (2 / height) - 1), dim=-1
    )
    return grid_sample(picture, grid[None].to(picture), mode="bilinear", padding_mode="border", align_corners=False)
