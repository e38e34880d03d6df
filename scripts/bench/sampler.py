"""Measure, in one run, as ratios: the sampler's overhead over the bare transformer, and the pack's import.

    python3 scripts/bench/sampler.py [--model NAME] [--steps 20] [--rounds 7] [--comfyui FOLDER]

The overhead is the time of a whole sampling run (schedule, guidance, solver steps, progress) over the time of the
bare transformer called as often with inputs of the same shape; the two alternate, and the medians are compared, as wall
time and as processor time of all threads: on a busy machine only the latter says something. The solver's own step (a
scheduler of diffusers) is told apart. In a ComfyUI checkout the run is that of Video Sampler there, and core's KSampler
(euler) walks the same MODEL beside it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import comfyui_start
import environment
import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="opent2v-quickstart", help="a folder in models/diffusers")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=3, metavar=("WIDTH", "HEIGHT", "FRAMES"))
    parser.add_argument("--comfyui", type=Path, help="measure in this ComfyUI checkout")
    arguments = parser.parse_args()
    side: Any = _started(arguments.comfyui)
    import torch

    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.nodes.load import model_folders
    from opent2v.sampling import make_run, make_schedule

    folder = open_folder(model_folders()[arguments.model])
    dtypes = side.device_dtypes(None, None)
    loaded = load_pipeline(folder, **dtypes)
    transformer = loaded.models[0].transformer
    model, clip = side.model(loaded.models[0]), side.clip(loaded.text)
    variant = folder.variant
    defaults = variant.defaults
    size = arguments.size or (defaults.width, defaults.height, defaults.frames)
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(*variant.geometry.legal(*size)))}
    positive, negative = side.embed(clip, "a red circle moving right"), side.embed(clip, "blurry")

    def sampler() -> tuple[float, float]:
        schedule = make_schedule(variant.scheduler, steps=arguments.steps)
        began = now()
        side.sample(model, positive, negative, latent, make_run(schedule, 4.0, 0))
        return since(began)

    weight = max(transformer.parameters(), key=lambda p: p.numel())
    device, dtype = (model.load_device if arguments.comfyui else model.device), weight.dtype
    x = torch.randn(2, *latent["samples"].shape[1:]).to(device, dtype)
    context = torch.cat([negative[0][0], positive[0][0]]).to(device, dtype)
    t = torch.full((2,), 500.0, device=device)

    @torch.inference_mode()
    def bare() -> tuple[float, float]:
        began = now()
        for _ in range(arguments.steps):
            transformer(hidden_states=x, timestep=t, encoder_hidden_states=context, return_dict=False)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return since(began)

    @torch.inference_mode()
    def solver() -> tuple[float, float]:
        schedule, x = make_schedule(variant.scheduler, steps=arguments.steps), latent["samples"].to(device)
        began = now()
        for step in range(arguments.steps):
            x = schedule.advance(x, step, x)
        return since(began)

    @torch.inference_mode()
    def cores() -> tuple[float, float]:
        core = import_module("nodes")  # ComfyUI's, not the pack's
        began = now()
        core.KSampler().sample(model, 0, arguments.steps, 4.0, "euler", "simple", positive, negative, latent)
        return since(began)

    ways = (sampler, bare, solver, *([cores] if arguments.comfyui else []))
    rounds = [[way() for way in ways] for _ in range(arguments.rounds + 1)][1:]  # the first only warms up
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    python = sys.version.split()[0]
    print(f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {python}")
    print(f"{variant.title}, {size[0]} x {size[1]} x {size[2]}, {arguments.steps} steps, {arguments.rounds} rounds")
    for i, kind in enumerate(("wall", "processor")):
        whole, calls, steps, *others = (
            statistics.median(times[n][i] for times in rounds) / arguments.steps * 1e3 for n in range(len(ways))
        )
        ratio = statistics.median(times[0][i] / times[1][i] for times in rounds)
        print(
            f"{kind} time: sampling run / bare transformer calls {ratio:.4f} (overhead {ratio - 1:+.2%}); per step "
            f"{whole:.2f} ms against {calls:.2f} ms; the solver's own {steps:.2f} ms ({steps / calls:.2%})"
            + "".join(f"; core's KSampler {ms:.2f} ms ({ms / calls - 1:+.2%})" for ms in others)
        )


def _started(comfyui: Path | None) -> Any:
    """The host to measure: ComfyUI in this process, or the embedded one."""
    if comfyui is None:
        environment.ensure()
        pack.hide_scripts()
        pack.mount()
        from opent2v.host import embedded

        return embedded
    comfyui_start.ensure(comfyui)
    comfyui_start.start_with_pack(comfyui, "--cpu")
    from opent2v.host import comfyui as host

    return host


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """(wall, processor) seconds."""
    wall, processor = now()
    return wall - began[0], processor - began[1]


if __name__ == "__main__":
    main()
