"""What the transformer sees at a step: everything is drawn from the step's number alone.

Lessons grow. A clip's single pictures cost a ninth of the clip, and teach shapes, colours and places; windows of nine
frames teach how things move from one latent frame to the next; whole clips teach to keep that up. In a share of the
lessons the first latent frames are given clean, as Wan 2.2 5B is told a first picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import captions, world
from .latents import BLOCK, CHANNELS, FRAMES, SIZE, STRIDE, LatentSpace

NO_PROMPT, FLAWED, CHINESE = 0.10, 0.06, 0.4
# Largest noise that is left on given latents, of their unit variance: a picture that a model made is not quite clean.
GIVEN_NOISE = 0.08
# Latent frames of a lesson -> its clips: a step takes about as long whatever its lesson.
CLIPS = {1: 96, 3: 40, 5: 28, 9: 20}
# (until this share of the steps, lessons in turn): latent frames, and how many of the first are given. Beyond 1 the
# schedule is over: mostly whole clips from words, which take longest to learn.
ROUNDS = (
    (0.03, ((1, 0), (3, 0), (1, 0), (3, 1))),
    (0.10, ((9, 0), (1, 0), (3, 1), (9, 1), (3, 0), (1, 0))),
    (1.00, ((9, 0), (9, 1), (9, 0), (5, 1), (9, 1), (9, 0), (3, 0), (9, 0), (9, 2), (1, 0))),
    (math.inf, ((9, 0), (9, 0), (9, 0), (9, 1), (9, 0), (9, 0), (9, 0), (5, 1), (9, 0), (9, 2))),
)


@dataclass(frozen=True)
class Emphasis:
    """What a part of the schedule shows more of.

    Attributes:
        shift: how far the noise levels are shifted upwards.
        rotating, star, circle: how often a scene comes that takes longest to learn: what turns (a tenth of the
            scenes), a star, a circle.
    """

    shift: float
    rotating: int
    star: int
    circle: int


FIRST_HALF = Emphasis(shift=2.5, rotating=2, star=2, circle=2)
# Outlines are decided in the middle of the noise.
SECOND_HALF = Emphasis(shift=1.5, rotating=7, star=2, circle=1)
# After the schedule's end. Of true clips under noise the model finishes what turns and nearly all stars rightly, up to
# a share of 0.8; what is drawn amiss from words alone goes wrong where there is more.
AFTER = Emphasis(shift=6.0, rotating=5, star=3, circle=1)
# (until this share of the steps, what is shown more).
PARTS = ((0.5, FIRST_HALF), (1.0, SECOND_HALF), (math.inf, AFTER))


@dataclass(frozen=True)
class Lesson:
    """One step's batch of B clips of T latent frames.

    Attributes:
        clean: latents [B, 16, T, 8, 8].
        noise: the same shape.
        t: share of noise [B].
        ids, mask: token ids of the prompts [B, L].
        prompted: [B], 1 where a prompt without flaws was given, else 0.
        takes: what is drawn, cut to the lesson's frames.
        clean_frames: how many latent frames at the front are given clean.
        residue: what is left of noise on these, [B, 16, clean_frames, 8, 8].
    """

    clean: Tensor
    noise: Tensor
    t: Tensor
    ids: Tensor
    mask: Tensor
    prompted: Tensor
    takes: list[world.Take]
    clean_frames: int
    residue: Tensor

    def to(self, device) -> Lesson:
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})


def emphasis(step: int, steps: int) -> Emphasis:
    """What is shown more at a step of a schedule of `steps`, or after its end."""
    return next(more for until, more in PARTS if step < until * steps)


def chosen(scenes: list[world.Scene], more: Emphasis) -> list[world.Scene]:
    """The scenes, and those again that are to come more often."""
    often = {"rotating": more.rotating, "star": more.star, "circle": more.circle}
    return [s for s in scenes for _ in range(often.get(s.motion, often.get(s.shape, 1)))]


def plan(step: int, steps: int) -> tuple[int, int]:
    """(latent frames, given latent frames) of a step in a schedule of `steps`, or after its end."""
    lessons = next(lessons for until, lessons in ROUNDS if step < until * steps)
    return lessons[step % len(lessons)]


def window(clip: world.Take, first: int, frames: int, total: int = FRAMES) -> world.Take:
    """The frames `first` ... of a take that lasts `total` frames, as a take of its own."""
    cut = {}
    for name in ("x", "y", "radius", "angle"):
        begin, end = getattr(clip, name)
        step = (end - begin) / (total - 1)
        cut[name] = (begin + step * first, begin + step * (first + frames - 1))
    return replace(clip, **cut)


def draw(
    number: int,
    length: int,
    clean_frames: int,
    scenes,
    space: LatentSpace,
    tokens,
    clips: int | None = None,
    shift: float = FIRST_HALF.shift,
) -> Lesson:
    """The lesson of a number: `clips` clips (default: as many as suit) of `length` latent frames."""
    count = clips or CLIPS[length]
    dice = world.Dice(1_000_003 * (number + 1))
    frames = STRIDE * (length - 1) + 1
    takes, texts = [], []
    for _ in range(count):
        drawn = world.drawn(dice, scenes, FLAWED)
        takes.append(window(drawn, dice.index(FRAMES - frames + 1), frames))
        language = "zh" if dice.uniform(0, 1) < CHINESE else "en"
        silent = dice.uniform(0, 1) < NO_PROMPT and not drawn.flaw
        texts.append("" if silent else captions.caption(drawn.scene, dice, language, drawn.flaw))
    clean = space.encode(world.render(takes, SIZE, frames))
    encoded = tokens(texts, padding="max_length", truncation=True, max_length=captions.MAX_TOKENS, return_tensors="pt")
    generator = torch.Generator().manual_seed(1_000_003 * (number + 1) + 1)
    noise = torch.randn(clean.shape, generator=generator)
    # Stratified over the batch: every step sees the whole range of noise.
    u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    left = GIVEN_NOISE * torch.rand((count, 1, 1, 1, 1), generator=generator)
    side = SIZE // BLOCK
    return Lesson(
        clean=clean,
        noise=noise,
        t=shift * u / (1 + (shift - 1) * u),
        ids=encoded.input_ids,
        mask=encoded.attention_mask,
        prompted=torch.tensor([float(text != "" and not drawn.flaw) for text, drawn in zip(texts, takes, strict=True)]),
        takes=takes,
        clean_frames=clean_frames,
        residue=left * torch.randn((count, CHANNELS, clean_frames, side, side), generator=generator),
    )
