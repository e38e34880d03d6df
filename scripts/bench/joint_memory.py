"""Memory of Decode to Video File with its sound, by length: python scripts/bench/joint_memory.py

LTX-2's VAEs with tiny random weights decode a latent of picture and sound into a file, each length in a process of its
own. What counts is the peak beyond that of the loaded program.
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

FPS = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="*", default=[65, 257, 1001], help="8n + 1")
    parser.add_argument("--side", type=int, default=128, help="pixels, a multiple of 32")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    environment.ensure()
    if arguments.one:
        measured(arguments.one, arguments.side)
        return
    print(f"{date.today()}, {platform.machine()} CPU, {arguments.side} x {arguments.side}", flush=True)
    for frames in arguments.frames:
        command = [sys.executable, __file__, "--one", str(frames), "--side", str(arguments.side)]
        subprocess.run(command, check=True)


def measured(frames: int, side: int) -> None:
    """Decode one length and print its peak."""
    pack.hide_scripts()
    pack.mount()
    import torch
    from safetensors.torch import save_file

    from opent2v.host import embedded
    from opent2v.loaders import load_sound_vae, load_vae, open_file
    from opent2v.nodes import NODE_CLASS_MAPPINGS
    from opent2v.tests.tiny import ltx2 as tiny

    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        embedded.configure(output=base / "output")
        vaes = []
        for name, weights, load in (
            ("video", tiny.video_vae("2.3"), load_vae),
            ("sound", tiny.sound_vae("2.3"), load_sound_vae),
        ):
            path = base / f"{name}.safetensors"
            save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
            vaes.append(embedded.vae(load(open_file(path), torch.float32)))
        decode = NODE_CLASS_MAPPINGS["OpenT2VDecodeToVideo"]

        def run(count: int, name: str) -> None:
            picture = torch.randn(1, 128, (count - 1) // 8 + 1, side // 32, side // 32)
            sound = torch.randn(1, 8, round(count / FPS * 25), 16)
            latent = {"samples": embedded.nested([picture, sound])}
            inputs = {"vae": vaes[0], "audio_vae": vaes[1], "latent": latent, "fps": FPS, "filename_prefix": name}
            declared = decode.INPUT_TYPES()["required"]
            rest = {key: spec[1]["default"] for key, spec in declared.items() if key not in inputs}
            decode().save(**inputs, **rest)

        run(17, "first")
        loaded, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic()
        run(frames, "film")
        peak, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - began
    print(
        f"{frames} frames: peak {peak:.0f} MiB, {peak - loaded:.0f} MiB beyond 17 frames, {seconds:.0f} s", flush=True
    )


if __name__ == "__main__":
    main()
