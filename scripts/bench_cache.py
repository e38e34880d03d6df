"""What step caches save and cost: time and PSNR against the run without, and with fewer steps; any model.

Ratios only: how long a step takes depends on the machine. The last column is the fair comparison: no cache, and as many
steps as the cached run's time allows.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date
from pathlib import Path

import environment
import pack

environment.ensure()
pack.hide_scripts()
pack.mount()

BUNDLED = pack.ROOT / "models" / "diffusers" / "opent2v-quickstart"
PROMPTS = (
    "a red triangle moving to the right on a black background",
    "a green star moving left on a sky-blue background",
)
CHOICES = (
    ("easycache", (0.1, 0.2, 0.4), "last"),
    ("easycache", (0.1, 0.2, 0.4), "linear"),
    ("first block", (0.1, 0.2), "linear"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="the quickest of so many runs counts")
    parser.add_argument("--size", type=int, default=64, help="width and height in pixels")
    parser.add_argument("--folder", type=Path, default=BUNDLED, help="a model in diffusers layout")
    arguments = parser.parse_args()

    import torch

    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} torch threads, torch "
        f"{torch.__version__}, {arguments.folder.name}, {arguments.size} x {arguments.size}, {arguments.steps} steps, "
        f"{len(PROMPTS)} prompts"
    )
    bench = Bench(arguments.folder, arguments.steps, arguments.rounds, arguments.size)
    full = bench.run()
    print("policy, predictor | threshold | computed | speed | PSNR | no cache in the same time")
    for policy, thresholds, predictor in CHOICES:
        for threshold in thresholds:
            cached = bench.run(policy=policy, threshold=threshold, predictor=predictor)
            steps = max(1, round(arguments.steps * cached.seconds / full.seconds))
            fewer = bench.run(steps=steps)
            print(
                f"{policy}, {predictor} | {threshold:g} | {cached.computed:.1f} of {arguments.steps} | "
                f"{full.seconds / cached.seconds:.2f} x | {bench.psnr(cached, full):.1f} dB | "
                f"{steps} steps, {bench.psnr(fewer, full):.1f} dB",
                flush=True,
            )


class Result:
    """Frames of every prompt, processor seconds of the sampling loops, and steps computed on average."""

    def __init__(self, frames, seconds: float, computed: float):
        self.frames, self.seconds, self.computed = frames, seconds, computed


class Bench:
    def __init__(self, folder: Path, steps: int, rounds: int, size: int):
        import torch

        from opent2v.host import embedded
        from opent2v.loaders import load_pipeline, open_folder

        dtypes = {f"{part}_dtype": torch.float32 for part in ("model", "text", "vae")}
        parts = load_pipeline(open_folder(folder), **dtypes)
        self.model, clip, self.vae = embedded.model(parts.models[0]), embedded.clip(parts.text), embedded.vae(parts.vae)
        self.variant, self.rounds, self.steps = self.model.part.variant, rounds, steps
        self.negative = embedded.embed(clip, self.variant.defaults.negative)
        self.positives = [embedded.embed(clip, text) for text in PROMPTS]
        shape = self.variant.geometry.latent_shape(size, size, self.variant.defaults.frames)
        self.latent = {"samples": torch.zeros(1, *shape)}

    def run(self, steps: int = 0, **settings) -> Result:
        from opent2v.host import embedded
        from opent2v.sampling import make_schedule
        from opent2v.sampling.caches import StepCache, cache_runs

        make = cache_runs(StepCache(**settings or {"policy": "off"}), self.variant)
        frames, seconds, computed = [], 0.0, 0
        for positive in self.positives:
            times = []
            for _ in range(self.rounds):
                schedule = make_schedule(self.variant.scheduler, steps=steps or self.steps)
                cache, began = make(), time.process_time()
                samples = embedded.sample(
                    self.model, positive, self.negative, self.latent, schedule=schedule,
                    cfg=self.variant.defaults.guidance, seed=7, step_cache=cache,
                )  # fmt: skip
                times.append(time.process_time() - began)
            frames.append(embedded.decode(self.vae, samples))
            seconds += min(times)
            computed += sum(sum(stage.steps["positive"].values()) for stage in cache.stages)
        return Result(frames, seconds, computed / len(self.positives))

    @staticmethod
    def psnr(one: Result, other: Result) -> float:
        """Over all frames of all prompts, of pixels in 0..1."""
        import torch

        error = torch.stack([(a - b).square().mean() for a, b in zip(one.frames, other.frames, strict=True)]).mean()
        return float("inf") if error == 0 else -10 * error.log10().item()


if __name__ == "__main__":
    main()
