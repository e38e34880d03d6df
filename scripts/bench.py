"""Measure, in one run, as ratios: the sampler's overhead over the bare transformer, and the pack's import.

    python3 scripts/bench.py [--model NAME] [--steps 20] [--rounds 7]

The overhead is the time of a whole sampling run (schedule, guidance, solver steps, progress) over the time of the
bare transformer called as often with inputs of the same shape; the two alternate, and the medians are compared, as wall
time and as processor time of all threads: on a busy machine only the latter says something. The solver's own step (a
scheduler of diffusers) is told apart.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from datetime import date

import environment
import pack

environment.ensure()
pack.hide_scripts()
pack.mount()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="opent2v-quickstart", help="a folder in models/diffusers")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=3, metavar=("WIDTH", "HEIGHT", "FRAMES"))
    arguments = parser.parse_args()

    import torch

    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.nodes.load import model_folders
    from opent2v.sampling import make_schedule

    folder = open_folder(model_folders()[arguments.model])
    dtypes = embedded.device_dtypes(None, None)
    loaded = load_pipeline(folder, **dtypes)
    transformer = loaded.models[0].transformer
    model, clip = embedded.model(loaded.models[0]), embedded.clip(loaded.text)
    variant = folder.variant
    own = variant.defaults
    size = arguments.size or (own.width, own.height, own.frames)
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(*variant.geometry.legal(*size)))}
    positive, negative = embedded.embed(clip, "a red circle moving right"), embedded.embed(clip, "blurry")

    def sampler() -> tuple[float, float]:
        schedule = make_schedule(variant.scheduler, steps=arguments.steps)
        began = now()
        embedded.sample(model, positive, negative, latent, schedule=schedule, cfg=4.0, seed=0)
        return since(began)

    x = torch.randn(2, *latent["samples"].shape[1:]).to(model.device, model.dtype)
    context = torch.cat([negative[0][0], positive[0][0]]).to(model.device, model.dtype)
    t = torch.full((2,), 500.0, device=model.device)

    @torch.inference_mode()
    def bare() -> tuple[float, float]:
        began = now()
        for _ in range(arguments.steps):
            transformer(hidden_states=x, timestep=t, encoder_hidden_states=context, return_dict=False)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return since(began)

    @torch.inference_mode()
    def solver() -> tuple[float, float]:
        schedule, x = make_schedule(variant.scheduler, steps=arguments.steps), latent["samples"].to(model.device)
        began = now()
        for step in range(arguments.steps):
            x = schedule.advance(x, step, x)
        return since(began)

    ways = (sampler, bare, solver)
    rounds = [[way() for way in ways] for _ in range(arguments.rounds + 1)][1:]  # the first only warms up
    where = torch.cuda.get_device_name() if model.device.type == "cuda" else f"{platform.machine()} CPU"
    python = sys.version.split()[0]
    print(f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {python}")
    print(f"{variant.title}, {size[0]} x {size[1]} x {size[2]}, {arguments.steps} steps, {arguments.rounds} rounds")
    for i, kind in enumerate(("wall", "processor")):
        whole, calls, steps = (
            statistics.median(one[n][i] for one in rounds) / arguments.steps * 1e3 for n in range(len(ways))
        )
        ratio = statistics.median(one[0][i] / one[1][i] for one in rounds)
        print(
            f"{kind} time: sampling run / bare transformer calls {ratio:.4f} (overhead {ratio - 1:+.2%}); per step "
            f"{whole:.2f} ms against {calls:.2f} ms; the solver's own {steps:.2f} ms ({steps / calls:.2%})"
        )


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """(wall, processor) seconds."""
    wall, processor = now()
    return wall - began[0], processor - began[1]


if __name__ == "__main__":
    main()
