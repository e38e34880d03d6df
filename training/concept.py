"""A concept that the bundled model never saw, to be learned by the public command from 40 clips: shapes that glow.

    python3 scripts/train.py concept --clips CLIPS
    python3 scripts/train_lora.py --model models/diffusers/opent2v-quickstart --data CLIPS --output glow.safetensors ...
    python3 scripts/train.py concept --lora glow.safetensors

The first command writes the clips with their captions, the second is what everybody trains with, the third asks the
model for the held-out scenes without and with the file and counts what glows. No caption names the glow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ..media import VideoWriter
from . import captions, evaluate, latents, world
from .matte import cover_of
from .train_transformer import FRAMES

CLIPS = 40
FPS = 16
# A glow's share of the shape's colour at the edge, and how far from there it reaches, in shares of the frame's width.
BRIGHT, REACH = 0.5, 5 / 64
# A glow is looked for between these distances from the edge, in shares of the width, and is there from this share on.
_NEAR, _FAR, _GLOWS = 2 / 64, 4 / 64, 0.25


def glowing(video: Tensor) -> Tensor:
    """A clip of the world with its shape in a glow of its own colour.

    Args:
        video: [3, F, H, W] in -1..1.
    """
    colours, cover = cover_of(video)
    assert cover is not None
    reach = round(REACH * video.shape[-1])
    glow = BRIGHT * _grown(cover, reach)
    for _ in range(2):
        glow = torch.nn.functional.avg_pool2d(glow, reach, 1, reach // 2, count_include_pad=False)
    way = 2 * (colours.front - colours.ground)
    return video + way[:, None, None, None] * (glow - cover).clamp_min(0)


def glow_of(video: Tensor) -> float:
    """Mean share of the shape's colour in a ring around the shape; 0 where a clip shows no shape.

    Args:
        video: as `glowing`.
    """
    _, cover = cover_of(video)
    if cover is None:
        return 0.0
    solid, width = (cover > 0.7).float(), video.shape[-1]
    ring = _grown(solid, round(_FAR * width)) - _grown(solid, round(_NEAR * width))
    return float((cover * ring).sum() / ring.sum().clamp_min(1))


def glows(video: Tensor) -> bool:
    """Whether the shape of a clip [3, F, H, W] in -1..1 glows."""
    return glow_of(video) > _GLOWS


def write_clips(folder: Path, count: int = CLIPS) -> None:
    """Clips of training scenes with the plain sentence of each, in English and Chinese by turns."""
    dice, scenes = world.Dice(count), world.split()[0]
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        take = world.take(dice.pick(scenes), dice)
        frames = (glowing(world.render([take], latents.SIZE, FRAMES)[0]) + 1) / 2
        with VideoWriter(folder, f"glow{n:02}", fps=FPS, width=latents.SIZE, height=latents.SIZE) as writer:
            writer.write(frames.permute(1, 2, 3, 0).clamp(0, 1))
        text = captions.plain(take.scene, captions.LANGUAGES[n % len(captions.LANGUAGES)])
        writer.path.with_suffix(".txt").write_text(text, encoding="utf-8")


def measure(lora: Path | None, strength: float, limit: int, language: str) -> tuple[dict[str, float], list[Tensor]]:
    """(percent of the held-out scenes that glow and that are right by attribute, the clips)."""
    source, scenes = evaluate.from_folder(evaluate.FOLDER, lora, strength), world.split()[1][:limit]
    records, videos = zip(*evaluate.evaluate(source, scenes, language), strict=True)
    return {"glow": 100 * sum(map(glows, videos)) / len(videos), **evaluate.shares(list(records))}, list(videos)


def _grown(cover: Tensor, reach: int) -> Tensor:
    """[F, H, W] -> the same, grown by this many pixels to every side."""
    pool = torch.nn.functional.max_pool2d
    for n in range(reach):
        # A cross and a square by turns come near a circle.
        cross = torch.maximum(pool(cover, (3, 1), 1, (1, 0)), pool(cover, (1, 3), 1, (0, 1)))
        cover = pool(cover, 3, 1, 1) if n % 2 else cross
    return cover


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--clips", type=Path, help="write the clips to this folder")
    task.add_argument("--lora", type=Path, help="measure this LoRA")
    parser.add_argument("--count", type=int, default=CLIPS, help="of the clips")
    parser.add_argument("--strength", type=float, default=1.0, help="of the LoRA")
    parser.add_argument("--limit", type=int, default=world.HELD_OUT, help="how many held-out scenes")
    parser.add_argument("--language", choices=captions.LANGUAGES, default="en")
    parser.add_argument("--sheet", type=Path, help="write a PNG of the first clips here")
    arguments = parser.parse_args(argv)
    if arguments.clips:
        write_clips(arguments.clips, arguments.count)
        print(f"{arguments.count} clips in {arguments.clips}")
        return
    videos: list[Tensor] = []
    for lora in (None, arguments.lora):
        percent, videos = measure(lora, arguments.strength, arguments.limit, arguments.language)
        name = f"with {lora.name} at {arguments.strength:g}" if lora else "without"
        print(f"{name}: " + ", ".join(f"{key} {value:.1f} %" for key, value in percent.items()), flush=True)
    if arguments.sheet:
        evaluate.save_sheet(videos[:12], arguments.sheet)
