"""Train the next bundled model from nothing, or go on: python3 scripts/train.py quickstart --work FOLDER [--out FOLDER]

VAE and transformer take turns, so that pictures can be looked at early; each goes on from its checkpoint in the work
folder, whenever the command was stopped. One run sees what every other run sees: data and first weights come from
fixed seeds. `--look` measures and draws what there is, and trains nothing.
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path

import torch

from . import captions, evaluate, train_transformer, train_vae, world
from .export import export
from .latents import LatentSpace
from .machine import reuse_memory

# (part, share of its steps to go on to): the decoder is good enough to look through long before it is done.
TURNS = (("vae", 0.16), ("transformer", 0.025), ("vae", 0.4), ("transformer", 0.1), ("vae", 1.0), ("transformer", 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--out", type=Path, help="write the model folder here when training is done (or with --look)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--vae-steps", type=int, help="length of the VAE's schedule")
    parser.add_argument("--transformer-steps", type=int, help="length of the transformer's schedule")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw clips ahead, beside a GPU")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 for the transformer, where the processor has it")
    parser.add_argument("--start", type=Path, help="the model folder of the generation before, for first weights")
    parser.add_argument("--look", action="store_true", help="train nothing: measure what there is, and draw a sheet")
    parser.add_argument("--limit", type=int, default=100, help="held-out scenes that are measured (default 100)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reuse_memory()
    began = time.time()
    if not arguments.look:
        parts = {
            "vae": (train_vae.train, arguments.vae_steps or train_vae.STEPS),
            "transformer": (
                functools.partial(train_transformer.train, bf16=arguments.bf16, start=arguments.start),
                arguments.transformer_steps or train_transformer.STEPS,
            ),
        }
        for part, share in TURNS:
            train, steps = parts[part]
            train(
                arguments.work,
                steps=steps,
                stop=round(share * steps),
                device=arguments.device,
                workers=arguments.workers,
            )
    print(f"trained for {(time.time() - began) / 60:.0f} minutes in this run")
    look(arguments)


def look(arguments) -> None:
    """Export, measure and draw what the work folder holds."""
    out = arguments.out or arguments.work / "model"
    export(arguments.work, out)
    print(f"{out}: {sum(p.stat().st_size for p in out.rglob('*') if p.is_file()) / 1e6:.2f} MB")
    space = LatentSpace.of(arguments.work)
    print("vae", train_vae.check(train_vae.export_vae(arguments.work / "vae.pt", space), space, 20))
    scenes, source = world.split()[1][: arguments.limit], evaluate.from_folder(out)
    for pictures in (False, True):
        records, shown = [], []
        for language in captions.LANGUAGES:
            for record, video in evaluate.evaluate(source, scenes, language, pictures=pictures):
                records.append(record)
                if language == "en" and len(shown) < 24:
                    shown.append(video)
        print("from a first picture" if pictures else "from words")
        print(evaluate.report(records))
        evaluate.save_sheet(shown, arguments.work / ("pictures.png" if pictures else "words.png"))
