"""Compare the ways to a video longer than the bundled model was trained for: python scripts/bench/long_video.py

The ways: clips cut together, one clip continued from its end (with and without a colour anchor), windows over time with
and without FreeNoise, and all frames at once. Nodes do the work, as in a graph. `--help` lists the options.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

BUNDLED = pack.ROOT / "models" / "diffusers" / "opent2v-quickstart"
CLIP, OVERLAP, FPS = 33, 5, 16.0
# Share of the steps that make spread keyframes anew.
SPREAD_DENOISE = 0.6
ATTRIBUTES = ("colour", "background", "motion", "shape")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24, help="so many that the model has never seen")
    parser.add_argument("--frames", type=int, default=97, help="of each video")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="ways whose names start so")
    parser.add_argument("--sheet", type=Path, help="a picture of the first scenes, a row for each way")
    arguments = parser.parse_args()
    environment.ensure()
    bench = Bench(arguments.frames, arguments.steps)
    import torch

    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} torch thread, torch {torch.__version__}, "
        f"{BUNDLED.name}, 96 x 96 x {arguments.frames}, {arguments.steps} steps, {arguments.scenes} scenes",
        flush=True,
    )
    ways = {
        name: way for name, way in bench.ways().items() if not arguments.only or name.startswith(tuple(arguments.only))
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for seed, scene in enumerate(bench.scenes[: arguments.scenes]):
        for name, way in ways.items():
            began = time.process_time()
            frames, starts = way(scene, seed)
            seconds = time.process_time() - began
            rows[name].append(bench.measured(scene, frames, starts) | {"seconds": seconds})
            if arguments.sheet and seed < 3:
                bench.sheet.append(frames[:: max(1, len(frames) // 12)][:12])
        print(f"{seed + 1} of {arguments.scenes}", end="\r", flush=True)
        if seed % 8 == 7:
            print(f"{seed + 1} scenes")
            print_table(rows)
    print_table(rows)
    if arguments.sheet:
        bench.save_sheet(arguments.sheet)


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    columns = ("Way", "Step across joints", "Inside", "Drift of the mean", "Of the background", "Behind the first clip")
    print(f"| {' | '.join((*columns, *(name.capitalize() for name in ATTRIBUTES), 'Time'))} |")
    print("|---" * 11 + "|")
    base = mean(rows[next(iter(rows))], "seconds")
    for name, measures in rows.items():
        values = [mean(measures, key) for key in ("psnr", "inside", "drift", "ground", "behind", *ATTRIBUTES)]
        drifts = " | ".join(f"{value:.2f}" for value in values[2:5])
        shares = " | ".join(f"{value:.0%}" for value in values[5:])
        print(
            f"| {name} | {values[0]:.1f} dB | {values[1]:.1f} dB | {drifts} | {shares} | "
            f"{mean(measures, 'seconds') / base:.2f} x |",
            flush=True,
        )


def border(frames: Any) -> Any:
    """The median colour along each frame's border, [F, 1, 1, 3]."""
    import torch

    sides = (frames[:, :3], frames[:, -3:], frames[:, :, :3], frames[:, :, -3:])
    return torch.cat([side.flatten(1, 2) for side in sides], 1).median(1).values[:, None, None]


def mean(rows: list[dict[str, float]], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


class Bench:
    """The bundled model's parts, and the nodes that are called."""

    def __init__(self, frames: int, steps: int):
        pack.hide_scripts()
        pack.mount()
        import torch

        torch.set_num_threads(1)
        from opent2v.host import embedded as side
        from opent2v.loaders import load_pipeline, open_folder
        from opent2v.nodes import NODE_CLASS_MAPPINGS
        from opent2v.training import captions, world

        dtypes = {f"{part}_dtype": torch.float32 for part in ("model", "text", "vae")}
        parts = load_pipeline(open_folder(BUNDLED), **dtypes)
        self.frames, self.steps, self.nodes = frames, steps, NODE_CLASS_MAPPINGS
        self.model, self.vae, clip = side.model(parts.models[0]), side.vae(parts.vae), side.clip(parts.text)
        self.prompts = lambda scene: [
            side.embed(clip, text) for text in (captions.plain(scene, "en"), parts.models[0].variant.defaults.negative)
        ]
        _, self.scenes = world.split()
        self.sheet: list[Any] = []

    def ways(self) -> dict[str, Callable[[Any, int], tuple[Any, list[int]]]]:
        """Name -> (scene, seed) -> (frames [F, H, W, 3], first frames behind the joints)."""
        return {
            f"one clip of {CLIP} frames": lambda scene, seed: (self.sampled(scene, seed, CLIP), []),
            "all frames at once": lambda scene, seed: (self.sampled(scene, seed, self.frames), []),
            "cut": self.cut,
            "continuation": lambda scene, seed: self.continued(scene, seed, is_anchored=False),
            "continuation, anchored": lambda scene, seed: self.continued(scene, seed, is_anchored=True),
            "windows": lambda scene, seed: self.windowed(scene, seed, freenoise=False),
            "windows, FreeNoise": lambda scene, seed: self.windowed(scene, seed, freenoise=True),
            "windows, FreeNoise, uniform": lambda scene, seed: self.windowed(
                scene, seed, freenoise=True, schedule="uniform"
            ),
            "windows, FreeNoise, lead-in": lambda scene, seed: self.windowed(scene, seed, freenoise=True, lead_in=True),
            "keyframes, filled in": self.filled_in,
            "keyframes, windows": self.spread_out,
        }

    def call(self, name: str, **inputs: Any) -> Any:
        node = self.nodes[name]
        declared = node.INPUT_TYPES()["required"]
        defaults = {key: options["default"] for key, (_, options) in declared.items() if "default" in options}
        returned = getattr(node(), node.FUNCTION)(**{**defaults, **inputs})
        return returned["result"] if isinstance(returned, dict) else returned

    def latent(self, frames: int) -> dict[str, Any]:
        return self.call("OpenT2VEmptyLatent", model=self.model, frames=frames)[0]

    def sampled(self, scene: Any, seed: int, frames: int, start: Any = None, **inputs: Any) -> Any:
        positive, negative = self.prompts(scene)
        latent = self.call(
            "OpenT2VSampler", model=self.model, positive=positive, negative=negative,
            latent=start or self.latent(frames), seed=seed, steps=self.steps, **inputs,
        )[0]  # fmt: skip
        return self.call("OpenT2VDecode", vae=self.vae, latent=latent)[0]

    def cut(self, scene: Any, seed: int) -> tuple[Any, list[int]]:
        import torch

        clips = -(-self.frames // CLIP)
        frames = torch.cat([self.sampled(scene, seed + 1000 * n, CLIP) for n in range(clips)])[: self.frames]
        return frames, list(range(CLIP, self.frames, CLIP))

    def continued(self, scene: Any, seed: int, is_anchored: bool) -> tuple[Any, list[int]]:
        frames, starts = self.sampled(scene, seed, CLIP), []
        anchor, (positive, negative) = {"anchor": frames} if is_anchored else {}, self.prompts(scene)
        while len(frames) < self.frames:
            *_, start, overlap, _, _ = self.call(
                "OpenT2VContinue", model=self.model, vae=self.vae, positive=positive, negative=negative,
                frames=CLIP, overlap=OVERLAP, images=frames, **anchor,
            )  # fmt: skip
            starts.append(len(frames))
            clip = self.sampled(scene, seed + 1000 * len(starts), CLIP, start)
            frames = self.call("OpenT2VJoinClips", first=frames, second=clip, overlap=overlap, **anchor)[0]
        return frames[: self.frames], [start for start in starts if start < self.frames]

    def windowed(
        self, scene: Any, seed: int, start: Any = None, denoise: float = 1.0, **settings: Any
    ) -> tuple[Any, list[int]]:
        windows = self.call("OpenT2VWindows", length=CLIP, overlap=16, **settings)[0]
        frames = self.sampled(scene, seed, self.frames, start, windows=windows, denoise=denoise)
        # The first frame that the second and each later window adds.
        resolved = windows.resolved(4, CLIP)
        spans = resolved.spans((self.frames - 1) // 4 + 1)
        starts = sorted({4 * (span[0] + resolved.overlap) - 3 for span in spans[1:]})
        return frames, [start for start in starts if 1 <= start < len(frames)]

    def filled_in(self, scene: Any, seed: int) -> tuple[Any, list[int]]:
        """Keyframes first: those of one clip that tells the whole, and a clip between each two of them."""
        pictures, frames, starts = self.sampled(scene, seed, CLIP), None, list[int]()
        positive, negative = self.prompts(scene)
        clips = (self.frames - 1) // (CLIP - 1)
        for n in range(clips):
            first, last = (pictures[round(place * (CLIP - 1) / clips)][None] for place in (n, n + 1))
            *_, start, overlap, _, _ = self.call(
                "OpenT2VContinue", model=self.model, vae=self.vae, positive=positive, negative=negative,
                frames=CLIP, overlap=1, images=first, end=last,
            )  # fmt: skip
            clip = self.sampled(scene, seed + 1000 * n, CLIP, start)
            if frames is None:
                frames = clip
                continue
            starts.append(len(frames))
            frames = self.call("OpenT2VJoinClips", first=frames, second=clip, overlap=overlap)[0]
        return frames, starts

    def spread_out(self, scene: Any, seed: int) -> tuple[Any, list[int]]:
        """Keyframes first: the frames of one clip spread over the whole, faded, and made anew in part in windows."""
        import torch

        pictures = self.sampled(scene, seed, CLIP)
        planes = pictures.permute(3, 1, 2, 0)
        faded = torch.nn.functional.interpolate(
            planes.flatten(1, 2), self.frames, mode="linear", align_corners=True
        ).unflatten(1, planes.shape[1:3])
        latent = self.call("OpenT2VEncodeVideo", vae=self.vae, images=faded.permute(3, 1, 2, 0))[0]
        return self.windowed(scene, seed, start=latent, denoise=SPREAD_DENOISE)

    def measured(self, scene: Any, frames: Any, starts: list[int]) -> dict[str, float]:
        from opent2v.media.continuity import drift, step_psnr
        from opent2v.training import score

        steps = [step_psnr(frames, n) for n in range(1, len(frames))]
        inside = [value for n, value in enumerate(steps, 1) if n not in starts]
        across = [steps[n - 1] for n in starts] or inside
        right = score.measure(frames.permute(3, 0, 1, 2) * 2 - 1).right(scene)
        return {
            "psnr": sum(across) / len(across),
            "inside": sum(inside) / len(inside),
            "drift": drift(frames, FPS).colour,
            # A shape that grows or leaves changes the picture's mean; the background alone shows what drifts.
            "ground": drift(border(frames), FPS).colour,
            # The first clip and its joint left out: what adds up from clip to clip.
            "behind": drift(border(frames[CLIP:]), FPS).colour if len(frames) > 2 * CLIP else 0.0,
            **{name: float(value) for name, value in right.items()},
        }

    def save_sheet(self, path: Path) -> None:
        import torch
        from PIL import Image

        rows = [torch.cat(list(frames), dim=1) for frames in self.sheet]
        width = max(row.shape[1] for row in rows)
        padded = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1])) for row in rows]
        Image.fromarray((torch.cat(padded) * 255).clamp(0, 255).byte().numpy()).save(path)


if __name__ == "__main__":
    main()
