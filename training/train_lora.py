"""Train the LoRA with which the bundled model draws outlines: peft, on the shipped weights, which stay as they are.

    python3 scripts/train.py lora --work WORK --out models/loras/opent2v-quickstart-outline.safetensors

At high noise the base model decides what is drawn. Below a noise level the LoRA turns its prediction into an outline
(`outlines`). It is trained on its own trajectories: a set of clips is being sampled all the time, every training step
is also a sampling step of theirs with the current LoRA and guidance, and the target is the outline from wherever the
step leads. So the LoRA meets its own errors and learns to correct them. A LoRA that was trained on true clips alone
could complete half of an outline, but could not continue its own first strokes.

The tokenizer knows none of the words "outline", "drawing", 轮廓 or 画, and all unknown words look the same to the text
encoder. So the style comes from the LoRA alone: some of the prompts name it, and the others, which must do as well,
do not. A stopped run continues from its checkpoint with the same result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import captions, export, latents, world
from .lora_run import LoraRun
from .outlines import TURN, clips, embed, negatives, straightened, take_of
from .start import carry_over_lora
from .train_transformer import Pair

FOLDER = Path(__file__).resolve().parent.parent / "models" / "diffusers" / "opent2v-quickstart"
RANK = 24
# The outline of a shape does not depend on the prompt, so cross-attention stays unchanged. The LoRA adapts the layers
# that read the noise level and those that draw.
TARGETS = (
    "attn1.to_q",
    "attn1.to_k",
    "attn1.to_v",
    "attn1.to_out.0",
    "ffn.net.0.proj",
    "ffn.net.2",
    "condition_embedder.time_proj",
    "proj_out",
)
# Sixths of a step's clips: trajectories under way, clips with more noise than `TURN`, and mixtures of filled shape and
# outline.
UNDER_WAY, EARLY, BETWEEN = 3, 2, 1
SIXTHS = UNDER_WAY + EARLY + BETWEEN
# Noise levels at which a trajectory's target is recomputed as the outline nearest to its current clean prediction. With
# a fixed target the loss would penalise errors that can no longer be corrected, and the LoRA would learn an average of
# outlines.
AIM_AGAIN = (0.55, 0.42, 0.27)
# Range of strengths in training. Results are worst at its ends, so what users take lies inside.
LEAST, MOST = 0.9, 2.3
# The strength in training at which the written file's 1 lies: after few steps lines are firmer there than at 1, and
# nearly as many shapes and motions are right.
USUAL = 1.4
TRAINED = "trained_strength"  # entry of the header that says so
# Shares of clips with a strength between the two, and with a negative strength, which must leave the base unchanged;
# all other clips have the lowest strength.
STRONGER, NEGATIVE = 0.6, 0.05
# The outline grows by this share per 1 of strength above a half, which leaves more ground inside, so that strength 2
# looks different from strength 1.
WIDER = 0.11
PACE = (0.7, 1.5)  # of the trajectories, in steps of the model's default number
# weights of the errors under guidance, of the positive prompt alone, and of the negative prompt alone
WEIGHTS = (1.0, 0.5, 0.1)
# Weight of the errors above `TURN`. They are small, but these steps decide the motion, step by step.
EARLY_WEIGHT = 6.0


class Lots:
    """Random numbers of one training step, from its number alone."""

    def __init__(self, step: int):
        self._generator = torch.Generator().manual_seed(1_000_003 * (step + 1))

    def uniform(self, low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self._generator)

    def whole(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def strengths(self, count: int, *, negative: float = 0.0) -> Tensor:
        """`LEAST`, or between it and `MOST`, more of them high, or with the given share between -1 and 0."""
        lot, more = self.uniform(0, 1, count), self.uniform(0, 1, count)
        high = LEAST + (MOST - LEAST) * more.sqrt()
        least = torch.full((count,), LEAST)
        return torch.where(lot < STRONGER, high, torch.where(lot > 1 - negative, -more, least))


def broad(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1, 1]"""
    return values.view(-1, 1, 1, 1, 1)


def later(t: Tensor, pace: Tensor) -> Tensor:
    """The share of noise one step of the model's own schedule on, `pace` times as long; 0 or less: it is over.

    >>> later(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0]))
    tensor([0.9828, 0.4286])
    """
    shift = export.SHIFT
    even = t / (shift - (shift - 1) * t) - pace / export.OWN["steps"]
    return shift * even / (1 + (shift - 1) * even)


def set_out(lots: Lots, count: int, pool: dict[str, Tensor]) -> dict[str, Tensor]:
    """New trajectories from states of the base: index in the pool, x, t, goal, strength, pace."""
    clip = lots.whole(len(pool["ids"]), count)
    # Three quarters start at the first state below the turn, the others at the second.
    place = (lots.uniform(0, 1, count) < 0.25).long()
    strength = lots.strengths(count, negative=NEGATIVE)
    return {
        "clip": clip,
        "x": pool["late_x"][clip, place].float(),
        "t": pool["late_t"][clip, place],
        "goal": torch.where(broad(strength) < 0, pool["filled"][clip], pool["outlined"][clip]).float(),
        "strength": strength,
        "pace": lots.uniform(*PACE, count),
    }


def go_on(
    way: dict[str, Tensor], flow: Tensor, lots: Lots, pool: dict[str, Tensor], space: latents.LatentSpace
) -> dict[str, Tensor]:
    """The trajectories after one step along the flow; finished ones are replaced by new ones."""
    t, then = way["t"], later(way["t"], way["pace"])
    moved = {**way, "x": way["x"] + broad(then - t) * flow, "t": then, "goal": way["goal"].clone()}
    for i, strength in enumerate(way["strength"].tolist()):
        if strength > 0 and any(then[i] < place <= t[i] for place in AIM_AGAIN):
            expected = space.decode((way["x"][i] - t[i] * flow[i])[None]).clamp(-1, 1)[0]
            nearest = straightened(expected, take_of(pool, int(way["clip"][i])), 1 + WIDER * (strength - 0.5))
            if nearest is not None:
                moved["goal"][i] = space.encode(world.render([nearest], latents.SIZE, latents.FRAMES))[0]
    # A trajectory ends when less than half a step is left, since the sampler's last step goes to 0.
    is_over = later(then, way["pace"] / 2) <= 0
    fresh = set_out(lots, len(then), pool)
    return {name: torch.where(is_over.view(-1, *[1] * (v.dim() - 1)), fresh[name], v) for name, v in moved.items()}


def lesson(way: dict[str, Tensor], lots: Lots, pool: dict[str, Tensor]) -> dict[str, Tensor]:
    """The training batch of one step: three kinds of clips, one after another.

    Returns:
        clip, t and strength [B]; x [B, 16, 9, 8, 8]; positive and negative: the flows to be learned for the two
        prompts, as x.
    """
    share = len(way["clip"]) // UNDER_WAY
    to_goal = (way["x"] - way["goal"]) / broad(way["t"])
    kinds = [{**way, "positive": to_goal, "negative": to_goal}]

    clip, place = lots.whole(len(pool["ids"]), share * EARLY), lots.whole(pool["early_t"].shape[1], share * EARLY)
    early = {name: pool[f"early_{name}"][clip, place].float() for name in ("x", "t", "positive", "negative")}
    kinds.append({**early, "clip": clip, "strength": lots.strengths(len(clip), negative=NEGATIVE)})

    clip, t = lots.whole(len(pool["ids"]), share * BETWEEN), lots.uniform(0.02, TURN, share * BETWEEN)
    # A trajectory that moves linearly from t = TURN to the outline still contains this share of the filled shape at t;
    # others contain more.
    least = t / (1 - t) * (1 - TURN) / TURN
    part = least + (1 - least) * 0.8 * lots.uniform(0, 1, len(clip))
    # Every second clip lies on the line from noise to the true outline.
    part = torch.where(torch.arange(len(clip)) % 2 == 1, 0.0, part)
    outlined = pool["outlined"][clip].float()
    shown = outlined + broad(part) * (pool["filled"][clip].float() - outlined)
    x = shown + broad(t) * (lots.normal(*shown.shape) - shown)
    flow = (x - outlined) / broad(t)
    kinds.append({"clip": clip, "t": t, "x": x, "positive": flow, "negative": flow})
    kinds[-1]["strength"] = torch.full((len(clip),), LEAST)
    return {name: torch.cat([kind[name] for kind in kinds]) for name in kinds[-1]}


def guided(positive: Tensor, negative: Tensor, cfg: Tensor) -> Tensor:
    return negative + broad(cfg) * (positive - negative)


def loss_of(flows: tuple[Tensor, Tensor], targets: dict[str, Tensor], cfg: Tensor) -> Tensor:
    """Errors of the flow, weighted by the square of t: those of the clip that is expected to come out; early ones more.

    What is wrong by then can hardly be made good where little noise is left, and would drown everything else in a loss
    that counted it as flow.
    """
    share = broad(targets["t"].square() * torch.where(targets["t"] > TURN, EARLY_WEIGHT, 1.0))
    positive, negative = (a - targets[name] for a, name in zip(flows, ("positive", "negative"), strict=True))
    errors = (guided(positive, negative, cfg), positive, negative)
    squares = [(share * error.square()).mean() for error in errors]
    return sum((weight * square for weight, square in zip(WEIGHTS, squares, strict=True)), torch.zeros(()))


def peft():
    """(LoraConfig, LoraLayer) of peft."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise SystemExit("training a LoRA needs peft: pip install peft") from error
    return LoraConfig, LoraLayer


class Adapted:
    """The pair's transformer with an adapter on it, each clip at a strength of its own."""

    def __init__(self, pair: Pair, targets: Sequence[str] = TARGETS):
        LoraConfig, LoraLayer = peft()
        pair.requires_grad_(False)
        # alpha = rank, so that a reader without support for alpha applies the same scale.
        pair.transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(targets)))
        self.transformer = pair.transformer
        self.weights = {name: p for name, p in pair.transformer.named_parameters() if p.requires_grad}
        self._layers = {name: m for name, m in pair.transformer.named_modules() if isinstance(m, LoraLayer)}
        self._strength = torch.zeros(0)

    def __call__(self, x: Tensor, t: Tensor, context: Tensor, strength: Tensor) -> Tensor:
        """Flow at latents [B, 16, 9, 8, 8], t [B], context [B, 32, 96], strength [B]."""
        # peft multiplies by this tensor. It is always the same object, so a compiled transformer is not compiled again.
        if len(self._strength) != len(strength):
            self._strength = strength.clone()
            for name, layer in self._layers.items():
                # The embedding of the noise level has no tokens: [B, D]; the other inputs are [B, L, D].
                layer.scaling["default"] = self._strength.view(-1, *[1] * (1 if name.endswith("time_proj") else 2))
        self._strength.copy_(strength)
        return self.transformer(x, t * 1000, context, return_dict=False)[0]


def named(parameter: str) -> str:
    """What diffusers calls the adapter's parameter in a LoRA file."""
    return f"transformer.{parameter.replace('.default', '')}"


def write(
    weights: Mapping[str, Tensor],
    out: Path,
    title: str = "opent2v-quickstart, as an outline drawing",
    targets: Sequence[str] = TARGETS,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the adapter in half precision, with the names diffusers gives and a description in the header.

    Args:
        metadata: further entries of the header's metadata.
    """
    tensors = {named(name): w.detach().half().contiguous() for name, w in weights.items()}
    adapter = {"r": RANK, "lora_alpha": RANK, "target_modules": list(targets), "peft_type": "LORA"}
    about = {
        "format": "pt",
        "title": title,
        "base_model": "opent2v-quickstart",
        "rank": str(RANK),
        "alpha": str(RANK),
        "license": "apache-2.0",
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in adapter.items()}),
        **(metadata or {}),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, about)


def stronger(weights: Mapping[str, Tensor], times: float) -> dict[str, Tensor]:
    """The adapter that at strength 1 does what this one does at `times`."""
    return {name: w.detach().float() * (times if ".lora_B." in name else 1) for name, w in weights.items()}


def add_beginning(parser: argparse.ArgumentParser) -> None:
    """The options that `begin` reads."""
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument("--start", type=Path, help="begin with the weights of this LoRA")
    beginning.add_argument("--start-before", type=Path, help="the same, of a LoRA of the generation before")


def begin(weights: Mapping[str, Tensor], arguments: argparse.Namespace) -> None:
    """Begin with the weights of another LoRA, where one is named; layers that it lacks keep their own."""
    file = arguments.start_before or arguments.start
    if not file:
        return
    space = latents.LatentSpace.load()
    started = carry_over_lora(file, space) if arguments.start_before else load_file(file)
    with safe_open(file, "pt") as opened:
        started = stronger(started, 1 / float((opened.metadata() or {}).get(TRAINED, 1)))
    if unknown := sorted(started.keys() - {named(name) for name in weights}):
        raise SystemExit(
            f"{file}: {len(unknown)} of {len(started)} tensors are of no layer that is trained here, "
            f"first {unknown[0]}; --start takes a LoRA that this script wrote"
        )
    for name, weight in weights.items():
        if named(name) in started:
            weight.data.copy_(started[named(name)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for clips, checkpoints and the log")
    parser.add_argument("--out", type=Path, required=True, help="the LoRA file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model it is for")
    add_beginning(parser)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--batch", type=int, default=24, help="clips a step, a multiple of 6")
    parser.add_argument("--clips", type=int, default=3072, help="clips that the base draws before the first step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--compile", action="store_true", help="a quarter faster; needs a C++ compiler")
    arguments = parser.parse_args(argv)
    if arguments.batch % SIXTHS:
        parser.error(f"--batch {arguments.batch} is no multiple of {SIXTHS}")
    peft()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(arguments.folder)
    drawn = arguments.work / f"clips_{arguments.clips}.safetensors"
    space = latents.LatentSpace.load()
    if not drawn.exists():
        save_file(clips(arguments.clips, pair, world.split()[0], space), drawn)
    pool = load_file(drawn)
    adapted = Adapted(pair)
    weights = adapted.weights
    begin(weights, arguments)
    if arguments.compile:
        pair.transformer.compile()
    without, share = negatives(pair), arguments.batch // SIXTHS
    way = set_out(Lots(-1), share * UNDER_WAY, pool)
    run = LoraRun(weights, arguments.work / "lora.pt", arguments, way=way)
    for step in run.steps(f"{len(pool['ids']):,} clips"):
        lots, way = Lots(step), run.carried["way"]
        drawn = lesson(way, lots, pool)
        clip, x, t, strength = (drawn[name] for name in ("clip", "x", "t", "strength"))
        context = torch.cat([embed(pair, pool["ids"][clip]), without[pool["language"][clip]]])
        cfg = pool["cfg"][clip]
        flows = adapted(*(torch.cat([v, v]) for v in (x, t)), context, torch.cat([strength, strength])).chunk(2)
        run.learn(step, loss_of(flows, drawn, cfg))
        count = len(way["t"])
        run.carried["way"] = go_on(way, guided(*flows, cfg).detach()[:count], lots, pool, space)
        run.end(step)
    write(stronger(weights, USUAL), arguments.out, metadata={TRAINED: f"{USUAL:g}"})
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
