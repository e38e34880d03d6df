"""Damaged copies of small clips, read in a child process that reports each of them.

The process that reads may die or hang: `readings` then notes the copy at fault and goes on with the next one. By hand,
one copy: `python tests/media/damage.py FOLDER SEED SEED+1`, with a folder that `wholes` filled.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FPS, RATE, FRAMES, WIDTH, HEIGHT = 25, 48000, 16, 48, 32
# name -> picture and sound codec of a clip that PyAV makes.
CLIPS = {
    "h264.mp4": ("libx264", "aac"),
    "h264.mkv": ("libx264", "ac3"),
    "vp9.webm": ("libvpx-vp9", "libopus"),
    "mpeg4.avi": ("mpeg4", "libmp3lame"),
    "h264.ts": ("libx264", "aac"),
    "mpeg2.mpg": ("mpeg2video", "mp2"),
    "flv1.flv": ("flv", "aac"),
}
# Seconds that one copy may take.
LIMIT = 60
# What the child lets a clip take: a damaged size or time must not fill the machine.
_ROOM = 200_000_000


@dataclass(frozen=True)
class Reading:
    """What came of one damaged copy.

    Attributes:
        seed, name: of the copy; its file's name begins with the whole clip's.
        outcome: "frames", "refused", another exception's class, "died" or "hung".
        texts: the message and the remarks that a user would see, or the traceback.
    """

    seed: int
    name: str
    outcome: str
    texts: list[str]


def wholes(folder: Path) -> None:
    """Write a whole clip of each container into the folder."""
    import torch
    from PIL import Image

    from opent2v.tests.media.clips import save

    for name, codecs in CLIPS.items():
        _clip(folder / name, *codecs)
    shades = torch.linspace(0, 1, FRAMES).view(-1, 1, 1, 1) * torch.rand(FRAMES, HEIGHT, WIDTH, 3)
    tone = torch.sin(torch.arange(RATE) / 20)[None, None] / 2
    for kind in ("mp4 h264", "webm vp9", "gif", "webp"):
        sound = None if kind in ("gif", "webp") else {"waveform": tone, "sample_rate": RATE}
        save(folder, shades, stem="saved", format=kind, fps=10, audio=sound, metadata={"prompt": "{}"})
    pictures = [Image.effect_noise((WIDTH, HEIGHT), 20 + n).convert("RGB") for n in range(6)]
    pictures[0].save(folder / "noise.apng", format="PNG", save_all=True, append_images=pictures[1:], duration=50)


def _clip(path: Path, codec: str, sound: str) -> None:
    import av
    import numpy as np

    grain = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=FPS, options={"g": "5", "bf": "2"} if codec == "libx264" else {"g": "5"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = output.add_stream(sound, rate=RATE, layout="stereo")
        for n in range(FRAMES):
            picture = np.clip(12 * n + grain.integers(-20, 20, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        wave = np.sin(np.arange(FRAMES * RATE // FPS) / 20).astype(np.float32) / 2
        piece = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        piece.sample_rate, piece.pts, piece.time_base = RATE, 0, Fraction(1, RATE)
        resampler = av.AudioResampler(format=track.format.name, layout="stereo", rate=RATE, frame_size=track.frame_size)
        for part in (*resampler.resample(piece), *resampler.resample(None)):
            output.mux(track.encode(part))
        output.mux(track.encode(None))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """One to three faults: bits turned, the end cut off, a span missing, doubled, zeroed, or changed for another."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        if len(broken) < 16:
            break
        fault = chance.randrange(7)
        # The tables in front decide how the rest is read: half of the faults go there.
        size = len(broken) if chance.random() < 0.5 else min(len(broken), 1500)
        start = chance.randrange(size)
        end = start + chance.choice((1, 4, 16, 188, max(1, len(broken) // 8)))
        if fault <= 1:
            for _ in range(chance.randint(1, 12)):
                broken[chance.randrange(size)] ^= 1 << chance.randrange(8)
        elif fault == 2:
            del broken[chance.randrange(len(broken)) :]
        elif fault == 3:
            del broken[start:end]
        elif fault == 4:
            broken[start:end] = broken[start:end] * 2
        elif fault == 5:
            broken[start:end] = bytes(len(broken[start:end]))
        else:
            later = chance.randrange(len(broken))
            span, farther = bytes(broken[start:end]), bytes(broken[later : later + end - start])
            broken[start : start + len(farther)] = farther
            broken[later : later + len(span)] = span
    return bytes(broken)


def readings(folder: Path, count: int) -> Iterator[Reading]:
    """What comes of copies 0 to count - 1 of the whole clips in the folder, in order."""
    seed, notes = 0, folder / "stderr.txt"
    while seed < count:
        command = [sys.executable, __file__, str(folder), str(seed), str(count)]
        with notes.open("w") as errors:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert child.stdout is not None
        started = None
        try:
            for line in child.stdout:
                report = json.loads(line)
                if "outcome" in report:
                    started = None
                    yield Reading(**report)
                    seed = report["seed"] + 1
                else:
                    started = report
        finally:
            child.stdout.close()
            child.kill()
            status = child.wait()
        said = notes.read_text(errors="replace")
        if started is not None:
            outcome = "hung" if "Timeout (" in said else "died"
            yield Reading(started["seed"], started["name"], outcome, [f"exit status {status}", said[-2000:]])
            seed = started["seed"] + 1
        elif seed < count:
            raise AssertionError(f"the process that reads ended before copy {seed}: {status} {said[-2000:]}")


def _read(path: Path, seed: int) -> list[str]:
    """The remarks of reading all, a stretch of the middle at another rate, again from earlier, and the sound alone."""
    from opent2v.media import read_video
    from opent2v.media.reader_sound import read_whole_sound

    remarks = list[str]()
    for settings in ({}, {"start": 5, "count": 4, "fps": 30}, {"start": 2, "every": 2, "width": 32, "height": 32}):
        video = read_video(path, **settings, deinterlace=bool(seed % 2))
        assert len(video.frames) and not video.frames.isnan().any(), "no frames, or NaN in them"
        assert video.audio is None or video.audio["waveform"].shape[-1], "sound without samples"
        remarks += video.remarks
    if video.audio is not None:
        remarks += read_whole_sound(path)[1]
    return remarks


def _child(folder: Path, first: int, end: int) -> None:
    import traceback

    from opent2v.media import VideoError, memory

    memory.free_memory = lambda: _ROOM
    clips = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".txt")
    for seed in range(first, end):
        chance = random.Random(seed)
        whole = clips[seed % len(clips)]
        path = folder / "copies" / f"{whole.stem}-{seed}{whole.suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damaged(chance, whole.read_bytes()))
        print(json.dumps({"seed": seed, "name": path.name}), flush=True)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            outcome, texts = "frames", _read(path, seed)
        except VideoError as error:
            outcome, texts = "refused", [str(error)]
        except Exception as error:
            outcome, texts = type(error).__name__, [traceback.format_exc()]
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"seed": seed, "name": path.name, "outcome": outcome, "texts": texts}), flush=True)
        path.unlink()


if __name__ == "__main__":
    package = types.ModuleType("opent2v")
    package.__path__ = [str(ROOT)]
    sys.modules["opent2v"] = package
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the whole clips")
    parser.add_argument("first", type=int, help="seed of the first damaged copy")
    parser.add_argument("end", type=int, help="the seed behind the last")
    arguments = parser.parse_args()
    _child(arguments.folder, arguments.first, arguments.end)
