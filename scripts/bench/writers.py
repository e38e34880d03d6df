"""What media.py measures of writing: against a plain PyAV loop, against ComfyUI's own writer, and GIFs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

WIDTH, HEIGHT = 832, 480


def print_ratio(ways: dict, rounds: int) -> None:
    """Times of two ways and the first over the second; the first round of each only warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, work in ways.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - began, time.process_time() - used))
    for i, kind in enumerate(("wall", "processor")):
        (first, a), (second, b) = ((name, statistics.median(t[i] for t in taken[1:])) for name, taken in times.items())
        print(f"{kind} time: {first} {a:.2f} s, {second} {b:.2f} s, ratio {a / b:.2f}")


def print_writer(rounds: int, comfyui: Path | None) -> None:
    """Our writer against a plain PyAV loop with the same encoder settings, and against core's, on the same frames."""
    width, height, count = WIDTH, HEIGHT, 33
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


def print_long() -> None:
    """500 frames of 720p: a pan over a grainy picture. Frames are views of it, so that only writing takes memory."""
    import torch

    width, height, count = 1280, 720, 500
    wide = moving(width + 2 * count, height, 1)[0] + grain(width + 2 * count, height, 1)[0]
    canvas = ((wide.permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1)[0].contiguous()  # [H, W + 2 n, 3]
    row = 3 * (width + 2 * count)
    frames = torch.as_strided(canvas, (count, height, width, 3), (6, row, 3, 1))
    print(f"\nwriting {count} frames of {width} x {height}, crf 23: seconds (wall, processor), MiB")
    ways = {"writer": lambda folder: written(frames, folder, 23), "core": lambda folder: by_core(frames, folder)}
    measures = {}
    for name, work in ways.items():
        began, used = time.perf_counter(), time.process_time()
        memory = peak(work)
        measures[name] = time.perf_counter() - began, time.process_time() - used, memory
        print(f"{name}: " + ", ".join(f"{value:.1f}" for value in measures[name]), flush=True)
    print("writer / core: " + ", ".join(f"{a / b:.2f}" for a, b in zip(*measures.values(), strict=True)))


def print_gif() -> None:
    """Seconds a frame of a moving, grainy picture as a GIF."""
    from opent2v.media import SaveSettings, VideoWriter

    print("\nGIF, 33 frames")
    for width, height in ((416, 240), (WIDTH, HEIGHT)):
        video = moving(width, height, 33) + grain(width, height, 33)
        frames = ((video[0].permute(1, 2, 3, 0) + 1) / 2).contiguous()
        began, used = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            with VideoWriter(Path(folder), "moving", SaveSettings("gif"), fps=16, width=width, height=height) as writer:
                writer.write(frames)
            size = writer.path.stat().st_size / 2**20
        wall, processor = (
            (now - then) / 33 for now, then in ((time.perf_counter(), began), (time.process_time(), used))
        )
        print(
            f"{width} x {height}: {wall:.3f} s a frame, {processor:.3f} s of processor time, {size:.1f} MiB", flush=True
        )


def moving(width: int, height: int, frames: int):
    """[1, 3, frames, height, width] in -1..1."""
    import torch

    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    video = (0.3 * torch.sin(x / 9) * torch.cos(y / 7)).expand(1, 3, frames, height, width).clone()
    for n in range(frames):
        left = n * 2 % (width * 3 // 4)
        video[:, 0, n, height // 3 : height // 2, left : left + width // 5] = 0.9
    return video


def grain(width: int, height: int, frames: int):
    """[1, 3, frames, height, width]: noise of film, another in each frame."""
    import torch

    return 0.06 * torch.randn(1, 3, frames, height, width, generator=torch.Generator().manual_seed(0))


def written(frames, folder: Path, crf: float | None = None) -> None:
    from opent2v.media import SaveSettings, VideoWriter

    with VideoWriter(
        folder, "ours", SaveSettings(crf=crf), fps=16, width=frames.shape[2], height=frames.shape[1]
    ) as writer:
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


def peak(work) -> float:
    """MiB by which the largest resident set grew during work(folder)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    held = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        work(Path(folder))
    return resident("VmHWM") - held


def resident(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
