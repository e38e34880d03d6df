"""Peak memory of joining 5 and 100 clips of 480p with sound, each in its own process: python scripts/bench/joining.py

What was written is read back by PyAV alone: frames are counted, and every joint is looked for by its jump in light.
`--help` lists the options.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

RATE, FPS, KINDS = 48000, 16, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[5, 100])
    parser.add_argument("--frames", type=int, default=24, help="of each clip")
    parser.add_argument("--overlap", type=int, default=4, help="0: cuts, and nothing is encoded again")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    environment.ensure()
    if arguments.folder:
        print_one(arguments.folder, arguments.clips[0], arguments.overlap)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.frames)
        print(f"{date.today()}, {platform.machine()}, 832 x 480, {arguments.frames} frames a clip, 48 kHz stereo")
        for count in arguments.clips:
            again = [sys.executable, __file__, "--folder", folder, "--clips", str(count)]
            subprocess.run([*again, "--overlap", str(arguments.overlap)], check=True)


def write(folder: Path, frames: int) -> None:
    """The clips: each of one light with noise, so that a joint is a jump in it."""
    pack.hide_scripts()
    pack.mount()
    import torch

    from opent2v.media import SaveSettings, VideoWriter

    for kind in range(KINDS):
        generator = torch.Generator().manual_seed(kind)
        wave = torch.rand(1, 2, RATE * frames // FPS, generator=generator) - 0.5
        audio = {"waveform": wave, "sample_rate": RATE}
        with VideoWriter(
            folder, f"clip{kind}", SaveSettings("mp4 h264"), fps=FPS, width=832, height=480, audio=audio
        ) as writer:
            for _ in range(frames):
                writer.write(0.1 + 0.2 * kind + 0.05 * torch.rand(1, 480, 832, 3, generator=generator))


def print_one(folder: Path, count: int, overlap: int) -> None:
    pack.hide_scripts()
    pack.mount()
    import av

    from opent2v.media import SaveSettings, VideoWriter
    from opent2v.media.copying import copy_joined, why_encoded
    from opent2v.media.growing_sound import GrowingSound
    from opent2v.media.joining import Clips
    from opent2v.media.stream import save_stream

    paths = [folder / f"clip{n % KINDS}_00001.mp4" for n in range(count)]
    clips, began = Clips.checked(paths, [overlap]), time.monotonic()
    assert clips.sound is not None
    settings = SaveSettings("mp4 h264")
    if why_encoded(clips, settings):
        sound = GrowingSound(*clips.sound)
        path = save_stream(
            clips.pieces(sound, []),
            lambda width, height: VideoWriter(
                folder, "joined", settings, fps=clips.fps, width=width, height=height, audio=sound
            ),
        ).path
    else:
        path, _ = copy_joined(clips, settings, (folder, "joined"), {}, lambda frames: None)
    peak, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - began
    with av.open(str(path)) as container:
        light = [frame.to_ndarray(format="gray").mean() / 255 for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    # In the middle of a joint the light is half way between the clips'.
    expected = [start + overlap / 2 for start in clips.joints]
    steps = [abs(light[n] - light[n - 1]) > 0.02 for n in range(1, len(light))]
    runs = [n for n, step in enumerate(steps, 1) if step and not (n > 1 and steps[n - 2])]
    seen = sum(any(abs(run - start) <= overlap for run in runs) for start in expected)
    print(
        f"{count} clips: peak {peak:.0f} MiB, {seconds:.0f} s, {len(light)} of {clips.frames} frames, "
        f"{seen} of {len(expected)} joints seen ({len(runs)} runs of changing light), {samples / RATE:.2f} s of sound "
        f"of {clips.frames / float(clips.fps):.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
