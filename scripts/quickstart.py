"""A video from a sentence, with one command, on the model that comes with the pack.

    python3 scripts/quickstart.py --prompt "a blue star growing on a white background"

The first run sets up what it needs in .venv; later ones need no network.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import comfyui_run
import comfyui_start
import console
import embedded_run
import environment
import pack

WORKFLOW = pack.ROOT / "workflows" / "quickstart.json"
STAGES = {
    "OpenT2VLoadModel": "load",
    "OpenT2VEncodePrompt": "encode",
    "OpenT2VSampler": "sample",
    "OpenT2VDecode": "decode",
    "OpenT2VSaveVideo": "save",
}
# Option -> the workflow's input that it sets.
INPUTS = {
    "prompt": "OpenT2VEncodePrompt.positive",
    "negative": "OpenT2VEncodePrompt.negative",
    "seed": "OpenT2VSampler.seed",
    "width": "OpenT2VEmptyLatent.width",
    "height": "OpenT2VEmptyLatent.height",
    "frames": "OpenT2VEmptyLatent.frames",
    "steps": "OpenT2VSampler.steps",
    "cfg": "OpenT2VSampler.cfg",
}


def main() -> int:
    began = time.perf_counter()
    arguments = _parser().parse_args()
    inputs = {option: getattr(arguments, option) for option in INPUTS}
    changes = [f"{INPUTS[option]}={value}" for option, value in inputs.items() if value is not None]
    folder, name = destination(arguments.out)
    text = embedded_run.read(WORKFLOW)
    comfyui = arguments.comfyui and arguments.comfyui.expanduser().resolve()
    if comfyui:
        comfyui_start.ensure(comfyui)
    else:
        environment.ensure()
    pack.hide_scripts()
    stages = console.Stages()
    if comfyui:
        outcome = comfyui_run.run(comfyui, text, changes, output=folder, stages=stages, stage_of=_stage)
    else:
        outcome = embedded_run.run(text, changes, models=None, output=folder, stages=stages, stage_of=_stage)
    if name:
        outcome.files = [put(outcome.files[0], folder / name), *outcome.files[1:]]
    for remark in outcome.remarks:
        console.say(remark)
    prompt, seed = outcome.values["OpenT2VEncodePrompt"]["positive"], outcome.values["OpenT2VSampler"]["seed"]
    console.say(f"prompt   {prompt}")
    console.say(f"seed     {seed}")
    console.say(f"total    {time.perf_counter() - began:.1f} s")
    for file in outcome.files:
        console.say(f"video    {file}")
    return 0


def destination(out: Path | None) -> tuple[Path, str]:
    """`--out` as (folder, file name; "" for the next free OpenT2V_00001.mp4).

    Raises:
        FileExistsError: the named file is there already; a video is never overwritten.
    """
    if out is None:
        return pack.ROOT / "output", ""
    out = out.expanduser().resolve()
    if out.suffix.lower() != ".mp4" or out.is_dir():
        return out, ""
    if out.exists():
        raise FileExistsError(f"{out} exists already, and a video is never overwritten; choose another name")
    return out.parent, out.name


def put(file: Path, target: Path) -> Path:
    """Give a finished video the wanted name, unless somebody took it meanwhile; returns where the video is."""
    try:
        os.link(file, target)
    except FileExistsError:
        return file
    except OSError:  # a file system without hard links
        if target.exists():
            return file
        return file.rename(target)
    file.unlink()
    return target


def _stage(title: str, kind: str) -> str | None:
    return STAGES.get(kind)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"Run {WORKFLOW.name} on the bundled model and save a video.")
    parser.add_argument("--prompt", help="what the video shows, in English or Chinese")
    parser.add_argument("--negative", help="what it should not show")
    parser.add_argument("--seed", type=int, help="another seed, another video")
    parser.add_argument("--width", type=int, help="pixels; 0: the model's own")
    parser.add_argument("--height", type=int, help="pixels; 0: the model's own")
    parser.add_argument("--frames", type=int, help="length; 0: the model's own")
    parser.add_argument("--steps", type=int, help="more: slower and cleaner; 0: the model's own")
    parser.add_argument("--cfg", type=float, help="how strictly the prompt is followed; 0: the model's own")
    parser.add_argument(
        "--out", type=Path, help="a folder, or the name of a new .mp4 file (default: output/ in this pack)"
    )
    parser.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="run in this ComfyUI checkout instead of the embedded host"
    )
    console.add_common(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.guard(main))
