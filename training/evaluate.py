"""How well the bundled model follows its prompts, on scenes it never saw in training.

Every scene is asked for by its plainest sentence, in English and in Chinese, rendered with the model's own
settings and a seed that is the scene's number, and measured by `score`. The model folder is loaded and run by
the pack's own rooms, as nodes run it. A model with a timestep for every token can be asked to go on from a first
picture too: one of the scene itself, drawn anew.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..base.few_steps import with_few_steps
from ..host import embedded
from ..loaders import library, load_pipeline, open_folder
from ..loaders.lora import load_patches, match, read_lora
from ..sampling import Schedule, make_schedule, solve
from . import captions, score, world
from .crispness import crispness

FOLDER = Path(__file__).resolve().parent.parent / "models" / "diffusers" / "opent2v-quickstart"
# Required shares, in percent of the held-out scenes.
BARS = {"colour": 97, "background": 97, "motion": 95, "shape": 90}
SEED_STRIDE = 1000  # step between the seeds of one scene
FIRST_PICTURES = 7_000_000  # offset of the seeds of first pictures


@dataclass(frozen=True)
class Source:
    """A model that can be asked.

    Attributes:
        embed: prompt -> [1, L, D].
        denoised: (x [B, C, T, h, w], sigma [B], context [B, L, D]) -> the clean latent it expects; with pictures a
            fourth argument tells what is made anew, [B, 1, T, h, w]: 1, or 0 for latent frames that are given clean.
        decode: what the transformer sees [B, C, T, h, w] -> video [B, 3, F, H, W] in -1..1.
        scheduler: a diffusers scheduler config, with `_class_name`.
        shape: (C, T, h, w) of one clip.
        levels: (steps, shift or None) -> the noise levels of a LoRA of few steps, without the final 0, or None.
        encode: first pictures [B, 3, 1, H, W] in -1..1 -> what the transformer sees [B, C, 1, h, w]; None where the
            model cannot start from a picture.
        size: width and height of a clip in pixels.
    """

    name: str
    embed: Callable[[str], Tensor]
    denoised: Callable[..., Tensor]
    decode: Callable[[Tensor], Tensor]
    scheduler: dict
    shape: tuple[int, int, int, int]
    steps: int
    cfg: float
    negative: str
    encode: Callable[[Tensor], Tensor] | None = None
    size: int = 0
    levels: Callable[[int, float | None], Sequence[float] | None] = lambda steps, shift: None

    def schedule(self, steps: int | None, shift: float | None) -> Schedule:
        sigmas = lambda total: self.levels(total, shift)  # noqa: E731
        return make_schedule(self.scheduler, steps=steps or self.steps, shift=shift, sigmas=sigmas)


def from_folder(
    path: Path, lora: Path | None = None, strength: float = 1.0, *, size: int | None = None, frames: int | None = None
) -> Source:
    """The model of a diffusers folder, run by the embedded host with its own values, with a LoRA or without.

    Args:
        size: width and height in pixels, frames: length; None for the model's own.
    """
    folder = open_folder(path)
    library("diffusers")
    dtypes = embedded.device_dtypes(None, None)
    parts = load_pipeline(folder, **dtypes, keeps_packed=True)  # pyright: ignore[reportArgumentType]
    model, clip, vae = embedded.model(parts.models[0]), embedded.clip(parts.text), embedded.vae(parts.vae)
    few = None
    if lora is not None:
        verdict = match(read_lora(lora), embedded.patch_target(model))
        verdict.check()
        model = embedded.apply_patches(model, load_patches(verdict), strength)
        few = verdict.few_steps
    variant = folder.variant if few is None else with_few_steps(folder.variant, few)
    defaults = variant.defaults
    size, frames = size or defaults.width, frames or defaults.frames

    def denoised(x: Tensor, sigma: Tensor, context: Tensor, denoise_mask: Tensor | None = None) -> Tensor:
        conditions = (
            {"context": context} if denoise_mask is None else {"context": context, "denoise_mask": denoise_mask}
        )
        with model.changed():
            return model.denoised(x, sigma, conditions)

    def encode(pictures: Tensor) -> Tensor:
        images = ((pictures + 1) / 2).permute(0, 2, 3, 4, 1)  # [B, 1, H, W, 3]
        return variant.normalise(torch.cat([embedded.encode(vae, image) for image in images]))

    def decode(latent: Tensor) -> Tensor:
        images = embedded.decode(vae, variant.denormalise(latent).cpu())  # [B * F, H, W, 3] in 0..1
        return images.unflatten(0, (len(latent), -1)).permute(0, 4, 1, 2, 3) * 2 - 1

    return Source(
        name=path.name if lora is None else f"{path.name}, {lora.name} at {strength:g}",
        embed=lambda text: embedded.embed(clip, text)[0][0].to(model.device),
        denoised=denoised,
        decode=decode,
        scheduler=dict(variant.scheduler),
        shape=variant.geometry.latent_shape(size, size, frames),
        steps=defaults.steps,
        cfg=defaults.guidance,
        negative=defaults.negative,
        encode=encode if variant.keeps_clean else None,
        size=size,
        levels=(lambda steps, shift: None) if few is None else few.levels,
    )


@torch.inference_mode()
def render(
    source: Source,
    prompts: list[str],
    seeds: list[int],
    *,
    pictures: Tensor | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    shift: float | None = None,
) -> Tensor:
    """Video [B, 3, F, H, W] in -1..1 for each prompt and seed: what the nodes make of them one by one.

    Args:
        pictures: first pictures [B, 3, 1, H, W] in -1..1, for a source that has `encode`.
    """
    cfg = source.cfg if cfg is None else cfg
    positive = torch.cat([source.embed(p) for p in prompts])
    negative = source.embed(source.negative).expand(len(prompts), -1, -1)
    noise = torch.cat([torch.randn(1, *source.shape, generator=torch.Generator().manual_seed(s)) for s in seeds])

    first, anew = None, ()
    if pictures is not None:
        if source.encode is None:
            raise ValueError(f"{source.name} makes video from words only; leave pictures out")
        first = source.encode(pictures).to(positive.device)
        denoise_mask = torch.ones_like(noise[:, :1], device=positive.device)
        denoise_mask[:, :, :1] = 0
        anew = (denoise_mask,)

    def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        if first is not None:
            x = torch.cat([first, x[:, :, 1:]], 2)
        clean = source.denoised(x, sigma, positive, *anew)
        if cfg != 1:
            without = source.denoised(x, sigma, negative, *anew)
            clean = without + (clean - without) * cfg
        return clean if first is None else torch.cat([first, clean[:, :, 1:]], 2)

    return source.decode(solve(denoise, noise.to(positive.device), source.schedule(steps, shift))).cpu()


def evaluate(
    source: Source,
    scenes: list[world.Scene],
    language: str,
    *,
    seeds: int = 1,
    batch: int = 20,
    pictures: bool = False,
    **settings: float | None,
) -> Iterator[tuple[dict, Tensor]]:
    """Ask for every scene and measure.

    Args:
        pictures: whether each clip goes on from a first picture of its scene.
    Yields:
        (record, video [3, F, H, W]); a record holds scene, language, seed, prompt, measured, right, raw and crisp
        (see `crispness`, against what the clip shows), and where it was given a picture first_frame, the peak signal
        to noise with which it came back, in dB.
    """
    asked = [(scene, i + SEED_STRIDE * n) for n in range(seeds) for i, scene in enumerate(scenes)]
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        prompts = [captions.plain(scene, language) for scene, _ in part]
        first = None
        if pictures:
            takes = [world.take(scene, world.Dice(FIRST_PICTURES + seed)) for scene, seed in part]
            first = world.render(takes, source.size, 1)
        videos = render(source, prompts, [seed for _, seed in part], pictures=first, **settings)  # pyright: ignore[reportArgumentType]
        for number, ((scene, seed), prompt, video) in enumerate(zip(part, prompts, videos, strict=True)):
            measured, seen = score.measure(video), score.shown(video, scene)
            back = {}
            if first is not None:
                error = (video[:, :1].clamp(-1, 1) - first[number]).square().mean().item()
                back = {"first_frame": round(10 * math.log10(4 / max(error, 1e-9)), 2)}
            crisp = crispness(video.clamp(-1, 1), seen) if seen else {}
            yield (
                {
                    "scene": {name: getattr(scene, name) for name in score.ATTRIBUTES},
                    "language": language,
                    "seed": seed,
                    "prompt": prompt,
                    "measured": {name: getattr(measured, name) for name in score.ATTRIBUTES},
                    "right": measured.right(scene),
                    "outlined": measured.outlined,
                    "raw": {name: round(value, 4) for name, value in measured.raw.items()},
                    "crisp": {name: round(value, 4) for name, value in crisp.items()},
                    **back,
                },
                video,
            )


def shares(records: list[dict]) -> dict[str, float]:
    """Percent of the records that are right, per attribute and in all of them at once."""
    rights = [{**r["right"], "all": all(r["right"].values())} for r in records]
    return {name: 100 * sum(r[name] for r in rights) / len(rights) for name in (*score.ATTRIBUTES, "all")}


def outlines(records: list[dict]) -> tuple[float, float]:
    """(percent of the records that are outline drawings, mean share of a shape's middle that is empty)."""
    hollow = sum(r["raw"].get("hollow", 0.0) for r in records)
    return 100 * sum(r["outlined"] for r in records) / len(records), hollow / len(records)


def confusion(records: list[dict], attribute: str) -> dict[str, Counter]:
    """What was seen (counted) for each value that was asked for."""
    seen: dict[str, Counter] = {}
    for record in records:
        seen.setdefault(record["scene"][attribute], Counter())[record["measured"][attribute]] += 1
    return seen


def report(records: list[dict]) -> str:
    """The table of shares per language, then what was taken for what."""
    names = (*score.ATTRIBUTES, "all")
    lines = ["        " + "".join(f"{n:>12}" for n in names) + "       clips"]
    for language in dict.fromkeys(r["language"] for r in records):
        chosen = [r for r in records if r["language"] == language]
        percent = shares(chosen)
        lines.append(f"{language:8}" + "".join(f"{percent[n]:>10.1f} %" for n in names) + f"{len(chosen):>12}")
    lines.append("{:8}".format("asked") + "".join(f"{BARS[n]:>10.1f} %" if n in BARS else " " * 12 for n in names))
    drawings, hollow = outlines(records)
    lines.append(f"outline drawings: {drawings:.1f} %; middle of the shape empty to {hollow:.3f}")
    crisp = [r["crisp"] for r in records if r.get("crisp")]
    if crisp:
        edges, grain, flicker = (sum(c[n] for c in crisp) / len(crisp) for n in ("edges", "grain", "flicker"))
        lines.append(
            f"edges {100 * edges:.1f} % of the drawn truth's; ground: grain {grain:.2f}, flicker {flicker:.2f} of 255"
        )
    first = [r["first_frame"] for r in records if "first_frame" in r]
    if first:
        lines.append(f"first picture comes back at {sum(first) / len(first):.1f} dB (lowest {min(first):.1f})")
    for attribute in score.ATTRIBUTES:
        lines += ["", f"{attribute}: asked for -> seen, all languages"]
        for value, seen in sorted(confusion(records, attribute).items()):
            total, others = sum(seen.values()), [(n, c) for n, c in seen.most_common() if n != value]
            lines.append(
                f"  {value:10} {seen[value]:>4} of {total:<4} " + ", ".join(f"{name} {count}" for name, count in others)
            )
    return "\n".join(lines)


def save_sheet(videos: list[Tensor], path: Path) -> None:
    """One row per video [3, F, H, W], every second frame from left to right."""
    from PIL import Image

    rows = [torch.cat(list(v[:, ::2].unbind(1)), 2) for v in videos]  # [3, H, W * frames / 2]
    sheet = ((torch.cat(rows, 1).clamp(-1, 1) + 1) * 127.5).round().byte()
    Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="model folder (default: the bundled model)")
    parser.add_argument("--lora", type=Path, help="with this LoRA applied to the folder's model")
    parser.add_argument("--strength", type=float, default=1.0, help="of the LoRA (default 1)")
    parser.add_argument("--language", choices=(*captions.LANGUAGES, "both"), default="both")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--cfg", type=float, help="default: the model's own")
    parser.add_argument("--shift", type=float, help="default: the model's own")
    parser.add_argument("--size", type=int, help="width and height of a folder's clips (default: the model's own)")
    parser.add_argument("--frames", type=int, help="length of a folder's clips (default: the model's own)")
    parser.add_argument("--seeds", type=int, default=1, help="videos for each scene (default 1)")
    parser.add_argument("--limit", type=int, default=world.HELD_OUT, help="how many scenes (default 100)")
    parser.add_argument("--seen", action="store_true", help="scenes of the training set, to see over-fitting")
    parser.add_argument("--pictures", action="store_true", help="go on from a first picture of each scene")
    parser.add_argument("--batch", type=int, default=20, help="videos made at a time")
    parser.add_argument("--json", type=Path, help="write settings, shares and every clip's measurements here")
    parser.add_argument("--sheet", type=Path, help="write a PNG of the first clips of each language here")
    parser.add_argument("--rows", type=int, default=12, help="clips of each language on the sheet")
    arguments = parser.parse_args(argv)
    source = from_folder(
        arguments.folder, arguments.lora, arguments.strength, size=arguments.size, frames=arguments.frames
    )
    settings = {"steps": arguments.steps, "cfg": arguments.cfg, "shift": arguments.shift}
    scenes = world.split()[0 if arguments.seen else 1][: arguments.limit]
    languages = captions.LANGUAGES if arguments.language == "both" else (arguments.language,)
    records, shown, began = [], [], time.time()
    for language in languages:
        clips = evaluate(
            source,
            scenes,
            language,
            seeds=arguments.seeds,
            batch=arguments.batch,
            pictures=arguments.pictures,
            **settings,
        )
        for number, (record, video) in enumerate(clips):
            records.append(record)
            if number < arguments.rows:
                shown.append(video)
    seconds = time.time() - began
    which = "training" if arguments.seen else "held-out"
    used = {"steps": arguments.steps or source.steps, "cfg": source.cfg if arguments.cfg is None else arguments.cfg}
    used["shift"] = arguments.shift or source.scheduler.get("flow_shift", source.scheduler.get("shift"))
    settings = ", ".join(f"{name} {value:g}" for name, value in used.items())
    print(f"{source.name}: {len(scenes)} {which} scenes, {settings}, {seconds / len(records):.2f} s a clip\n")
    print(report(records))
    if arguments.json:
        by_language = {n: shares([r for r in records if r["language"] == n]) for n in languages}
        content = {"model": source.name, "scenes": which, **used, "shares": by_language, "clips": records}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.sheet:
        save_sheet(shown, arguments.sheet)
