"""Train the LoRA with which the bundled model draws outlines: peft, on the shipped weights, which stay as they are.

    python -m training.train_lora --work WORK --out models/loras/opent2v-quickstart-outline.safetensors

The clips are those of the world, drawn as outlines, each once, before the first step; a step is then a choice among
them, fixed by its number. A run that was stopped goes on from its checkpoint as if it had not been.

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
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import captions, latents, world
from .train_transformer import CHINESE, FLAWED, FRAMES, NO_PROMPT, Pair

FOLDER = Path(__file__).resolve().parent.parent / "models" / "diffusers" / "opent2v-quickstart"
# What the autoencoder draws best of a line and an empty inside, in shares of the frame: thinner lines become faint, and
# small shapes close. The line lies on the edge of the filled shape: the outline is larger by a part of it.
STROKE, OUTSIDE = 3.5 / 64, 1.5 / 64
# The noise at which a filled shape begins to become an outline, and that at which it is one.
BEGIN, END = 0.7, 0.15
RANK = 16
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
NAMED = 0.5  # share of the captions that name the style
STRONGER = 0.1  # share of the steps at a strength between 1 and 2, so that too much of it does not spoil the picture
HIGH = 0.12  # share of the noise levels above `BEGIN`, where the LoRA has to leave the base as it is


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


def path(filled: Tensor, outlined: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(latents, flow) at noise shares t [B], on a way from noise to the outline that passes by the filled shape.

    (1 - t) z(t) + t noise, where z turns from filled to outlined between `BEGIN` and `END`, and its derivative by t.
    """
    t = t.view(-1, 1, 1, 1, 1)
    turned = ((BEGIN - t) / (BEGIN - END)).clamp(0, 1)
    share = turned**2 * (3 - 2 * turned)
    slope = -6 * turned * (1 - turned) / (BEGIN - END)
    change = outlined - filled
    clean = filled + share * change
    return (1 - t) * clean + t * noise, noise - clean + (1 - t) * slope * change


def batch(step: int, size: int, pool: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """(latents, flow, t, ids, strength) for one step, from its number alone."""
    generator = torch.Generator().manual_seed(1_000_003 * (step + 1))
    chosen = torch.randint(len(pool["ids"]), (size,), generator=generator)
    filled, outlined = pool["filled"][chosen].float(), pool["outlined"][chosen].float()
    noise = torch.randn(filled.shape, generator=generator)
    u = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    t = torch.where(u < 1 - HIGH, u / (1 - HIGH) * BEGIN, 1 - (1 - u) / HIGH * (1 - BEGIN))
    lot, more = torch.rand(2, generator=generator).tolist()
    strength = 1 + more if lot < STRONGER else 1.0
    return *path(filled, outlined, noise, t), t, pool["ids"][chosen], strength


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


def export(weights: dict[str, Tensor], out: Path) -> None:
    """Write the adapter in half precision, with the names diffusers gives and a description in the header."""
    named = {
        f"transformer.{name.replace('.default', '')}": w.detach().half().contiguous() for name, w in weights.items()
    }
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
    save_file(named, out, about)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for clips, checkpoints and the log")
    parser.add_argument("--out", type=Path, required=True, help="the LoRA file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model it is for")
    parser.add_argument("--steps", type=int, default=4400)
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--save-every", type=int, default=250)
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(arguments.folder)
    weights = adapted(pair)
    solver = torch.optim.AdamW(weights.values(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.0)
    drawn = arguments.work / f"clips_{arguments.clips}.safetensors"
    if not drawn.exists():
        save_file(clips(arguments.clips, world.split()[0], latents.LatentSpace.load()), drawn)
    pool = load_file(drawn)
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
        noisy, flow, t, ids, strength = batch(step, arguments.batch, pool)
        pair.transformer.set_adapters("default", strength)
        with torch.no_grad():
            context = pair.embed(ids, ids != pair.text_encoder.config.pad_token_id)
        found = pair.transformer(noisy, t * 1000, context, return_dict=False)[0]
        loss = (found - flow).square().mean()
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
    export(weights, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
