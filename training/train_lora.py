"""Train the LoRA with which the bundled model draws outlines: peft, on the shipped weights, which stay as they are.

    python -m training.train_lora --work WORK --out models/loras/opent2v-quickstart-outline.safetensors

The clips are those of the world, drawn as outlines, each once, before the first step; a step is then a choice among
them, fixed by its number. A run that was stopped goes on from its checkpoint as if it had not been.

What is drawn is left to the base, which is at work while there is much noise. From there on the LoRA learns where to go
from where its own steps have led it, so that it can make good its own faults. One that had only seen true clips could
not: from half of an outline it made a whole one, but not from its own first strokes.

The tokenizer knows none of the words "outline", "drawing", 轮廓 or 画, and all unknown words look the same to the text
encoder. So the style comes from the LoRA alone: half of the captions name it, and the others, which must do as well,
do not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import captions, export, latents, world
from .train_transformer import CHINESE, FLAWED, FRAMES, NO_PROMPT, Pair

FOLDER = Path(__file__).resolve().parent.parent / "models" / "diffusers" / "opent2v-quickstart"
# What the autoencoder draws best of a line and an empty inside, in shares of the frame: thinner lines become faint, and
# small shapes close. The line lies on the edge of the filled shape, and most of it outside.
STROKE, OUTSIDE = 4.5 / 64, 3 / 64
# Above this share of noise the LoRA leaves the base as it is; below, an outline is what is to come out.
TURN = 0.62
RANK = 24
# What a shape becomes does not depend on the words: the attention to them stays as it is.
TARGETS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ffn.net.0.proj", "ffn.net.2")
NAMED = 0.5  # share of the captions that name the style
STRONGER = 0.15  # share of the steps at a strength between 1 and 2, so that too much of it does not spoil the picture
HIGH, TRUE = 0.2, 0.2  # shares of a step's clips with more noise than `TURN`, and on the line to the true outline
STEPS = (0.25, 0.2, 0.2, 0.2, 0.15)  # how often the LoRA's own 0, 1, 2, 3, 4 steps come before the one that is learned
GUIDED = 0.5  # how often those are under guidance, as much as the model is used with


def outline(one: world.Take) -> world.Take:
    """The same take, drawn as an outline."""
    first, last = one.radius
    return replace(one, radius=(first + OUTSIDE, last + OUTSIDE), stroke=STROKE)


def clips(count: int, scenes: list[world.Scene], space: latents.LatentSpace) -> dict[str, Tensor]:
    """Clips and captions to learn from: latents, filled and as outlines, [count, 16, 5, 8, 8] in half precision, and
    ids [count, 32]."""
    tokens = captions.tokenizer()
    filled, outlined, ids = [], [], []
    for start in range(0, count, 64):
        takes, texts = [], []
        for number in range(start, min(start + 64, count)):
            dice = world.Dice(7_000_003 * (number + 1))
            one = world.drawn(dice, scenes, FLAWED)
            takes.append(one)
            language = "zh" if dice.uniform(0, 1) < CHINESE else "en"
            text = captions.caption(one.scene, dice, language, one.flaw)
            if dice.uniform(0, 1) < NAMED:
                text += captions.OUTLINE[language]
            texts.append("" if dice.uniform(0, 1) < NO_PROMPT and not one.flaw else text)
        filled.append(space.encode(world.render(takes, latents.SIZE, FRAMES)).half())
        outlined.append(space.encode(world.render([outline(t) for t in takes], latents.SIZE, FRAMES)).half())
        encoded = tokens(texts, padding="max_length", truncation=True, max_length=captions.MAX_TOKENS)
        ids.append(torch.tensor(encoded.input_ids))
    return {"filled": torch.cat(filled), "outlined": torch.cat(outlined), "ids": torch.cat(ids)}


@dataclass(frozen=True)
class Lesson:
    """What one step learns from.

    Attributes:
        latents: [B, 16, 5, 8, 8], with as much noise as `t` [B] says.
        goal: the clip that is to come out.
        ids: of the captions, [B, 32].
        still: how many clips at the front do not take part in the LoRA's own steps that come before.
        ratios: by which t falls in each of those, for the others [steps, B - still].
        is_guided: whether those are under guidance.
    """

    latents: Tensor
    t: Tensor
    goal: Tensor
    ids: Tensor
    strength: float
    still: int
    ratios: Tensor
    is_guided: bool


def lesson(step: int, size: int, pool: dict[str, Tensor]) -> Lesson:
    """That of a step, drawn from its number alone."""
    generator = torch.Generator().manual_seed(1_000_003 * (step + 1))

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    chosen = torch.randint(len(pool["ids"]), (size,), generator=generator)
    filled, outlined = pool["filled"][chosen].float(), pool["outlined"][chosen].float()
    noise = torch.randn(filled.shape, generator=generator)
    # The filled shape, with as much noise as where the turn may be; most clips of a step begin so.
    t, goal, shown = uniform(0.4, TURN, size), outlined.clone(), filled.clone()
    high, true = round(HIGH * size), round(TRUE * size)
    t[:high], goal[:high] = uniform(TURN, 1, high), filled[:high]
    t[high : high + true], shown[high : high + true] = uniform(0.02, TURN, true), outlined[high : high + true]
    ratios = uniform(0.55, 0.9, len(STEPS) - 1, size)[:, high + true :]
    lot, more, count, guided = uniform(0, 1, 4).tolist()
    steps = sum(count > share for share in torch.tensor(STEPS).cumsum(0)[:-1].tolist())
    mix = t.view(-1, 1, 1, 1, 1)
    return Lesson(
        latents=(1 - mix) * shown + mix * noise,
        t=t,
        goal=goal,
        ids=pool["ids"][chosen],
        strength=1 + more if lot < STRONGER else 1.0,
        still=high + true,
        ratios=ratios[:steps],
        is_guided=guided < GUIDED,
    )


@torch.no_grad()
def walked(flow: Callable[[Tensor, Tensor, slice, bool], Tensor], given: Lesson) -> tuple[Tensor, Tensor]:
    """(latents, t) after the LoRA's own steps: what it will meet when it samples, with its own faults in it."""
    rows, x, t = slice(given.still, None), given.latents.clone(), given.t.clone()
    for ratio in given.ratios:
        moved = flow(x[rows], t[rows], rows, given.is_guided)
        x[rows] += ((ratio - 1) * t[rows]).view(-1, 1, 1, 1, 1) * moved
        t[rows] *= ratio
    return x, t


def adapted(pair: Pair) -> dict[str, nn.Parameter]:
    """Freeze the pair, put an adapter on the transformer and return its weights by name."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise SystemExit("training a LoRA needs peft: pip install peft") from error
    pair.requires_grad_(False)
    # alpha = rank: a reader that does not know alpha applies the same.
    pair.transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(TARGETS)))
    return {name: p for name, p in pair.transformer.named_parameters() if p.requires_grad}


def named(parameter: str) -> str:
    """What diffusers calls the adapter's parameter in a LoRA file."""
    return f"transformer.{parameter.replace('.default', '')}"


def write(weights: dict[str, Tensor], out: Path) -> None:
    """Write the adapter in half precision, with the names diffusers gives and a description in the header."""
    tensors = {named(name): w.detach().half().contiguous() for name, w in weights.items()}
    adapter = {"r": RANK, "lora_alpha": RANK, "target_modules": list(TARGETS), "peft_type": "LORA"}
    about = {
        "format": "pt",
        "title": "opent2v-quickstart, as an outline drawing",
        "base_model": "opent2v-quickstart",
        "rank": str(RANK),
        "alpha": str(RANK),
        "license": "apache-2.0",
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in adapter.items()}),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, about)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for clips, checkpoints and the log")
    parser.add_argument("--out", type=Path, required=True, help="the LoRA file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model it is for")
    parser.add_argument("--start", type=Path, help="begin with the weights of this LoRA")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250)
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(arguments.folder)
    weights = adapted(pair)
    if arguments.start:
        started = load_file(arguments.start)
        for name, weight in weights.items():
            weight.data.copy_(started[named(name)])
    solver = torch.optim.AdamW(weights.values(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.0)
    drawn = arguments.work / f"clips_{arguments.clips}.safetensors"
    if not drawn.exists():
        save_file(clips(arguments.clips, world.split()[0], latents.LatentSpace.load()), drawn)
    pool = load_file(drawn)

    @torch.no_grad()
    def embedded(ids: Tensor) -> Tensor:
        return pair.embed(ids, ids != pair.text_encoder.config.pad_token_id)

    said = captions.tokenizer()([export.OWN["negative"]], padding="max_length", max_length=captions.MAX_TOKENS)
    negative, cfg = embedded(torch.tensor(said.input_ids)), export.OWN["guidance"]
    first, checkpoint = 0, arguments.work / "lora.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, weight in weights.items():
            weight.data.copy_(state["weights"][name])
        solver.load_state_dict(state["solver"])
        first = state["step"]
    print(f"{sum(w.numel() for w in weights.values()):,} parameters, from step {first}", flush=True)
    began, losses, last = time.time(), [], min(arguments.steps, arguments.stop or arguments.steps)
    for step in range(first, last):
        # Warm up over 50 steps, hold, then fall linearly over the last half.
        share = step / arguments.steps
        factor = min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (1 - share) / 0.5))
        solver.param_groups[0]["lr"] = arguments.rate * factor
        given = lesson(step, arguments.batch, pool)
        pair.transformer.set_adapters("default", given.strength)
        positive = embedded(given.ids)

        def flow(x: Tensor, t: Tensor, rows: slice, is_guided: bool, positive: Tensor = positive) -> Tensor:
            found = pair.transformer(x, t * 1000, positive[rows], return_dict=False)[0]
            if not is_guided:
                return found
            without = pair.transformer(x, t * 1000, negative.expand(len(x), -1, -1), return_dict=False)[0]
            return without + cfg * (found - without)

        noisy, t = walked(flow, given)
        mix = t.view(-1, 1, 1, 1, 1)
        # Weighted by t as the base's own training: the flow at little noise holds the last detail only.
        error = flow(noisy, t, slice(None), False) - (noisy - given.goal) / mix
        loss = (mix * error.square()).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        solver.step()
        solver.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"step {step}: the loss is {losses[-1]}; try a smaller --rate")
        if (step + 1) % 50 == 0:
            line = {"step": step + 1, "loss": round(sum(losses) / len(losses), 5), "s": round(time.time() - began, 1)}
            print(json.dumps(line), flush=True)
            losses = []
        if (step + 1) % arguments.save_every == 0 or step + 1 == last:
            state = {"weights": {n: w.detach() for n, w in weights.items()}, "solver": solver.state_dict()}
            torch.save(state | {"step": step + 1}, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    write(weights, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
