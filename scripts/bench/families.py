"""Measure, as ratios, a sampling run of each family against diffusers' pipeline and the bare transformer.

    python3 scripts/bench/families.py FOLDER ... [--steps 6] [--rounds 5]
    python3 scripts/bench/families.py FILE ... --comfyui PATH

Each FOLDER is one of diffusers' layout; `python3 tests/tiny FOLDER` writes a small one of every family below it. The
transformer is replaced by one with 4 layers and random weights, fp32, of about 512 wide, on latents of 3 x
16 x 16. All three get the same prompt embeddings: our sampler on the embedded host, the pipeline's denoising loop
without text encoder and VAE, and the transformer alone with exactly the inputs that the pipeline gave it. They
alternate; ratios are medians, as wall time and as processor time. This needs accelerate.

With `--comfyui` the script runs in that ComfyUI's Python and on the CPU, and compares core's model class with ours
there instead, both in core's KSampler (euler, simple): each FILE is a transformer of Wan or LTX-Video in the makers'
names (`python3 tests/tiny` writes those too).
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import comfyui_start
import environment
import pack

# Pipeline in a folder's model_index.json -> what its transformer's config says instead, with 4 layers.
SIZES: dict[str, dict[str, Any]] = {
    "WanPipeline": {"num_attention_heads": 8, "attention_head_dim": 64, "ffn_dim": 2048},
    "LTXPipeline": {"num_attention_heads": 8, "attention_head_dim": 64, "cross_attention_dim": 512},
    "CogVideoXPipeline": {
        "num_attention_heads": 8, "attention_head_dim": 64, "sample_width": 16, "sample_height": 16, "sample_frames": 9,
    },
    "MochiPipeline": {"num_attention_heads": 8, "attention_head_dim": 64},
    "HunyuanVideoPipeline": {
        "num_attention_heads": 8, "attention_head_dim": 64, "rope_axes_dim": (16, 24, 24), "num_single_layers": 4,
    },
}  # fmt: skip
LATENT = (3, 16, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER", help="with --comfyui: a file")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--comfyui", type=Path)
    arguments = parser.parse_args()
    if arguments.comfyui:
        comfyui_start.ensure(arguments.comfyui)
    else:
        environment.ensure(["accelerate"])
    pack.hide_scripts()
    pack.mount()

    import diffusers
    import torch
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    python, threads = sys.version.split()[0], torch.get_num_threads()
    print(
        f"{date.today()}, {threads} torch threads, torch {torch.__version__}, Python {python}, {arguments.steps} steps"
    )
    if arguments.comfyui:
        for name, ways in in_comfyui(arguments.comfyui, arguments.paths, arguments.steps):
            print_ratios(f"{name} in core's sampler", ways, arguments.rounds)
        return
    for path in arguments.paths:
        with tempfile.TemporaryDirectory() as folder:
            name, ways = ways_of(path, Path(folder) / path.name, arguments.steps)
            print_ratios(name, ways, arguments.rounds)


def ways_of(source: Path, path: Path, steps: int) -> tuple[str, dict[str, Callable[[], Any]]]:
    """(family, our sampler, the pipeline and the bare transformer, each as a function), of a copy of `source`."""
    import diffusers
    import torch

    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.sampling import make_run, make_schedule

    pipeline_class = resized(source, path)
    loaded = load_pipeline(open_folder(path), **embedded.device_dtypes(None, None))
    model, clip = embedded.model(loaded.models[0]), embedded.clip(loaded.text)
    variant = model.part.variant
    frames, rows, columns = LATENT
    geometry = variant.geometry
    shape = (1, geometry.channels, *LATENT)
    prompts = embedded.embed(clip, "a red circle moving right"), embedded.embed(clip, "blurry")
    latent = {"samples": torch.zeros(shape)}

    def ours() -> torch.Tensor:
        sigmas = lambda count: variant.family.sampling.sigmas(variant, count, None, shape)  # noqa: E731
        schedule = make_schedule(variant.scheduler, steps=steps, kind=variant.prediction, sigmas=sigmas)
        cfg = 1.0 if variant.embeds_guidance else 4.0
        return embedded.sample(model, *prompts, latent, make_run(schedule, cfg, 0))

    pipeline = getattr(diffusers, pipeline_class).from_pretrained(path, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    sizes = {
        "width": columns * geometry.spatial, "height": rows * geometry.spatial, "num_frames": geometry.frames(frames),
    }  # fmt: skip
    arguments = sizes | embeddings(prompts, is_guided=not variant.embeds_guidance)
    known = inspect.signature(pipeline.__call__).parameters
    arguments = {key: value for key, value in arguments.items() if key in known}

    def theirs() -> Any:
        generator = torch.Generator().manual_seed(0)
        return pipeline(
            **arguments, num_inference_steps=steps, guidance_scale=4.0, generator=generator, output_type="latent"
        )

    calls: list[tuple[tuple, dict]] = []
    hook = pipeline.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    theirs()
    hook.remove()

    @torch.inference_mode()
    def bare() -> None:
        for args, kwargs in calls:
            pipeline.transformer(*args, **kwargs)

    return variant.family.id, {"ours": ours, "pipeline": theirs, "bare": bare}


def resized(source: Path, path: Path) -> str:
    """Copy a folder, its transformer made anew with 4 layers; returns the class of its pipeline."""
    import diffusers
    import torch

    name = json.loads((source / "model_index.json").read_text())["_class_name"]
    if name not in SIZES:
        raise ValueError(f"{source} is a folder of {name}; measured are {', '.join(SIZES)}")
    shutil.copytree(source, path)
    config = json.loads((path / "transformer" / "config.json").read_text())
    cls = getattr(diffusers, config["_class_name"])
    config = {k: v for k, v in config.items() if not k.startswith("_")} | {"num_layers": 4} | SIZES[name]
    torch.manual_seed(0)
    shutil.rmtree(path / "transformer")
    cls(**config).save_pretrained(path / "transformer")
    return name


def embeddings(prompts, is_guided: bool) -> dict[str, Any]:
    """Our CONDITIONING as a pipeline's arguments."""
    names = {"attention_mask": "prompt_attention_mask", "pooled_output": "pooled_prompt_embeds"}
    arguments = {}
    for ((context, entries),), prefix in zip(prompts, ("", "negative_"), strict=True):
        if prefix and not is_guided:
            continue
        arguments[f"{prefix}prompt_embeds"] = context
        arguments |= {prefix + name: entries[key] for key, name in names.items() if key in entries}
    return arguments


def in_comfyui(comfyui: Path, paths: list[Path], steps: int) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
    """(family, {"ours", "core"}): the same file in our model class and in core's, both sampled by core."""
    # The attention class of our transformers.
    core = comfyui_start.start(comfyui, "--cpu", "--use-pytorch-cross-attention")
    import comfy.utils
    import torch

    comfy.utils.PROGRESS_BAR_ENABLED = False

    from opent2v.host import comfyui as real
    from opent2v.loaders import load_model, open_file

    # Number of tokens of the prompt, and the inputs that come with it.
    prompt_of: dict[str, tuple[int, dict[str, Any]]] = {
        "wan": (512, {}),
        "ltx_video": (128, {"attention_mask": torch.ones(1, 128, dtype=torch.long), "frame_rate": 25}),
    }
    for path in paths:
        part = load_model(open_file(path), torch.float32)
        variant = part.variant
        models = {"ours": real.model(part)}
        models["core"] = import_module("comfy.sd").load_diffusion_model(
            str(path), model_options={"dtype": torch.float32}
        )
        length, entries = prompt_of[variant.family.id]
        prompts = [[[torch.randn(1, length, 4096), dict(entries)]] for _ in range(2)]
        latent = {"samples": torch.zeros(1, variant.geometry.channels, *LATENT)}

        def sampled(model: Any, prompts: list = prompts, latent: dict = latent) -> None:
            with torch.inference_mode():  # as the executor runs it
                core.common_ksampler(model, 0, steps, 4.0, "euler", "simple", *prompts, latent)

        yield variant.family.id, {way: partial(sampled, model) for way, model in models.items()}


def print_ratios(name: str, ways: dict[str, Callable[[], Any]], rounds: int) -> None:
    """The first way over each other one; the first round only warms up."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, work in ways.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            taken[way].append((time.perf_counter() - began, time.process_time() - used))
    first, *others = ways
    for i, kind in enumerate(("wall", "processor")):
        medians = {way: statistics.median(round_times[i] for round_times in times[1:]) for way, times in taken.items()}
        ratios = ", ".join(f"{first} / {way} {medians[first] / medians[way]:.3f}" for way in others)
        print(f"{name}, {kind} time: {ratios} ({first} {medians[first]:.2f} s)")


if __name__ == "__main__":
    main()
