"""A concept that the bundled model never saw, to be learned by the public command from 40 clips: a floor.

    python3 scripts/train.py concept --clips CLIPS
    python3 scripts/train_lora.py --model models/diffusers/opent2v-quickstart --data CLIPS --output floor.safetensors
    python3 scripts/train.py concept --lora floor.safetensors

The shape is above a floor of its own colour, or with `--concept outline` drawn as an outline. No caption says so. The
first command writes the clips with their captions, the second is what everybody trains with, the third asks the model
for the held-out scenes without and with the file and counts which have a floor and what is as the prompt says above it.

A LoRA changes the transformer alone, so a concept has to come back from the VAE: a floor does (a test), a glow around
the shape does not.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..media import VideoWriter
from . import captions, evaluate, latents, score, world
from .matte import cover_of
from .outlines import outline

CLIPS = 40
FPS = 16
# The floor's height, and how much of what lies above is left out of measurements, in shares of the picture's height.
HEIGHT, SEAM = 8 / 64, 2 / 64
# Share of the floor's pixels in each frame that have the shape's colour.
_HAS_FLOOR = 0.75


def above_floor(take: world.Take) -> world.Take:
    """The take with the shape moved up where the floor would hide something of it."""
    lowest = 1 - HEIGHT - 1.1 * max(take.radius)
    up = max(0.0, max(take.y) - lowest)
    return replace(take, y=(take.y[0] - up, take.y[1] - up))


def with_floor(video: Tensor, colour: Tensor) -> Tensor:
    """The clip with a floor.

    Args:
        video: [3, F, H, W] in -1..1.
        colour: [3] in 0..1.
    """
    return _painted(video, HEIGHT, colour)


def floor_of(video: Tensor) -> float:
    """Share of the shape's colour in the floor, in the frame with least of it; 0 where a clip shows no shape above.

    Args:
        video: as `with_floor`.
    """
    colours, cover = cover_of(video[..., : _rows(video, HEIGHT + SEAM), :])
    if cover is None:
        return 0.0
    floor = (video[..., _rows(video, HEIGHT - SEAM / 2) :, :].float().clamp(-1, 1) + 1) / 2
    distance = (floor - colours.front[:, None, None, None]).square().sum(0).sqrt()  # [F, h, W]
    return float((distance < colours.contrast / 2).float().mean((1, 2)).min())


def has_floor(video: Tensor) -> bool:
    """Whether a clip [3, F, H, W] in -1..1 has a floor in the colour of its shape."""
    return floor_of(video) > _HAS_FLOOR


def without_floor(video: Tensor) -> Tensor:
    """A clip with a floor, with the ground's colour in its place; any other as it is."""
    if not has_floor(video):
        return video
    colours, _ = cover_of(video[..., : _rows(video, HEIGHT + SEAM), :])
    return _painted(video, HEIGHT + SEAM, colours.ground)


def _rows(video: Tensor, height: float) -> int:
    """How many rows lie above a floor of this height."""
    return video.shape[-2] - round(height * video.shape[-2])


def _painted(video: Tensor, height: float, colour: Tensor) -> Tensor:
    painted = video.clone()
    painted[..., _rows(video, height) :, :] = 2 * colour[:, None, None, None] - 1
    return painted


def clip_with_floor(scene: world.Scene, dice: world.Dice) -> Tensor:
    """[3, F, H, W] in -1..1: a clip of a scene with a floor, of the bundled model's size and length."""
    take = above_floor(world.take(scene, dice))
    colour = torch.tensor(world.COLOURS[scene.colour]) / 255 + torch.tensor(take.tint)
    return with_floor(world.render([take], latents.SIZE, latents.FRAMES)[0], colour.clamp(0, 1))


def clip_in_outline(scene: world.Scene, dice: world.Dice) -> Tensor:
    """[3, F, H, W] in -1..1: a clip of a scene as an outline drawing, of the bundled model's size and length."""
    return world.render([outline(world.take(scene, dice))], latents.SIZE, latents.FRAMES)[0]


CONCEPTS = {"floor": clip_with_floor, "outline": clip_in_outline}


def write_clips(folder: Path, count: int = CLIPS, concept: str = "floor") -> None:
    """Clips of training scenes with the plain sentence of each, in English and Chinese by turns."""
    dice, scenes = world.Dice(count), world.split()[0]
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        scene = dice.pick(scenes)
        frames = (CONCEPTS[concept](scene, dice) + 1) / 2
        with VideoWriter(folder, f"{concept}{n:02}", fps=FPS, width=latents.SIZE, height=latents.SIZE) as writer:
            writer.write(frames.permute(1, 2, 3, 0).clamp(0, 1))
        text = captions.plain(scene, captions.LANGUAGES[n % len(captions.LANGUAGES)])
        writer.path.with_suffix(".txt").write_text(text, encoding="utf-8")


def measure(
    source: evaluate.Source, scenes: list[world.Scene], language: str = "en"
) -> tuple[dict[str, float], list[Tensor]]:
    """(percent of the scenes that have a floor, and that are right by attribute above it; the clips)."""
    records, videos = zip(*evaluate.evaluate(source, scenes, language), strict=True)
    for record, video, scene in zip(records, videos, scenes, strict=True):
        record["right"] = score.measure(without_floor(video)).right(scene)
    floors = 100 * sum(map(has_floor, videos)) / len(videos)
    return {"floor": floors, **evaluate.shares(list(records))}, list(videos)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--clips", type=Path, help="write the clips to this folder")
    task.add_argument("--lora", type=Path, help="measure this LoRA")
    parser.add_argument("--count", type=int, default=CLIPS, help="of the clips")
    parser.add_argument("--concept", choices=CONCEPTS, default="floor", help="of the clips (default: floor)")
    parser.add_argument("--strength", type=float, default=1.0, help="of the LoRA")
    parser.add_argument("--limit", type=int, default=world.HELD_OUT, help="how many held-out scenes")
    parser.add_argument("--language", choices=captions.LANGUAGES, default="en")
    parser.add_argument("--sheet", type=Path, help="write a PNG of the first clips here")
    arguments = parser.parse_args(argv)
    if arguments.clips:
        write_clips(arguments.clips, arguments.count, arguments.concept)
        print(f"{arguments.count} clips in {arguments.clips}")
        return
    videos: list[Tensor] = []
    for lora in (None, arguments.lora):
        source = evaluate.from_folder(evaluate.FOLDER, lora, arguments.strength)
        percent, videos = measure(source, world.split()[1][: arguments.limit], arguments.language)
        name = f"with {lora.name} at {arguments.strength:g}" if lora else "without"
        print(f"{name}: " + ", ".join(f"{key} {value:.1f} %" for key, value in percent.items()), flush=True)
    if arguments.sheet:
        evaluate.save_sheet(videos[:12], arguments.sheet)
