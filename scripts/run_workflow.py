"""Runs a workflow without ComfyUI: one that its page saved, in its API format, or inside a saved video or picture.

python3 scripts/run_workflow.py workflows/quickstart.json --set OpenT2VSampler.seed=7 --output videos
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import console
import embedded_run
import environment
import pack


def main() -> int:
    arguments = _parser().parse_args()
    is_carrier = embedded_run.is_carrier(arguments.file)
    text = "" if is_carrier else embedded_run.read(arguments.file)
    environment.ensure()
    pack.hide_scripts()
    if is_carrier:
        text = embedded_run.read_inside(arguments.file)
    outcome = embedded_run.run(
        text,
        arguments.changes,
        models=arguments.models,
        output=arguments.output,
        inputs=arguments.input,
        beside=arguments.file.parent,
        stages=console.Stages(sys.stderr),
    )
    for remark in outcome.remarks:
        console.say(remark)
    for file in outcome.files:
        console.say(f"saved {file}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a workflow made of this pack's nodes, without ComfyUI.")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a workflow saved by ComfyUI's page or exported for its API, or a saved video or picture with one inside",
    )
    parser.add_argument(
        "--set",
        dest="changes",
        metavar="NODE.INPUT=VALUE",
        action="append",
        default=[],
        help="change a value; NODE is an id, a title or a class name; give it once for each value",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="laid out like ComfyUI's models/; the bundled models are found anyway",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where saved files go (default: output/ in this pack)"
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="where the workflow's pictures, sounds and videos lie (default: input/ beside the output folder, else "
        "the workflow's own folder)",
    )
    console.add_common(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.guard(main))
