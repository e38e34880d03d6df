"""Measure, in one run and as ratios: decoding straight into a file against decoding and then saving, and the writer.

    python3 scripts/bench/media.py [SECTION ...] [--frames 33 65 330 3300] [--rounds 3] [--comfyui PATH]

Sections, all of them where none is named:

- memory: decoding into a file at 480 x 832, by length. A stand-in for the VAE's decoder enlarges the latent, so that
  frames fill the memory and not the VAE's own work; ComfyUI's way, which holds the clip, goes to 330 frames. x264
  looks 40 frames ahead, so that its own memory grows over the first 50 or so.
- equality, time: streamed against decoded at once, with the bundled VAE at 128 x 128.
- writer: our writer against a plain PyAV loop, and against ComfyUI's own.
- long: 500 frames of 720p, our writer against ComfyUI's own; only with --comfyui.
- gif: by size of the picture.
- colours: Match Colours against ComfyUI's own Transfer Color, 48 frames of 480p; only with --comfyui.

Memory is the process's largest resident set while it works, less what it holds before (Linux only). Time pairs
alternate, and the medians are compared, as wall time and as processor time of all threads: on a busy machine only the
latter says something.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from datetime import date
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import comfyui_start
import environment
import pack
import writers
from writers import HEIGHT, WIDTH

SECTIONS = ("memory", "equality", "time", "writer", "long", "gif", "colours")
# Up to this many frames the whole clip is also held: 330 frames are 1.5 GiB, and their copy as much again.
MOST_HELD = 330


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--frames", type=int, nargs="+", default=[33, 65, 330, 3300], help="lengths for the memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI: run in its Python, and its own writer takes part")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    chosen = arguments.sections or SECTIONS
    if arguments.comfyui:
        comfyui_start.ensure(arguments.comfyui)
        sys.path.append(str(arguments.comfyui.resolve()))
    else:
        environment.ensure()
    pack.hide_scripts()
    pack.mount()

    import torch

    began = time.perf_counter()
    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} torch threads, torch {torch.__version__}"
    )
    if "memory" in chosen:
        print_memory(sorted(arguments.frames), writers.by_core if arguments.comfyui else writers.written)
    if {"equality", "time"} & {*chosen}:
        vae = load()
        latent = encoded(vae, 128, 33)
        if "equality" in chosen:
            print_equality(vae, latent)
        if "time" in chosen:
            print_time(vae, latent, arguments.rounds)
    if "writer" in chosen:
        writers.print_writer(arguments.rounds, arguments.comfyui)
    if "long" in chosen and arguments.comfyui:
        writers.print_long()
    if "gif" in chosen:
        writers.print_gif()
    if "colours" in chosen and arguments.comfyui:
        print_colours(arguments.rounds)
    print(f"\n{time.perf_counter() - began:.0f} s in all, {time.process_time():.0f} s of processor time")


def load():
    """The bundled model's VAE."""
    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.nodes.load import model_folders

    dtypes = embedded.device_dtypes(None, None)
    return embedded.vae(load_pipeline(open_folder(model_folders()["opent2v-quickstart"]), **dtypes).vae)


def load_enlarger():
    """The bundled VAE with another decoder: each latent frame enlarged 8 x 8, faded in from the one before."""
    import dataclasses

    import torch
    from torch.nn import functional

    def decode_frames(_vae, latent, _tiled):
        before = latent[:, :3, :1]
        for k in range(latent.shape[2]):
            frame = latent[:, :3, k : k + 1]
            steps = torch.linspace(0, 1, 5)[1:] if k else torch.ones(1)
            faded = torch.cat([torch.lerp(before, frame, float(step)) for step in steps], dim=2)
            yield functional.interpolate(faded, scale_factor=(1, 8, 8), mode="nearest").clamp(-1, 1)
            before = frame

    def decode(vae, latent, _seed):
        return torch.cat(list(decode_frames(vae, latent, False)), dim=2)

    vae = load()
    video = dataclasses.replace(vae.part.variant.family.video, decode=decode, decode_frames=decode_frames)
    family = dataclasses.replace(vae.part.variant.family, video=video)
    variant = dataclasses.replace(vae.part.variant, family=family)
    return dataclasses.replace(vae, part=dataclasses.replace(vae.part, variant=variant))


def encoded(vae, size: int, frames: int):
    """[1, 16, T, size / 8, size / 8]: 17 frames of a square that moves over a texture, again and again."""
    import torch

    with torch.inference_mode():
        latent = vae.part.encode(writers.moving(size, size, 17))
    return latent.repeat(1, 1, frames // 17 + 1, 1, 1)[:, :, : (frames - 1) // 4 + 1].clone()


def streamed(vae, latent, folder: Path) -> Path:
    from opent2v.host import embedded
    from opent2v.media import VideoWriter
    from opent2v.media.stream import save_stream

    def open_writer(width: int, height: int) -> VideoWriter:
        return VideoWriter(folder, "streamed", fps=16, width=width, height=height)

    return save_stream(embedded.decode_stream(vae, latent), open_writer).path


def whole(vae, latent, folder: Path) -> Path:
    from opent2v.host import embedded
    from opent2v.media import VideoWriter

    images = embedded.decode(vae, latent)
    with VideoWriter(folder, "whole", fps=16, width=images.shape[2], height=images.shape[1]) as writer:
        for piece in images.split(16):
            writer.write(piece)
    return writer.path


def print_memory(lengths: list[int], save) -> None:
    """`save`: (IMAGE, folder), what saves a clip that is held whole."""
    import torch

    if sys.platform != "linux":
        print("\npeak memory: measured on Linux only")
        return
    from opent2v.host import embedded

    def held(vae, latent, folder: Path) -> None:
        save(embedded.decode(vae, latent), folder)

    vae, shortest = load_enlarger(), 0.0
    print(f"\npeak memory beyond the loaded VAE, {WIDTH} x {HEIGHT}, MiB")
    print("frames    streamed    whole clip    streamed / shortest    seconds streamed")
    for n, frames in enumerate([5, *lengths]):  # the first run fills what libraries keep for good
        picture = torch.randn(1, 16, 1, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(0)) / 3
        latent = torch.cat([picture.roll(k, dims=-1) for k in range((frames - 1) // 4 + 1)], dim=2)
        whole = writers.peak(partial(held, vae, latent)) if frames <= MOST_HELD else 0.0
        began = time.perf_counter()
        memory = writers.peak(partial(streamed, vae, latent))
        shortest = memory if n == 1 else shortest
        if n:
            core = f"{whole:10.0f}" if whole else "         -"
            seconds = time.perf_counter() - began
            print(f"{frames:6}    {memory:8.0f}    {core}    {memory / shortest:19.2f}    {seconds:16.0f}", flush=True)


def print_equality(vae, latent) -> None:
    import dataclasses

    import torch

    from opent2v.host import embedded

    images = embedded.decode(vae, latent)
    difference = (torch.cat(list(embedded.decode_stream(vae, latent))) - images).abs()
    print(f"\nstreamed against decoded at once, {len(images)} frames: largest difference {difference.max():.1e}")
    family = vae.part.variant.family
    family = dataclasses.replace(family, video=dataclasses.replace(family.video, decode_frames=None))
    variant = dataclasses.replace(vae.part.variant, family=family)
    forgetful = dataclasses.replace(vae, part=dataclasses.replace(vae.part, variant=variant))
    latent = torch.cat([latent, latent.flip(2), latent], dim=2)  # longer than one stretch
    images = embedded.decode(vae, latent)
    difference = (torch.cat(list(embedded.decode_stream(forgetful, latent))) - images).abs()
    print(
        f"in blended stretches (VAEs without a memory), {len(images)} frames: largest {difference.max():.1e}, "
        f"mean {difference.mean():.1e}"
    )


def print_time(vae, latent, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "streamed": lambda: streamed(vae, latent, Path(folder)),
            "decode, then save": lambda: whole(vae, latent, Path(folder)),
        }
        print(f"\n{latent.shape[2] * 4 - 3} frames from latent to file")
        writers.print_ratio(ways, rounds)


def print_colours(rounds: int) -> None:
    """Both match each frame's mean and deviation in CIE Lab to those of one picture."""
    from fractions import Fraction

    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    from comfy_extras.nodes_post_processing import ColorTransfer

    from opent2v.media.finishing import ColourMatch

    dice = torch.Generator().manual_seed(0)
    frames = torch.rand(48, HEIGHT, WIDTH, 3, generator=dice) * 0.6 + 0.1
    picture = torch.rand(1, HEIGHT, WIDTH, 3, generator=dice) * 0.4 + 0.3

    def ours() -> torch.Tensor:
        return torch.cat(list(ColourMatch(1.0, picture).run(iter(frames.split(4)), Fraction(16), [])))

    def core() -> torch.Tensor:
        per_frame = {"source_stats": "per_frame"}
        return ColorTransfer.execute(frames, picture, "reinhard_lab", per_frame, 1.0).args[0]

    with torch.inference_mode():
        print(f"\n{len(frames)} frames of {WIDTH} x {HEIGHT}: largest difference {(ours() - core()).abs().max():.1e}")
        writers.print_ratio({"Match Colours": ours, "ComfyUI's Transfer Color": core}, rounds)


if __name__ == "__main__":
    main()
