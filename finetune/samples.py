"""Videos that the model draws while it is trained: the same prompts and seeds every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..base.guidance import Conditioning
from ..host import host
from ..media import VideoWriter
from ..sampling import SamplerRequest, plan_run
from ..sampling.streams import empty_streams, unbind
from .encode import Encoders
from .loop import split
from .prepare import Prepared, prompt_of
from .settings import Settings
from .sheet import write_sheet


@dataclass(frozen=True)
class Shot:
    """What is drawn again and again.

    Attributes:
        text: for the page.
        positive, negative: CONDITIONING of the prompt and of the model's own negative one.
        size: width, height and frames.
    """

    text: str
    positive: Conditioning
    negative: Conditioning
    size: tuple[int, int, int]
    seed: int


@dataclass(frozen=True)
class Drawn:
    """The videos of one moment.

    Attributes:
        files: one for each shot.
        sheet: a picture with some frames of each.
    """

    step: int
    files: list[Path]
    sheet: Path | None = None


def held_out_shots(
    encoders: Encoders, prepared: Prepared, settings: Settings, prompts: Sequence[str], count: int, seed: int
) -> list[Shot]:
    """At most `count` shots that no step learns from: these prompts, or where there are none those of held-out clips.

    Without prompts and held-out clips there is nothing to draw, and the list is empty.
    """
    held = tuple(split(prepared.items, settings)[1])
    texts = list(prompts or dict.fromkeys(item.clip.caption for item in held))[:count]
    if not texts or (prepared.pictures == 1 and not held):
        return []
    return shots_of(encoders, replace(prepared, items=held or prepared.items), texts, seed)


def shots_of(encoders: Encoders, prepared: Prepared, prompts: Sequence[str], seed: int) -> list[Shot]:
    """The shots of these prompts; for a model that starts from a picture those of the first clips, with their captions.

    Args:
        prompts: at least one; of a model that starts from pictures only their number counts.
    """
    variant, store = encoders.variant, prepared.store
    negative = prompt_of(encoders, store, variant.defaults.negative)
    if prepared.pictures == 1:
        return [_from_clip(prepared, n, negative, seed + n) for n in range(min(len(prompts), len(prepared.items)))]
    sizes = [item.bucket for item in prepared.items if item.bucket.frames > 1] or [prepared.items[0].bucket]
    size = max((sizes.count(bucket), bucket) for bucket in set(sizes))[1]
    return [
        Shot(text, prompt_of(encoders, store, text), negative, (size.width, size.height, size.frames), seed + n)
        for n, text in enumerate(prompts)
    ]


def _from_clip(prepared: Prepared, number: int, negative: Conditioning, seed: int) -> Shot:
    item = prepared.items[number]
    entry = dict(prepared.sample(item, True).entry)
    context, prompt = entry.pop("cross_attn"), prepared.store.get(item.prompt)
    picture = {name: value for name, value in entry.items() if name not in prompt}
    size = item.bucket.width, item.bucket.height, item.bucket.frames
    beside = [[tensor, {**entries, **picture}] for tensor, entries in negative]
    return Shot(item.clip.caption, [[context, entry]], beside, size, seed)


def draw(model: Any, vae: Any, shots: Sequence[Shot], folder: Path, step: int, steps: int = 0) -> Drawn:
    """Draw every shot with the model as it is now.

    Args:
        model: the MODEL that is trained.
        steps: of the sampler; 0 is the model's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, videos = list[Path](), list[Tensor]()
    for n, shot in enumerate(shots):
        frames = render(model, vae, shot, steps)
        width, height = frames.shape[2], frames.shape[1]
        stem = f"step{step:06}_{n + 1}"
        with VideoWriter(folder, stem, fps=_fps(model), width=width, height=height) as writer:
            writer.write(frames)
        assert writer.path is not None
        files.append(writer.path)
        videos.append(frames)
    return Drawn(step, files, write_sheet(folder / f"step{step:06}.png", videos))


def render(model: Any, vae: Any, shot: Shot, steps: int = 0) -> Tensor:
    """IMAGE [F, H, W, 3] of a shot, as Video Sampler makes it.

    Args:
        model, steps: as `draw`.
    """
    variant = host.variant(model)
    assert variant is not None
    streams = [stream for stream in variant.streams if stream.is_needed or stream is variant.video]
    empty = empty_streams(streams, *shot.size, variant.defaults.fps)
    run = plan_run(
        variant, SamplerRequest(seed=shot.seed, steps=steps), tuple(empty[0].shape), None, shot.positive[0][1]
    )
    samples = host.sample(model, shot.positive, shot.negative, {"samples": host.nested(empty)}, run)
    return host.decode(vae, unbind(samples)[0])


def _fps(model: Any) -> float:
    variant = host.variant(model)
    assert variant is not None
    return variant.defaults.fps
