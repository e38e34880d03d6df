"""What a clip of the world shows, by plain image measurements: no learned part, nothing but colours and moments.

The border's median colour is the background. How far each pixel lies on the way from it to the shape's own
colour is the matte. The matte's area and centroid over time tell the motion, its harmonic moments tell the
outline: a triangle has a third harmonic, a square a fourth, a star a fifth, a circle none.

A shape that is drawn as a line is measured like one that is filled: what a closed line surrounds belongs to it. How
empty its middle is tells the two apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .matte import Colours, cover_of, spread
from .world import BACKGROUNDS, COLOURS, UPRIGHT, Scene, Take, area

ATTRIBUTES = ("colour", "background", "motion", "shape")
NONE = "none"

# Order and size of the |harmonic moment| of the perfect outline (see `_harmonics`).
_ORDERS = {"triangle": (3, 0.658), "square": (4, 0.429), "star": (5, 0.852)}
# An outline needs this share of its perfect moment to be more than a circle, and this share to have a direction.
_SEEN, _TRACEABLE = 0.3, 0.2
# Typical changes over a whole clip of the world, the units in which motions are compared; below `_STILL` units a clip
# counts as still.
_TYPICAL_MOVE, _TYPICAL_GROWTH, _TYPICAL_TURN = 0.45, 0.75, 1.1 * math.pi
_STILL = 0.4
# The middle of a shape, in radii of a circle of its area (the inside of a star in a line of 3.5 pixels reaches a
# little less far), and how much of it has to be ground for an outline drawing.
_MIDDLE, _HOLLOW = 0.25, 0.5


@dataclass(frozen=True)
class Measured:
    """What was seen; `NONE` for shape, colour and motion where most frames show nothing but background.

    Attributes:
        raw: the numbers behind the words: contrast, and where there is a shape move_x, move_y (share of the frame),
            growth (log of the ratio of last to first radius), turn (radians), area (share of the frame), triangle,
            square, star (share of the perfect outline's moment), hollow (share of its middle that a closed line
            surrounds and the shape's colour does not cover).
    """

    colour: str
    background: str
    shape: str
    motion: str
    raw: dict[str, float] = field(default_factory=dict)

    def right(self, scene: Scene) -> dict[str, bool]:
        """Which attributes are as the scene says."""
        return {name: getattr(self, name) == getattr(scene, name) for name in ATTRIBUTES}

    @property
    def outlined(self) -> bool:
        """Whether it is an outline drawing: ground in the middle, and a closed line of the shape's colour around."""
        return self.raw.get("hollow", 0.0) > _HOLLOW


def measure(video: Tensor) -> Measured:
    """Measure one clip.

    Args:
        video: [3, F, H, W] in -1..1, as `world.render` gives each clip; values outside are clamped. F >= 2.
    """
    colours, seen = _see(video)
    background = _nearest(colours.ground, BACKGROUNDS)
    if seen is None:
        return Measured(NONE, background, NONE, NONE, {"contrast": colours.contrast})
    shape = max(seen.strengths, key=lambda name: seen.strengths[name])
    turn = _change(seen.angles[shape], seen.weight) if seen.strengths[shape] > _TRACEABLE else 0.0
    raw = {
        "contrast": colours.contrast,
        "area": float(seen.area.mean()),
        "move_x": _change(seen.x, seen.weight),
        "move_y": _change(seen.y, seen.weight),
        "growth": _change(0.5 * seen.area.clamp_min(1e-4).log(), seen.weight),
        "turn": turn,
        "hollow": _hollow(seen.drawn, seen.matte, seen.x, seen.y),
        **seen.strengths,
    }
    if seen.strengths[shape] < _SEEN:
        shape = "circle"
    return Measured(_nearest(colours.front, COLOURS), background, shape, _motion(raw), raw)


def shown(video: Tensor, scene: Scene) -> Take | None:
    """The take of this scene that comes nearest to what a clip shows: its place, size, angle and tints.

    The scene's word for the shape is believed, and unless it turns its angle is one for the whole clip.

    Args:
        video: as `measure` takes it.
    Returns:
        None where most frames show nothing but background.
    """
    colours, seen = _see(video)
    if seen is None:
        return None
    radius = (seen.area / area(scene.shape)).sqrt()
    first = last = UPRIGHT[scene.shape]
    if seen.strengths.get(scene.shape, 0.0) > _TRACEABLE:
        first, last = _ends(seen.angles[scene.shape], seen.weight)
        if scene.motion != "rotating":
            first = last = (first + last) / 2
    return Take(
        scene,
        x=_ends(seen.x, seen.weight),
        y=_ends(seen.y, seen.weight),
        radius=_ends(radius, seen.weight),
        angle=(first, last),
        tint=_apart(colours.front, COLOURS[scene.colour]),
        shade=_apart(colours.ground, BACKGROUNDS[scene.background]),
    )


@dataclass(frozen=True)
class _Seen:
    """The shape on the frames of a clip, F of them.

    Attributes:
        drawn: how much of each pixel has the shape's colour, matte: the same without holes, both [F, H, W].
        area, x, y, weight: share of the frame, place in it, and how much the frame counts, all [F].
        strengths, angles: as `_outline` gives them.
    """

    drawn: Tensor
    matte: Tensor
    area: Tensor
    x: Tensor
    y: Tensor
    weight: Tensor
    strengths: dict[str, float]
    angles: dict[str, Tensor]


def _see(video: Tensor) -> tuple[Colours, _Seen | None]:
    """The colours, and the shape unless most frames show nothing but background."""
    colours, drawn = cover_of(video)
    if drawn is None:
        return colours, None
    # Only the shape and a seam around it: faint stains elsewhere would pull the moments.
    matte = _filled(drawn * spread(drawn > 0.5))
    area = matte.mean((1, 2))  # [F], share of the frame
    # A frame's weight is the share of the shape that it shows.
    weight = (area / area.median().clamp_min(0.003)).clamp(0, 1)
    if int((weight > 0.1).sum()) < max(2, len(area) / 2):
        return colours, None
    x, y = _centroid(matte)
    return colours, _Seen(drawn, matte, area, x, y, weight, *_outline(matte, x, y, weight))


def _motion(raw: dict[str, float]) -> str:
    amounts = {
        "left": -raw["move_x"] / _TYPICAL_MOVE,
        "right": raw["move_x"] / _TYPICAL_MOVE,
        "up": -raw["move_y"] / _TYPICAL_MOVE,
        "down": raw["move_y"] / _TYPICAL_MOVE,
        "growing": raw["growth"] / _TYPICAL_GROWTH,
        "shrinking": -raw["growth"] / _TYPICAL_GROWTH,
        "rotating": abs(raw["turn"]) / _TYPICAL_TURN,
    }
    most = max(amounts, key=lambda name: amounts[name])
    return most if amounts[most] > _STILL else "still"


def _filled(matte: Tensor) -> Tensor:
    """[F, H, W] -> the same without holes: a pixel is at least as covered as the best way out from it must cross."""
    # Try straight paths to the outside first, then paths around corners.
    straight = [matte.cummax(axis).values for axis in (1, 2)]
    straight += [matte.flip(axis).cummax(axis).values.flip(axis) for axis in (1, 2)]
    reached = torch.stack(straight).amin(0)
    while True:
        # A step goes up, down, left or right: a line that is closed only at its pixels' corners holds.
        rows = torch.nn.functional.max_pool2d(-reached, (3, 1), 1, (1, 0))
        columns = torch.nn.functional.max_pool2d(-reached, (1, 3), 1, (0, 1))
        grown = torch.maximum(matte, -torch.maximum(rows, columns))
        if torch.equal(grown, reached):
            return reached
        reached = grown


def _hollow(drawn: Tensor, filled: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of the middle that `filled` covers and `drawn` does not, both [F, H, W]; frames count by their area."""
    _, height, width = filled.shape
    area = filled.mean((1, 2))
    radius = _MIDDLE * (area / math.pi).sqrt()[:, None, None]
    dx = (torch.arange(width) + 0.5) / width - x[:, None, None]
    dy = ((torch.arange(height) + 0.5) / height)[:, None] - y[:, None, None]
    middle = (dx * dx + dy * dy).sqrt() < radius.clamp_min(1 / width)
    empty = ((filled - drawn).clamp(min=0) * middle).sum((1, 2)) / middle.sum((1, 2))
    return float((empty * area).sum() / area.sum())


def _centroid(matte: Tensor) -> tuple[Tensor, Tensor]:
    """[F, H, W] -> x, y [F] as shares of the frame."""
    _, height, width = matte.shape
    total = matte.sum((1, 2)).clamp_min(1e-6)
    x = (matte.sum(1) * (torch.arange(width) + 0.5)).sum(1) / total / width
    y = (matte.sum(2) * (torch.arange(height) + 0.5)).sum(1) / total / height
    return x, y


def _outline(matte: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Share of each outline's perfect moment (mean over the frames), and the angle [F] it stands at."""
    strengths, angles = {}, {}
    moments = _harmonics(matte, x, y, tuple(order for order, _ in _ORDERS.values()))
    for (name, (order, perfect)), moment in zip(_ORDERS.items(), moments, strict=True):
        strengths[name] = float((moment.abs() * weight).sum() / weight.sum()) / perfect
        angles[name] = _unwrap(moment.angle()) / order
    return strengths, angles


def _harmonics(matte: Tensor, x: Tensor, y: Tensor, orders: tuple[int, ...]) -> list[Tensor]:
    """Sum of matte * z^n over sum of matte * |z|^n, z the place relative to the centroid: one complex [F] per order.

    The polynomials z^n are harmonic, so an isotropic blur leaves the upper sum as it is.
    """
    frames, height, width = matte.shape
    frame, row, column = matte.nonzero(as_tuple=True)
    # In units of the radius of a circle of the same area; corners reach 1.6, what lies beyond 2 is no part of it.
    radius = (matte.mean((1, 2)) / math.pi).sqrt().clamp_min(1e-3)[frame]
    dx, dy = ((column + 0.5) / width - x[frame]) / radius, ((row + 0.5) / height - y[frame]) / radius
    z, cover = torch.complex(dx, dy), matte[frame, row, column]
    cover = cover * (z.abs() < 2)

    def per_frame(values: Tensor) -> Tensor:
        return torch.zeros(frames, dtype=values.dtype).index_add_(0, frame, values)

    return [per_frame(cover * z**n) / per_frame(cover * z.abs() ** n).clamp_min(1e-6) for n in orders]


def _unwrap(phase: Tensor) -> Tensor:
    """[F] angles without jumps of more than half a turn."""
    steps = torch.remainder(phase.diff() + math.pi, 2 * math.pi) - math.pi
    return torch.cat([phase[:1], phase[0] + steps.cumsum(0)])


def _ends(track: Tensor, weight: Tensor) -> tuple[float, float]:
    """First and last value of the weighted least-squares line."""
    change, time = _change(track, weight), torch.linspace(0, 1, len(track))
    first = float((weight * (track - change * time)).sum() / weight.sum())
    return first, first + change


def _apart(rgb: Tensor, named: tuple[int, int, int]) -> tuple[float, ...]:
    """How far a colour in 0..1 is from a named one."""
    return tuple((rgb - torch.tensor(named) / 255).tolist())


def _change(track: Tensor, weight: Tensor) -> float:
    """Change from the first to the last frame along the weighted least-squares line."""
    time = torch.linspace(0, 1, len(track))
    time = time - (weight * time).sum() / weight.sum()
    centred = track - (weight * track).sum() / weight.sum()
    return float((weight * time * centred).sum() / (weight * time * time).sum().clamp_min(1e-6))


def _nearest(rgb: Tensor, table: dict[str, tuple[int, int, int]]) -> str:
    """The name of the colour that looks nearest: smallest distance in CIELAB."""
    known = _lab(torch.tensor(list(table.values())) / 255)
    return list(table)[int((known - _lab(rgb)).norm(dim=-1).argmin())]


def _lab(rgb: Tensor) -> Tensor:
    """[..., 3] sRGB in 0..1 -> CIELAB, white D65 (IEC 61966-2-1 and CIE 15)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / torch.tensor([0.9505, 1.0, 1.089])
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
