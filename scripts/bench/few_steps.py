"""The bundled model in 4 steps: what a negative prompt by attention (nag) does at cfg 1, and what a step costs.

    python3 scripts/bench/few_steps.py [--scenes 40] [--nag 11 ...] [--repeat 20]

Prints, for the LoRA of 4 steps at cfg 1 with and without nag, the shares of held-out scenes that come out as asked for,
and grain and flicker of the ground (training/crispness.py); then the time of a step with nag and with cfg over that of
a step at cfg 1, the three taken in turns in one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

FOLDER = pack.ROOT / "models" / "diffusers" / "opent2v-quickstart"
LORA = pack.ROOT / "models" / "loras" / "opent2v-quickstart-4steps.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40, help="how many of the 100 held-out scenes")
    parser.add_argument("--nag", type=float, nargs="+", default=[11.0], help="scales of the guidance")
    parser.add_argument("--negative", help="negative prompt (default: the model's own)")
    parser.add_argument("--repeat", type=int, default=20, help="steps that are timed of each kind")
    arguments = parser.parse_args()
    environment.ensure([])
    pack.hide_scripts()
    pack.mount()
    import torch

    from opent2v.base.few_steps import with_few_steps
    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.loaders.lora import load_patches, match, read_lora
    from opent2v.sampling import Guidance, SamplerRequest, plan_run
    from opent2v.training import captions, evaluate, score, world
    from opent2v.training.crispness import crispness

    parts = load_pipeline(open_folder(FOLDER), **embedded.device_dtypes(None, None))
    model, clip, vae = embedded.model(parts.models[0]), embedded.clip(parts.text), embedded.vae(parts.vae)
    verdict = match(read_lora(LORA), embedded.patch_target(model))
    verdict.check()
    model = embedded.apply_patches(model, load_patches(verdict), 1.0)
    assert verdict.few_steps is not None, "the LoRA states its schedule"
    variant = with_few_steps(model.part.variant, verdict.few_steps)
    defaults = variant.defaults
    shape = (1, *variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames))
    negative = embedded.embed(clip, arguments.negative or defaults.negative)
    entry = {**negative[0][1], "cross_attn": negative[0][0]}

    def sampled(prompt: str, seed: int, **settings):
        run = plan_run(variant, SamplerRequest(seed=seed, **settings), shape, negative=entry)
        return embedded.sample(model, embedded.embed(clip, prompt), negative, {"samples": torch.zeros(shape)}, run)

    scenes = world.split()[1][: arguments.scenes]
    for scale in (0.0, *arguments.nag):
        name, guidance = f"nag {scale:g}" if scale else "without nag", Guidance(nag=scale)
        records, crisp = [], []
        for seed, scene in enumerate(scenes):
            latent = sampled(captions.plain(scene), seed, guidance=guidance)
            video = embedded.decode(vae, latent).permute(3, 0, 1, 2) * 2 - 1
            records.append({"right": score.measure(video).right(scene)})
            seen = score.shown(video, scene)
            crisp += [crispness(video.clamp(-1, 1), seen)] if seen else []
        calm = {
            key: sum(clip_values[key] for clip_values in crisp) / len(crisp) for key in ("edges", "grain", "flicker")
        }
        words = [f"{key} {share:.0f} %" for key, share in evaluate.shares(records).items()]
        words += [f"{key} {value:.3f}" for key, value in calm.items()]
        print(f"{name}, {len(scenes)} scenes: {', '.join(words)}", flush=True)

    kinds = {
        "cfg 1": {"cfg": 1.0},
        "nag": {"cfg": 1.0, "guidance": Guidance(nag=arguments.nag[0])},
        "cfg 2.5": {"cfg": 2.5},
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    steps = defaults.steps
    for n in range(max(1, arguments.repeat // steps) + 1):
        for name, settings in kinds.items():
            began = time.perf_counter()
            sampled("a red square moving to the left on a black background", 0, **settings)
            if n:  # the first round warms up
                times[name].append((time.perf_counter() - began) / steps)
    plain = statistics.median(times["cfg 1"])
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds) / plain:.2f} times a step at cfg 1")


if __name__ == "__main__":
    main()
