"""What the outline LoRA learns from: clips of the base model, on their way and at their end, and the same as outlines.

A clip that the base has drawn is looked at by `score`, and its take is drawn again as an outline. So what is to come
out follows from the noise and the prompt alone; place, size and motion are those the base chose; and the faults in the
base's own half-drawn clips are there from the start.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..sampling import make_schedule, solve
from . import captions, export, latents, score, world
from .lessons import CHINESE
from .train_transformer import Pair

# Line width and inner size, as shares of the frame, that the autoencoder draws best: thinner lines become faint, and
# small shapes fill up. The line lies on the edge of the filled shape, mostly outside.
STROKE, OUTSIDE = 4.5 / 64, 3 / 64
# Noise level of the turn: above it the LoRA leaves the base unchanged; below it, the target is an outline.
TURN = 0.62
PLAIN = 0.3  # share of prompts that are the plainest sentence of their scene
NAMED = 0.25  # share of the prompts that name the style
EARLY, LATE = 4, 2  # states kept of each clip: any with more noise than `TURN`, and the first below
OFF = 0.15  # distance in RGB 0..1 from which on a colour does not match its word
BATCH = 32


def outline(take: world.Take) -> world.Take:
    """The same take, drawn as an outline."""
    first, last = take.radius
    return replace(take, radius=(first + OUTSIDE, last + OUTSIDE), stroke=STROKE)


def straightened(clip: Tensor, like: world.Take, wider: float = 1.0) -> world.Take | None:
    """The outline that comes nearest to a half-drawn one, of the scene and in the colours of another take.

    Place and angle are what the clip shows; the size may be a twentieth smaller or larger than the other's. The colours
    are not the clip's: a line that came out faint is not to become a faint line.

    Args:
        clip: [3, F, H, W] in -1..1.
        wider: how many times as large as the clip shows it is to be.
    Returns:
        None where the clip shows nothing, or something of other colours.
    """
    seen = score.shown(clip, like.scene)
    if seen is None or not has_its_colours(seen):
        return None
    radii = zip(seen.radius, like.radius, strict=True)
    first, last = (min(max(r, 0.95 * radius), 1.05 * radius) for r, radius in radii)
    return replace(like, x=seen.x, y=seen.y, angle=seen.angle, radius=(first * wider, last * wider))


def take_of(pool: dict[str, Tensor], clip: int) -> world.Take:
    """The outline of a clip of the pool; its place and angle are not kept, and 0."""
    scene = world.scenes()[int(pool["scene"][clip])]
    first, last = pool["radius"][clip].tolist()
    tint, shade = (tuple(pool[name][clip].tolist()) for name in ("tint", "shade"))
    return world.Take(scene, (0.0, 0.0), (0.0, 0.0), (first, last), (0.0, 0.0), tint, shade, stroke=STROKE)


def has_its_colours(take: world.Take) -> bool:
    """Whether the colours of a take are still those that the scene's words say."""
    return max(map(abs, take.tint + take.shade)) < OFF


def encode(texts: list[str]) -> Tensor:
    """Prompts -> ids [count, 32]."""
    encoded = captions.tokenizer()(texts, padding="max_length", truncation=True, max_length=captions.MAX_TOKENS)
    return torch.tensor(encoded.input_ids)


@torch.no_grad()
def embed(pair: Pair, ids: Tensor) -> Tensor:
    """Ids -> what the transformer is told, [count, 32, 96]."""
    return pair.embed(ids, ids != pair.text_encoder.config.pad_token_id)


def negatives(pair: Pair) -> Tensor:
    """The negative prompts of the languages, in their order, [2, 32, 96]."""
    return embed(pair, encode([captions.NEGATIVE[language] for language in captions.LANGUAGES]))


def clips(count: int, pair: Pair, scenes: list[world.Scene], space: latents.LatentSpace) -> dict[str, Tensor]:
    """Clips that the base draws of the scenes, most with its own values and some with others.

    Returns:
        For the clips that show something of the right colours, at most `count` of them, rounded up to `BATCH`:
            ids [count, 32]; language [count], the negative prompt's; cfg [count]; scene [count], its number
            filled, outlined [count, 16, 9, 8, 8]: what the base drew, and the same as an outline; radius [count, 2]:
                the outline's in the first and last frame; tint, shade [count, 3]: as in a take
            early_x, early_positive, early_negative [count, 4, 16, 9, 8, 8], early_t [count, 4]: on the way, with
                more noise than `TURN`, and what the base said to each prompt (flow)
            late_x [count, 2, 16, 9, 8, 8], late_t [count, 2]: the first two on the way below
        Latents in half precision.
    """
    pool: dict[str, list[Tensor]] = {}
    without = negatives(pair)
    for start in range(0, count, BATCH):
        for name, values in _batch(start, pair, without, scenes, space).items():
            pool.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in pool.items()}


@torch.no_grad()
def _batch(
    start: int, pair: Pair, without: Tensor, scenes: list[world.Scene], space: latents.LatentSpace
) -> dict[str, Tensor]:
    dice = world.Dice(9_000_011 * (start + 1))
    generator = torch.Generator().manual_seed(5_000_000 + start)
    defaults = export.OWN
    cfg = dice.pick([defaults["guidance"]] * 3 + [dice.uniform(1, 3.5)])
    steps = dice.pick([defaults["steps"]] * 3 + [12 + dice.index(19)])
    language = "zh" if dice.uniform(0, 1) < CHINESE else "en"
    chosen, texts = [dice.pick(scenes) for _ in range(BATCH)], []
    for scene in chosen:
        is_plain = dice.uniform(0, 1) < PLAIN
        text = captions.plain(scene, language) if is_plain else captions.caption(scene, dice, language)
        texts.append(text + captions.OUTLINE[language] if dice.uniform(0, 1) < NAMED else text)
    ids, number = encode(texts), captions.LANGUAGES.index(language)
    contexts = torch.cat([embed(pair, ids), without[number].expand(BATCH, -1, -1)])
    way: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        flow = pair.transformer(torch.cat([x, x]), torch.cat([sigma, sigma]) * 1000, contexts, return_dict=False)[0]
        positive, negative = flow.chunk(2)
        way.append((x.clone(), sigma, positive, negative))
        return x - sigma.view(-1, 1, 1, 1, 1) * (negative + cfg * (positive - negative))

    noise = torch.randn((BATCH, *latents.SHAPE), generator=generator)
    filled = solve(denoise, noise, make_schedule(export.SCHEDULER, steps=steps, shift=None))
    takes = [score.shown(v, s) for v, s in zip(space.decode(filled).clamp(-1, 1), chosen, strict=True)]
    drawn = {i: outline(take) for i, take in enumerate(takes) if take is not None and has_its_colours(take)}
    outlined, radius, tints = torch.zeros_like(filled), torch.zeros(BATCH, 2), torch.zeros(2, BATCH, 3)
    if drawn:
        kept = torch.tensor(list(drawn))
        outlined[kept] = space.encode(world.render(list(drawn.values()), latents.SIZE, latents.FRAMES))
        radius[kept] = torch.tensor([take.radius for take in drawn.values()])
        tints[:, kept] = torch.tensor([[take.tint for take in drawn.values()], [take.shade for take in drawn.values()]])
    early = [state for state in way if state[1][0] > TURN]
    late = [state for state in way if state[1][0] <= TURN][:LATE]
    lots = torch.stack([torch.randperm(len(early), generator=generator)[:EARLY] for _ in range(BATCH)])
    rows = torch.arange(BATCH)[:, None]

    def stacked(states: list[tuple[Tensor, Tensor, Tensor, Tensor]], part: int) -> Tensor:
        return torch.stack([state[part] for state in states], 1)

    result = {
        "ids": ids,
        "language": torch.full((BATCH,), number),
        "cfg": torch.full((BATCH,), float(cfg)),
        "scene": torch.tensor([world.scenes().index(scene) for scene in chosen]),
        "radius": radius,
        "tint": tints[0],
        "shade": tints[1],
        "filled": filled.half(),
        "outlined": outlined.half(),
        "early_t": stacked(early, 1)[rows, lots],
        "late_t": stacked(late, 1),
        "late_x": stacked(late, 0).half(),
    }
    for part, name in ((0, "early_x"), (2, "early_positive"), (3, "early_negative")):
        result[name] = stacked(early, part)[rows, lots].half()
    return {name: values[list(drawn)].contiguous() for name, values in result.items()}
