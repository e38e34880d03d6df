"""The procedural world of the bundled model: one flat shape on a flat background, doing one thing.

Everything the bundled model knows is drawn here. A `Scene` is what a prompt can say (shape, colour, motion,
background); a `Take` adds what a prompt leaves open (place, size, speed, tint); `render` draws takes as video.
Lengths are shares of the frame's width and motion is given per clip, so the same take can be drawn at any
size and frame count.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = {
    "red": (225, 35, 35),
    "green": (35, 165, 60),
    "blue": (35, 65, 220),
    "yellow": (250, 220, 40),
    "purple": (140, 45, 170),
    "orange": (250, 135, 25),
    "white": (250, 250, 250),
}
BACKGROUNDS = {"black": (12, 12, 12), "grey": (120, 120, 120), "sky-blue": (130, 200, 240), "beige": (215, 192, 155)}
MOTIONS = ("still", "left", "right", "up", "down", "growing", "shrinking", "rotating")
FLAWS = ("blurry", "noisy", "flicker")
HELD_OUT = 100

# Corners, circumradius and inner radius of each outline, for a nominal radius of 1. The circumradii make the
# areas roughly equal. A regular polygon is a star whose inner radius touches the middle of its edges.
_OUTLINE = {
    "square": (4, 1.25, 1.25 * math.cos(math.pi / 4)),
    "triangle": (3, 1.50, 1.50 * math.cos(math.pi / 3)),
    "star": (5, 1.50, 1.50 * 0.42),
}
# Angle of the first corner, so that shapes stand upright (image y points down).
UPRIGHT = {"circle": 0.0, "square": math.pi / 4, "triangle": -math.pi / 2, "star": -math.pi / 2}


def area(shape: str) -> float:
    """Of the shape, filled, with a radius of 1."""
    if shape not in _OUTLINE:
        return math.pi
    corners, outer, inner = _OUTLINE[shape]
    return corners * outer * inner * math.sin(math.pi / corners)


@dataclass(frozen=True)
class Scene:
    """What a prompt says."""

    shape: str
    colour: str
    motion: str
    background: str


@dataclass(frozen=True)
class Take:
    """One drawing of a scene. Positions and radii are shares of the frame; each pair is (first, last) frame.

    `stroke` is the width of the line, a share of the frame, of a shape drawn as an outline; None fills the shape.
    """

    scene: Scene
    x: tuple[float, float]
    y: tuple[float, float]
    radius: tuple[float, float]
    angle: tuple[float, float]
    tint: tuple[float, ...] = (0.0, 0.0, 0.0)
    shade: tuple[float, ...] = (0.0, 0.0, 0.0)
    flaw: str | None = None
    flaw_seed: int = 0
    stroke: float | None = None


def scenes() -> list[Scene]:
    """Every scene of the world. A rotating circle is left out: nobody could see it turn."""
    every = itertools.product(SHAPES, COLOURS, MOTIONS, BACKGROUNDS)
    return [Scene(*s) for s in every if not (s[0] == "circle" and s[2] == "rotating")]


def split() -> tuple[list[Scene], list[Scene]]:
    """(training scenes, held-out scenes): the 100 scenes with the smallest hash never appear in training."""
    ranked = sorted(
        scenes(), key=lambda s: hashlib.sha256(f"{s.shape}|{s.colour}|{s.motion}|{s.background}".encode()).digest()
    )
    return ranked[HELD_OUT:], ranked[:HELD_OUT]


class Dice:
    """Random choices from one torch generator, so that a seed fixes a take."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self._generator).item()

    def index(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator))

    def pick(self, options):
        return options[self.index(len(options))]


def take(scene: Scene, dice: Dice) -> Take:
    """Fill in what the scene leaves open, so that the shape stays in the frame."""
    radius = dice.uniform(0.14, 0.18)
    radii = (radius, radius)
    if scene.motion in ("growing", "shrinking"):
        small, large = dice.uniform(0.09, 0.12), dice.uniform(0.21, 0.25)
        radii = (small, large) if scene.motion == "growing" else (large, small)
    # The centre keeps a little more than a radius from the edge; a star's tip may leave the frame.
    reach = 1.1 * max(radii)
    moving = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(scene.motion, (0, 0))
    # Short paths leave the start free. The transformer knows relative positions only, so a motion that always started
    # at one edge would have to be learned from that edge, which takes far longer.
    distance = dice.uniform(0.24, 0.32)
    ends = []
    for direction in moving:
        if direction:
            low = reach + dice.uniform(0, 1 - 2 * reach - distance)
            ends.append((low, low + distance) if direction > 0 else (low + distance, low))
        else:
            centre = dice.uniform(reach, 1 - reach)
            ends.append((centre, centre))
    x, y = ends
    angle = UPRIGHT[scene.shape] + dice.uniform(-0.12, 0.12)
    # At most 30 degrees per latent frame: a star looks the same again after 72.
    turn = dice.uniform(0.5, 0.67) * math.pi if scene.motion == "rotating" else 0.0
    tint = tuple(dice.uniform(-0.03, 0.03) for _ in range(3))
    shade = tuple(dice.uniform(-0.03, 0.03) for _ in range(3))
    return Take(scene, x, y, radii, (angle, angle + turn), tint, shade)


def spoil(clean: Take, flaw: str, dice: Dice) -> Take:
    """The same take with a flaw that a negative prompt can name."""
    return replace(clean, flaw=flaw, flaw_seed=dice.index(2**31 - 1))


def drawn(dice: Dice, scenes: list[Scene], flawed: float) -> Take:
    """A take of one of the scenes; a share `flawed` of them have a flaw."""
    new_take = take(dice.pick(scenes), dice)
    return spoil(new_take, dice.pick(FLAWS), dice) if dice.uniform(0, 1) < flawed else new_take


def render(takes: list[Take], size: int, frames: int) -> Tensor:
    """Draw takes as video.

    Args:
        size: width and height in pixels.
    Returns:
        [B, 3, F, H, W] float32 in -1..1, edges antialiased over one pixel.
    """

    def paint(table, key: str, shift: str) -> Tensor:
        rows = [table[getattr(t.scene, key)] for t in takes]
        rgb = torch.tensor(rows, dtype=torch.float32) / 255 + torch.tensor([getattr(t, shift) for t in takes])
        return rgb.clamp(0, 1)[:, :, None, None, None]

    front, back = paint(COLOURS, "colour", "tint"), paint(BACKGROUNDS, "background", "shade")
    video = back.expand(-1, -1, frames, size, size).clone()
    for i, t in enumerate(takes):
        rows, columns, cover = _cover(t, size, frames)
        video[i, :, :, rows, columns] += cover * (front - back)[i]
        if t.flaw:
            video[i] = _flawed(video[i], t.flaw, t.flaw_seed)
    return video.mul_(2).sub_(1)


def _cover(drawn: Take, size: int, frames: int) -> tuple[slice, slice, Tensor]:
    """(rows, columns, share of each of their pixels that is covered [F, h, w]); what lies outside is not covered."""
    # Every moving quantity runs straight from its first to its last value.
    ramp = torch.linspace(0, 1, frames) if frames > 1 else torch.zeros(1)
    ends = torch.tensor([drawn.x, drawn.y, drawn.radius, drawn.angle])
    x, y, radius, angle = (ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * ramp)[:, :, None, None]  # each [F, 1, 1]
    corners, outer, inner = _OUTLINE.get(drawn.scene.shape, (0, 1.0, 1.0))
    pixel = (torch.arange(size) + 0.5) / size

    def within(centre: Tensor) -> slice:
        reach = outer * radius + 1 / size
        low, high = (centre - reach).min().item(), (centre + reach).max().item()
        return slice(min(max(math.floor(low * size), 0), size), min(max(math.ceil(high * size), 0), size))

    rows, columns = within(y), within(x)
    dx, dy = pixel[columns] - x, pixel[rows, None] - y
    distance = torch.sqrt(dx * dx + dy * dy)  # [F, h, w]
    if corners:
        sector = 2 * math.pi / corners
        theta = torch.atan2(dy.expand_as(distance), dx.expand_as(distance)) - angle
        # Fold every angle into half a sector: one straight edge, from the corner to the inner point, is left.
        theta = torch.abs(torch.remainder(theta + sector / 2, sector) - sector / 2)
        ax, bx, by = outer * radius, inner * radius * math.cos(sector / 2), inner * radius * math.sin(sector / 2)
        length = torch.sqrt((bx - ax) ** 2 + by**2)
        nx, ny = by / length, (ax - bx) / length
        signed = (distance * torch.cos(theta) - ax) * nx + distance * torch.sin(theta) * ny
    else:
        signed = distance - radius
    cover = (0.5 - signed * size).clamp(0, 1)
    if drawn.stroke is not None:
        # The line lies inside the shape's edge; pixels deeper than its width are ground.
        cover = cover - (0.5 - (signed + drawn.stroke) * size).clamp(0, 1)
    return rows, columns, cover


def _flawed(video: Tensor, flaw: str, seed: int) -> Tensor:
    """[3, F, H, W] in 0..1 -> the same clip blurred, noisy or flickering."""
    generator = torch.Generator().manual_seed(seed)
    size = video.shape[-1]
    if flaw == "blurry":
        kernel = 2 * (size // 16) + 1
        frames = video.transpose(0, 1)
        for _ in range(2):
            # The mean over a square, as a mean over rows of means over columns.
            frames = torch.nn.functional.pad(frames, [kernel // 2] * 4, mode="replicate")
            for sides in ((kernel, 1), (1, kernel)):
                frames = torch.nn.functional.avg_pool2d(frames, sides, 1)
        return frames.transpose(0, 1)
    if flaw == "noisy":
        # Grain of a sixteenth of the frame, so that it survives the autoencoder's compression.
        grain = torch.randn((3, video.shape[1], 16, 16), generator=generator).transpose(0, 1)
        grain = torch.nn.functional.interpolate(grain, size=(size, size), mode="nearest").transpose(0, 1)
        return (video + 0.15 * grain).clamp(0, 1)
    if flaw == "flicker":
        gain = 1 + 0.35 * torch.randn((1, video.shape[1], 1, 1), generator=generator)
        return (video * gain.clamp(0.3, 1.7)).clamp(0, 1)
    raise ValueError(f"unknown flaw {flaw!r}; known: {', '.join(FLAWS)}")
