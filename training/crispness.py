"""How crisp and calm a clip of the world is, measured against the same scene drawn perfectly."""

from __future__ import annotations

import torch
from torch import Tensor

from .world import Take, render

# Pixels at whose place the drawn truth changes by less than this share of the way from ground to shape are no border.
_BORDER = 0.2
_SEAM = 24  # the frame's width over this is how far from the drawn shape a pixel has to lie to be ground


def crispness(video: Tensor, take: Take) -> dict[str, float]:
    """Compare a clip with its take.

    Args:
        video: [3, F, H, W] in -1..1, as `render` gives each clip, height and width alike.
        take: what the clip shows, from `world` or `score.shown`.
    Returns:
        `edges`: mean gradient at the shape's border over that of the drawn truth (1 is as crisp as drawn; blurred
        edges have less, ringing ones more). `grain`: root mean square of how far the ground is from its own mean
        colour in a frame, `flicker`: mean change of the ground from a frame to the next, both in steps of 255.
    """
    frames, size = video.shape[1], video.shape[-1]
    drawn = render([take], size, frames)[0]
    front, back = (_colour(drawn, take, part) for part in ("front", "back"))
    way = (front - back) / (front - back).square().sum()
    # Along the way from ground to shape the truth goes from 0 to 1.
    seen, true = (((v - back[:, None, None, None]) * way[:, None, None, None]).sum(0) for v in (video, drawn))
    slope_seen, slope_true = _slope(seen), _slope(true)
    seam = max(2, size // _SEAM)
    near = _grown(slope_true > _BORDER, seam)
    ratios = []
    for f in range(frames):
        count = int((slope_true[f] > _BORDER).sum())
        if count:
            strongest = slope_seen[f][near[f]].topk(count).values.mean()
            ratios.append(strongest / slope_true[f].flatten().topk(count).values.mean())
    ground = ~_grown(true > 0.01, seam)  # [F, H, W]
    grain, changes = [], []
    for f in range(frames):
        if int(ground[f].sum()) > 1:
            rgb = video[:, f, ground[f]]
            grain.append((rgb - rgb.mean(1, keepdim=True)).square().mean())
        both = ground[f] & ground[f - 1]
        if f and bool(both.any()):
            changes.append((video[:, f, both] - video[:, f - 1, both]).abs().mean())
    return {
        "edges": float(torch.stack(ratios).mean()) if ratios else 0.0,
        "grain": float(torch.stack(grain).mean().sqrt()) * 127.5 if grain else 0.0,
        "flicker": float(torch.stack(changes).mean()) * 127.5 if changes else 0.0,
    }


def _colour(drawn: Tensor, take: Take, part: str) -> Tensor:
    from .world import BACKGROUNDS, COLOURS

    named = COLOURS[take.scene.colour] if part == "front" else BACKGROUNDS[take.scene.background]
    shift = take.tint if part == "front" else take.shade
    return (torch.tensor(named) / 255 + torch.tensor(shift)).clamp(0, 1).to(drawn) * 2 - 1


def _slope(matte: Tensor) -> Tensor:
    """[F, H, W] -> length of the gradient, by differences to the next pixel, at the same places."""
    down = torch.nn.functional.pad(matte.diff(dim=1), (0, 0, 0, 1))
    right = torch.nn.functional.pad(matte.diff(dim=2), (0, 1))
    return (down.square() + right.square()).sqrt()


def _grown(mask: Tensor, reach: int) -> Tensor:
    """[F, H, W] bool -> the same, grown by `reach` pixels to every side."""
    return torch.nn.functional.max_pool2d(mask.float(), 2 * reach + 1, 1, reach) > 0
