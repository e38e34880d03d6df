"""Train the LoRA with which the bundled model needs 4 steps at cfg 1: peft, on the shipped weights.

    python3 scripts/train.py few-steps --work WORK --out models/loras/opent2v-quickstart-4steps.safetensors

The teacher is the model itself with its own values: 20 steps, cfg 2.5, its negative prompt. Its states after every
fifth step are the student's goals (trajectory distillation): one Euler step of the student, without a second pass for
the negative prompt, has to lead where five guided steps of the teacher led from the same noise. Two thirds of the
clips of a training step are states that the student itself has reached, so it learns to correct its own errors; the
others are the teacher's states.

Only clips that show what their prompt says are goals: where the teacher draws another shape than it is asked for, the
student is not to copy it. A stopped run continues from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..base.few_steps import EULER, METADATA
from ..sampling import make_schedule, solve
from . import captions, export, latents, score, world
from .lessons import CHINESE
from .lora_run import LoraRun
from .outlines import PLAIN, embed, encode, negatives
from .train_lora import FOLDER, TARGETS, Adapted, Lots, add_beginning, begin, broad, peft, write
from .train_transformer import Pair

TITLE = "opent2v-quickstart-4steps"
STEPS = 4  # of the student
# Guidance pulls between two prompts, so the layers that read the prompt learn as well.
LAYERS = (*TARGETS, "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")
BATCH = 32  # clips that the teacher draws at a time
KEEP = 0.99  # share that the averaged weights keep at each step
OWN_STATES = 2 / 3  # share of the clips of a training step that the student itself has brought there


def levels() -> Tensor:
    """[STEPS + 1] noise levels of the student: the teacher's own after every fifth step, and 0."""
    return make_schedule(export.SCHEDULER, steps=export.OWN["steps"], shift=None).sigmas[
        :: export.OWN["steps"] // STEPS
    ]


def schedule_text() -> str:
    """What the file's header states under `METADATA`, so that samplers take it without being told."""
    sigmas = [round(sigma, 6) for sigma in levels()[:-1].tolist()]
    values = {"title": TITLE, "steps": STEPS, "cfg": 1, "shift": [export.SHIFT], "sigmas": sigmas, "solver": EULER}
    return json.dumps(values)


def trajectories(count: int, pair: Pair, scenes: list[world.Scene], space: latents.LatentSpace) -> dict[str, Tensor]:
    """What the teacher makes of random prompts of the scenes, where it draws what they say.

    Returns:
        ids [n, 32] of the prompts and states [n, STEPS + 1, 16, 9, 8, 8] in half precision, at the noise levels
        of `levels`; n is at most `count` rounded up to `BATCH`.
    """
    batches = [_batch(start, pair, negatives(pair), scenes, space) for start in range(0, count, BATCH)]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@torch.no_grad()
def _batch(start: int, pair: Pair, without: Tensor, scenes: list[world.Scene], space: latents.LatentSpace):
    dice, defaults = world.Dice(11_000_003 * (start + 1)), export.OWN
    language = "zh" if dice.uniform(0, 1) < CHINESE else "en"
    chosen = [dice.pick(scenes) for _ in range(BATCH)]
    is_plain = [dice.uniform(0, 1) < PLAIN for _ in chosen]
    texts = [
        captions.plain(scene, language) if plain else captions.caption(scene, dice, language)
        for scene, plain in zip(chosen, is_plain, strict=True)
    ]
    ids, negative = encode(texts), without[captions.LANGUAGES.index(language)]
    contexts = torch.cat([embed(pair, ids), negative.expand(BATCH, -1, -1)])
    states: list[Tensor] = []

    def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        states.append(x)
        flow = pair.transformer(torch.cat([x, x]), torch.cat([sigma, sigma]) * 1000, contexts, return_dict=False)[0]
        positive, negative = flow.chunk(2)
        return x - broad(sigma) * (negative + defaults["guidance"] * (positive - negative))

    noise = torch.randn((BATCH, *latents.SHAPE), generator=torch.Generator().manual_seed(6_000_000 + start))
    final = solve(denoise, noise, make_schedule(export.SCHEDULER, steps=defaults["steps"], shift=None))
    kept = [_is_right(clip, scene) for clip, scene in zip(space.decode(final).clamp(-1, 1), chosen, strict=True)]
    every = torch.stack([*states[:: defaults["steps"] // STEPS], final], 1)
    return {"ids": ids[torch.tensor(kept)], "states": every[torch.tensor(kept)].half()}


def _is_right(clip: Tensor, scene: world.Scene) -> bool:
    """Whether a clip shows the scene; rotation, which the teacher never draws, is not asked for."""
    right = score.measure(clip).right(scene)
    return all(is_right for name, is_right in right.items() if name != "motion" or scene.motion != "rotating")


def set_out(lots: Lots, count: int, pool: dict[str, Tensor], *, anywhere: bool = False) -> dict[str, Tensor]:
    """Trajectories at the teacher's states: clip [n], the number of its next step [n], x [n, 16, 9, 8, 8].

    Args:
        anywhere: before any of the steps; False: before the first, at the noise.
    """
    clip = lots.whole(len(pool["ids"]), count)
    step = lots.whole(STEPS, count) if anywhere else torch.zeros(count, dtype=torch.long)
    return {"clip": clip, "step": step, "x": pool["states"][clip, step].float()}


def go_on(way: dict[str, Tensor], flow: Tensor, lots: Lots, pool: dict[str, Tensor], sigmas: Tensor):
    """The student's trajectories one of its steps later; finished ones are replaced by new ones."""
    step = way["step"]
    x = way["x"] + broad(sigmas[step + 1] - sigmas[step]) * flow
    fresh, is_over = set_out(lots, len(step), pool), step + 1 == STEPS
    return {
        "clip": torch.where(is_over, fresh["clip"], way["clip"]),
        "step": torch.where(is_over, fresh["step"], step + 1),
        "x": torch.where(broad(is_over), fresh["x"], x),
    }


def loss_of(flow: Tensor, batch: dict[str, Tensor], pool: dict[str, Tensor], sigmas: Tensor) -> Tensor:
    """Squared error of the flow that leads to the teacher's next state, weighted by the length of the step.

    By the square of the length it would be the error of the state; but early steps, which are short, decide the motion.
    """
    step = batch["step"]
    length = sigmas[step] - sigmas[step + 1]
    goal = (batch["x"] - pool["states"][batch["clip"], step + 1].float()) / broad(length)
    return (broad(length) * (flow - goal).square()).mean()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for trajectories, checkpoints and the log")
    parser.add_argument("--out", type=Path, required=True, help="the LoRA file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model it is for")
    add_beginning(parser)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--batch", type=int, default=24, help="clips a step")
    parser.add_argument("--clips", type=int, default=1024, help="clips that the teacher draws before the first step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--bf16", action="store_true", help="train in mixed precision; faster where the CPU has bf16")
    parser.add_argument("--compile", action="store_true", help="a quarter faster; needs a C++ compiler")
    arguments = parser.parse_args(argv)
    peft()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(arguments.folder)
    drawn = arguments.work / f"trajectories_{arguments.clips}.safetensors"
    if arguments.compile:
        pair.transformer.compile()
    if not drawn.exists():
        save_file(trajectories(arguments.clips, pair, world.split()[0], latents.LatentSpace.load()), drawn)
    pool, sigmas = load_file(drawn), levels()
    adapted = Adapted(pair, LAYERS)
    weights = adapted.weights
    begin(weights, arguments)
    average = {name: w.detach().clone() for name, w in weights.items()}
    reached = round(arguments.batch * OWN_STATES)
    way = set_out(Lots(-1), reached, pool, anywhere=True)
    run = LoraRun(weights, arguments.work / "few_steps.pt", arguments, way=way, average=average)
    for step in run.steps(f"{len(pool['ids']):,} trajectories"):
        lots, way, average = Lots(step), run.carried["way"], run.carried["average"]
        others = set_out(lots, arguments.batch - reached, pool, anywhere=True)
        batch = {name: torch.cat([way[name], others[name]]) for name in way}
        context = embed(pair, pool["ids"][batch["clip"]])
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            flow = adapted(batch["x"], sigmas[batch["step"]], context, torch.ones(arguments.batch)).float()
        run.learn(step, loss_of(flow, batch, pool, sigmas))
        run.carried["way"] = go_on(way, flow.detach()[:reached], lots, pool, sigmas)
        keep = min(KEEP, (step + 1) / (step + 10))
        for name, weight in weights.items():
            average[name].lerp_(weight.detach(), 1 - keep)
        if run.end(step):
            write(average, arguments.out, TITLE, LAYERS, {METADATA: schedule_text()})
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
