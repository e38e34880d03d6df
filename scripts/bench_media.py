"""Measure, in one run and as ratios: decoding straight into a file against decoding and then saving, and the writer.

    python3 scripts/bench_media.py [--size 128] [--frames 17 65 257] [--rounds 3] [--comfyui PATH]

Memory is the process's largest resident set while it decodes and saves, less what it holds before (Linux only). There a
narrow VAE with random weights decodes, so that frames fill the memory and not the VAE's own work.
Time pairs alternate, and the medians are compared, as wall time and as processor time of all threads: on a busy machine
only the latter says something. Their latents are those of a short moving picture, encoded by the bundled VAE and
repeated to the length.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from fractions import Fraction
from pathlib import Path

import comfyui_run
import environment
import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels")
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 65, 257])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI: run in its Python, and its own writer takes part")
    arguments = parser.parse_args()
    if arguments.comfyui:
        comfyui_run.ensure(arguments.comfyui)
        sys.path.append(str(arguments.comfyui.resolve()))
    else:
        environment.ensure()
    pack.hide_scripts()
    pack.mount()

    import torch

    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} torch threads, torch "
        f"{torch.__version__}, bundled VAE, {arguments.size} x {arguments.size}"
    )
    print_memory(arguments.size, sorted(arguments.frames))
    vae = load()
    latent = encoded(vae, arguments.size, sorted(arguments.frames)[len(arguments.frames) // 2])
    print_equality(vae, latent)
    print_time(vae, latent, arguments.rounds)
    print_writer(arguments.rounds, arguments.comfyui)


def load():
    """The bundled model's VAE."""
    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.nodes.load import model_folders

    dtypes = embedded.device_dtypes(None, None)
    return embedded.vae(load_pipeline(open_folder(model_folders()["opent2v-quickstart"]), **dtypes).vae)


def load_narrow():
    """A VAE of the same kind with random weights and few channels."""
    import dataclasses

    import torch
    from diffusers import AutoencoderKLWan

    from opent2v.host import embedded

    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1, dim_mult=[1, 1, 1, 1]).eval()
    return embedded.vae(dataclasses.replace(load().part, vae=vae))


def encoded(vae, size: int, frames: int):
    """[1, 16, T, size / 8, size / 8]: 17 frames of a square that moves over a texture, again and again."""
    import torch

    with torch.inference_mode():
        latent = vae.part.encode(moving(size, size, 17))
    return latent.repeat(1, 1, frames // 17 + 1, 1, 1)[:, :, : (frames - 1) // 4 + 1].clone()


def moving(width: int, height: int, frames: int):
    """[1, 3, frames, height, width] in -1..1."""
    import torch

    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    video = (0.3 * torch.sin(x / 9) * torch.cos(y / 7)).expand(1, 3, frames, height, width).clone()
    for n in range(frames):
        left = n * 2 % (width * 3 // 4)
        video[:, 0, n, height // 3 : height // 2, left : left + width // 5] = 0.9
    return video


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


def peak(work, vae, latent) -> float:
    """MiB by which the largest resident set grew while decoding and saving."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    held = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        work(vae, latent, Path(folder))
    return resident("VmHWM") - held


def resident(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def print_memory(size: int, lengths: list[int]) -> None:
    import torch

    if sys.platform != "linux":
        print("\npeak memory: measured on Linux only")
        return
    vae, rows = load_narrow(), {}
    for frames in [1, *lengths]:  # the first is for what libraries keep for good after their first use
        latent = torch.randn(1, 16, (frames - 1) // 4 + 1, size // 8, size // 8)
        for way, work in (("streamed", streamed), ("whole", whole)):
            rows[way, frames] = peak(work, vae, latent)
    print(f"\npeak memory beyond the loaded VAE, {size} x {size}, MiB")
    print("frames    streamed    whole clip    streamed / whole    streamed / shortest")
    for frames in lengths:
        a, b = rows["streamed", frames], rows["whole", frames]
        print(f"{frames:6}    {a:8.0f}    {b:10.0f}    {a / b:16.2f}    {a / rows['streamed', lengths[0]]:19.2f}")


def print_equality(vae, latent) -> None:
    import dataclasses

    import torch

    from opent2v.host import embedded

    images = embedded.decode(vae, latent)
    difference = (torch.cat(list(embedded.decode_stream(vae, latent))) - images).abs()
    print(f"\nstreamed against decoded at once, {len(images)} frames: largest difference {difference.max():.1e}")
    family = dataclasses.replace(vae.part.variant.family, decode_frames=None)
    variant = dataclasses.replace(vae.part.variant, family=family)
    forgetful = dataclasses.replace(vae, part=dataclasses.replace(vae.part, variant=variant))
    if latent.shape[2] <= 21:
        latent = torch.cat([latent, latent.flip(2)], dim=2)
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
        print_ratio(ways, rounds)


def print_ratio(ways: dict, rounds: int) -> None:
    """Times of two ways and the first over the second; the first round of each only warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, work in ways.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - began, time.process_time() - used))
    for i, kind in enumerate(("wall", "processor")):
        (one, a), (two, b) = ((name, statistics.median(t[i] for t in taken[1:])) for name, taken in times.items())
        print(f"{kind} time: {one} {a:.2f} s, {two} {b:.2f} s, ratio {a / b:.2f}")


def print_writer(rounds: int, comfyui: Path | None) -> None:
    """Our writer against a plain PyAV loop with the same encoder settings, and against core's, on the same frames."""
    width, height, count = 832, 480, 33
    clips = {
        "a moving square on a smooth ground": moving(width, height, count),
        "the same with noise": moving(width, height, count) + grain(width, height, count),
    }
    for name, video in clips.items():
        print(f"\nwriting {count} frames of {width} x {height}, {name}")
        print_one_writer(((video[0].permute(1, 2, 3, 0) + 1) / 2).contiguous(), rounds, comfyui)


def print_one_writer(frames, rounds: int, comfyui: Path | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ways = {"writer": lambda: written(frames, folder), "plain PyAV loop": lambda: plainly(frames, folder)}
        print_ratio(ways, rounds)
        if comfyui:
            ways = {"writer at crf 23": lambda: written(frames, folder, 23), "core": lambda: by_core(frames, folder)}
            print_ratio(ways, rounds)


def grain(width: int, height: int, frames: int):
    """[1, 3, frames, height, width]: noise of film, another in each frame."""
    import torch

    return 0.06 * torch.randn(1, 3, frames, height, width, generator=torch.Generator().manual_seed(0))


def written(frames, folder: Path, crf: float | None = None) -> None:
    from opent2v.media import VideoWriter

    with VideoWriter(folder, "ours", fps=16, width=frames.shape[2], height=frames.shape[1], crf=crf) as writer:
        for piece in frames.split(16):
            writer.write(piece)


def plainly(frames, folder: Path) -> None:
    """What a user would write: the same encoder settings, FFmpeg's own choice of colours, no check of the values."""
    import av

    from opent2v.media.formats import format_of

    options = format_of("mp4 h264").options(80, None, None)  # the writer's own
    with av.open(str(folder / "plain.mp4"), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=16, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            picture = (frame.clamp(0, 1) * 255).round().byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def by_core(frames, folder: Path) -> None:
    """As core's CreateVideo and SaveVideo write it: x264's own rate factor, 23."""
    from comfy_api.input_impl import VideoFromComponents  # pyright: ignore[reportMissingImports]
    from comfy_api.util import VideoComponents  # pyright: ignore[reportMissingImports]

    VideoFromComponents(VideoComponents(images=frames, frame_rate=Fraction(16))).save_to(str(folder / "core.mp4"))


if __name__ == "__main__":
    main()
