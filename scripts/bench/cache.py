"""What step caches save and cost on the bundled model, against the run with every step computed: python
scripts/bench/cache.py [--comfyui FOLDER]

For each rule a curve: steps computed, speed of the sampling loop, PSNR, SSIM, and how well the prompts are followed. In
a ComfyUI checkout its own EasyCache is measured on the same MODEL, by the same sampler. The fair comparison is the row
of fewer steps without a cache. All is measured prompt by prompt, one way after the other, so that a machine that is
busy for a while is so for all of them.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import comfyui_start
import environment
import pack

BUNDLED = pack.ROOT / "models" / "diffusers" / "opent2v-quickstart"
# Fewer always-computed steps than in the node's default, so that every rule can reach twice the speed.
OURS = {"start": 0.05, "end": 1.0}
CURVES = (
    ("easycache", (0.08, 0.11), "model", "linear"),
    ("easycache", (0.1,), "model", "last"),
    ("easycache", (0.08,), "blocks", "linear"),
    ("seacache", (0.14, 0.16, 0.18), "model", "linear"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI checkout, whose EasyCache is measured as well")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=20, help="so many scenes that the model has never seen")
    parser.add_argument("--only", nargs="*", default=[], help="rules whose names start so")
    arguments = parser.parse_args()
    if arguments.comfyui:
        comfyui_start.ensure(arguments.comfyui)
    else:
        environment.ensure()
    bench = Bench(arguments.comfyui, arguments.steps)
    import torch

    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} torch thread, torch {torch.__version__}, "
        f"{BUNDLED.name}, 96 x 96 x 33, {arguments.steps} steps, {arguments.prompts} prompts; "
        f"{'ComfyUI' if arguments.comfyui else 'without ComfyUI'}; speed in processor seconds of the sampling loop",
        flush=True,
    )
    ways = [way for way in bench.ways() if not arguments.only or way.rule.startswith(tuple(arguments.only))]
    for done in bench.measured(ways, arguments.prompts):
        print(f"{done} of {arguments.prompts}", end="\r", flush=True)
    print(table(ways, bench.full, arguments.steps))


def table(ways: Sequence[Way], full: Way, steps: int) -> str:
    lines = ["rule | threshold | computed | calls saved | speed | PSNR | SSIM | prompt followed"]
    lines += [way.line(steps, full) for way in ways]
    lines.append(f"every step computed | | {steps} | 1.00 x | 1.00 x | | | {full.followed:.1f} %")
    lines += ["", "at half the calls, between the two nearest settings: PSNR | prompt followed"]
    for rule in dict.fromkeys(way.rule for way in ways):
        lines.append(f"{rule} | " + " | ".join(_at_half([way for way in ways if way.rule == rule], steps)))
    return "\n".join(lines)


@dataclass
class Way:
    """One way to sample, and what came of it, prompt by prompt.

    Attributes:
        change: MODEL -> the MODEL to sample; make: a fresh step cache; steps: other than all.
    """

    rule: str
    setting: str
    make: Callable[[], Any] | None = None
    change: Callable[[Any], Any] | None = None
    steps: int = 0
    computed: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)

    @property
    def calls(self) -> float:
        return sum(self.computed) / len(self.computed)

    @property
    def quality(self) -> float:
        return sum(self.psnr) / len(self.psnr)

    @property
    def followed(self) -> float:
        """Percent of colour, background, motion and shape that are as the prompt says."""
        return 100 * sum(self.right) / len(self.right)

    def line(self, steps: int, full: Way) -> str:
        return (
            f"{self.rule} | {self.setting} | {self.calls:.1f} | {steps / self.calls:.2f} x | "
            f"{sum(full.seconds) / sum(self.seconds):.2f} x | {self.quality:.1f} dB | "
            f"{sum(self.ssim) / len(self.ssim):.4f} | {self.followed:.1f} %"
        )


def _at_half(ways: Sequence[Way], steps: int) -> list[str]:
    ordered = sorted(ways, key=lambda way: way.calls)
    for few, many in pairwise(ordered):
        if few.calls <= steps / 2 <= many.calls:
            share = (steps / 2 - few.calls) / max(many.calls - few.calls, 1e-9)
            return [
                f"{few.quality + share * (many.quality - few.quality):.1f} dB",
                f"{few.followed + share * (many.followed - few.followed):.1f} %",
            ]
    nearest = min(ways, key=lambda way: abs(way.calls - steps / 2))
    return [f"{nearest.quality:.1f} dB at {nearest.calls:.1f} computed", f"{nearest.followed:.1f} %"]


class Bench:
    def __init__(self, comfyui: Path | None, steps: int):
        self.comfyui, self.steps = comfyui, steps
        if comfyui:
            comfyui_start.start_with_pack(comfyui, "--cpu")
        pack.hide_scripts()
        pack.mount()
        import torch

        torch.set_num_threads(1)
        if comfyui:
            from opent2v.host import comfyui as side
        else:
            from opent2v.host import embedded as side
        from opent2v.loaders import load_pipeline, open_folder
        from opent2v.training import captions, world

        dtypes = {f"{part}_dtype": torch.float32 for part in ("model", "text", "vae")}
        parts = load_pipeline(open_folder(BUNDLED), **dtypes)
        self.side, self.variant = side, parts.models[0].variant
        self.model, self.vae, clip = side.model(parts.models[0]), side.vae(parts.vae), side.clip(parts.text)
        self.embed = lambda scene: side.embed(clip, captions.plain(scene, "en"))
        self.negative = side.embed(clip, self.variant.defaults.negative)
        self.seen, self.scenes = world.split()
        self.full = Way("every step computed", "")
        self.runs = 0
        block = next(parts.models[0].transformer.blocks[0].children())
        block.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.runs += 1

    def sample(self, way: Way, scene: Any, seed: int) -> tuple[Any, int, float]:
        """(latents, how often the blocks ran, processor seconds)."""
        import torch

        from opent2v.sampling import make_run

        defaults = self.variant.defaults
        shape = self.variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames)
        conds, cache = (self.embed(scene), self.negative), way.make() if way.make else None
        schedule = self._schedule(way.steps)
        model = way.change(self.model) if way.change else self.model
        self.runs, began = 0, time.process_time()
        latents = self.side.sample(
            model, *conds, {"samples": torch.zeros(1, *shape)}, make_run(schedule, defaults.guidance, seed),
            step_cache=cache,
        )  # fmt: skip
        return latents, self.runs, time.process_time() - began

    def _schedule(self, steps: int = 0) -> Any:
        from opent2v.sampling import make_schedule

        return make_schedule(self.variant.scheduler, steps=steps or self.steps)

    def measured(self, ways: Sequence[Way], prompts: int) -> Iterator[int]:
        """Fill in what came of every way, prompt by prompt; yields how many are done."""
        from opent2v.media.compare import compare
        from opent2v.training import score

        self.sample(self.full, self.seen[0], 0)  # the first run of a process is slow
        for seed, scene in enumerate(self.scenes[:prompts]):
            reference = None
            for way in (self.full, *ways):
                latents, runs, seconds = self.sample(way, scene, seed)
                frames = self.side.decode(self.vae, latents).permute(0, 3, 1, 2)  # [F, 3, H, W]
                reference = frames if reference is None else reference
                measures = compare(frames, reference)
                # A step makes one call (both prompts in one batch) or two (one after the other), never more.
                per_step = (
                    max(1, round(self.full.computed[0] / self.steps)) if self.full.computed else runs / self.steps
                )
                way.computed.append(round(runs / per_step) if way is not self.full else runs)
                way.seconds.append(seconds)
                way.psnr.append(min(measures.psnr, 100.0))
                way.ssim.append(measures.ssim)
                right = score.measure(frames.transpose(0, 1) * 2 - 1).right(scene)
                way.right.append(sum(right.values()) / len(right))
            yield seed + 1

    def ways(self) -> list[Way]:
        from opent2v.sampling.caches import CacheRun, StepCache, recording_run
        from opent2v.sampling.caches.rules import Tea

        def ours(rule: str, threshold: float, decides: Any = None, policy: str = "easycache", **changes: Any) -> Way:
            settings = StepCache(policy, threshold, **OURS | changes)
            return Way(rule, f"{threshold:.3g}", lambda: CacheRun(settings, self.variant, decides))

        official = replace(self.variant, name="2.1 T2V 1.3B")  # for its signal alone
        notes = recording_run(official)
        self.sample(Way("", "", lambda: notes), self.seen[0], 999)
        rows = tuple(notes.recorded)
        tea = refitted(rows, official)
        ways = [Way("fewer steps", f"{self.steps // 2} steps", steps=self.steps // 2)]
        for threshold in (0.07, 0.08, 0.09):
            tea_run = partial(Tea, threshold, tea)
            ways.append(ours("teacache, refitted", threshold, decides=tea_run, boundary="blocks", predictor="last"))
        if self.comfyui:
            ways += [self._core(threshold) for threshold in (0.1, 0.2)]
        for policy, thresholds, boundary, predictor in CURVES:
            for threshold in thresholds:
                name = f"{policy}, {boundary}, {predictor}"
                ways.append(ours(name, threshold, policy=policy, boundary=boundary, predictor=predictor))
        for threshold in (0.08, 0.1):
            ways.append(
                Way(
                    "the node's default",
                    f"{threshold:.3g}",
                    partial(CacheRun, StepCache(threshold=threshold), self.variant),
                )
            )
        magcache = StepCache("magcache", 0.1, profile=rows, **OURS)
        sigmas = self._schedule().sigmas.tolist()
        for policy, threshold in (
            ("magcache", _reaching(magcache, sigmas)),
            ("optimal", _reaching(replace(magcache, policy="optimal"), sigmas)),
        ):
            ways.append(ours(f"{policy}, by a profile", threshold, policy=policy, profile=rows))
        return ways

    def _core(self, threshold: float) -> Way:
        def change(model: Any) -> Any:
            return comfyui_start.call("EasyCache", model=model, reuse_threshold=threshold)

        return Way("ComfyUI's EasyCache", f"{threshold:g}", change=change)


def _reaching(settings: Any, sigmas: Sequence[float]) -> float:
    """The lowest threshold that computes half of the steps."""
    from opent2v.sampling.caches.plan import least_threshold

    threshold = least_threshold(settings, sigmas, 0, lambda plan: 2 * sum(plan) >= len(plan))
    assert threshold is not None, "no plan of this rule computes so few"
    return threshold


def refitted(rows: Sequence[Any], variant: Any) -> Any:
    """TeaCache's polynomial for this very model, from a recorded run, as the published ones were made."""
    import numpy

    from opent2v.base import TeaCache

    pairs = [(row.signal, row.output) for row in rows if row.signal is not None and row.label == "positive"]
    x, y = numpy.array(pairs).T
    coefficients = tuple(float(coefficient) for coefficient in numpy.polyfit(x, y, 4))
    return TeaCache(coefficients, float(x.min()), float(x.max()), variant.family.sampling.teacache(variant).signal)


if __name__ == "__main__":
    main()
