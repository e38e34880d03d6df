"""Draws the pictures that the registry and the Manager show: docs/icon.png and docs/banner.png.

    python3 scripts/make/brand.py

Everything is drawn here, from the shapes and colours of the bundled model's world: no picture or font of others but
Pillow's own.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack

ICON = 400  # pixels a side; the registry takes up to 400
BANNER = (1260, 540)  # 21:9
FINE = 4  # drawn this much larger, then reduced: smooth edges
NIGHT, PALE = (20, 22, 34), (236, 238, 245)
COLOURS = ((120, 52, 168), (52, 92, 226), (28, 160, 132), (250, 190, 40))


def main() -> int:
    console.describe(__doc__)
    environment.ensure(["pillow>=10.1"])
    docs = pack.ROOT / "docs"
    for name, picture in {"icon": icon(), "banner": banner()}.items():
        picture.save(docs / f"{name}.png", optimize=True)
        print(docs / f"{name}.png")
    return 0


def icon():
    """A play triangle that has moved to where it is: four moments of one video."""
    from PIL import Image

    picture = Image.new("RGB", (ICON * FINE, ICON * FINE), NIGHT)
    for moment, colour in enumerate(COLOURS):
        _shape(picture, 3, (90 + 38 * moment, 200), 50 + 24 * moment, 0, colour, 0.55 + 0.15 * moment)
    return picture.resize((ICON, ICON), Image.Resampling.LANCZOS)


def banner():
    """The name, and below it four shapes on their way from left to right."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (BANNER[0] * FINE, BANNER[1] * FINE), NIGHT)
    corners = (0, 4, 5, 3)
    for i, colour in enumerate(COLOURS):
        for moment in range(7):
            way = moment / 6
            x, y = 94 + 292 * i + 150 * way, 424 - 40 * math.sin(math.pi * way)
            turn = 0.0 if corners[i] == 3 else (way - 1) * 0.9 - math.pi / (2 if corners[i] == 5 else 4)
            _shape(picture, corners[i], (x, y), 28 + 34 * way, turn, colour, 0.08 + 0.92 * way**3)
    draw = ImageDraw.Draw(picture)
    for text, size, y in (("OpenT2V", 150, 44), ("Open text-to-video models as native ComfyUI nodes", 38, 240)):
        draw.text((66 * FINE, y * FINE), text, fill=PALE, font=ImageFont.load_default(size * FINE))
    return picture.resize(BANNER, Image.Resampling.LANCZOS)


def _shape(picture, corners: int, centre, radius: float, turn: float, colour, opacity: float) -> None:
    """Paint a regular polygon (5: a star, 0: a circle) with rounded corners over the picture."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(mask)
    x, y, r, shade = centre[0] * FINE, centre[1] * FINE, radius * FINE, round(255 * opacity)
    if not corners:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=shade)
    else:
        count = 2 * corners if corners == 5 else corners
        radii = [r * (0.5 if corners == 5 and k % 2 else 1.15) for k in range(count)]
        angles = [turn + 2 * math.pi * k / count for k in range(count)]
        points = [(x + far * math.cos(a), y + far * math.sin(a)) for far, a in zip(radii, angles, strict=True)]
        draw.polygon(points, fill=shade)
        draw.line([*points, *points[:2]], fill=shade, width=round(r * 0.22), joint="curve")
    picture.paste(Image.new("RGB", picture.size, colour), (0, 0), mask)


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
