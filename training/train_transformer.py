"""Train the bundled transformer and its text encoder, together, on the fixed latent space.

Every batch is drawn from the step number alone, so a run resumed from a checkpoint sees the same data as one
that was never stopped.

    python3 scripts/train.py transformer --steps 20000 --work PATH [--device cuda]

`--start models/diffusers/opent2v-quickstart` goes on from the shipped weights, with fresh solvers;
`--data-from` with a step that was not reached before gives it new clips.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from . import captions, latents, world

FRAMES = 17
TRANSFORMER = dict(
    patch_size=(1, 2, 2),
    num_attention_heads=4,
    attention_head_dim=48,
    in_channels=latents.CHANNELS,
    out_channels=latents.CHANNELS,
    text_dim=96,
    freq_dim=128,
    ffn_dim=512,
    num_layers=6,
    cross_attn_norm=True,
    qk_norm="rms_norm_across_heads",
    rope_max_seq_len=64,
)
TEXT = dict(
    d_model=96,
    d_kv=24,
    d_ff=256,
    num_layers=2,
    num_heads=4,
    relative_attention_num_buckets=16,
    relative_attention_max_distance=32,
    dropout_rate=0.0,
    feed_forward_proj="gated-gelu",
    is_encoder_decoder=False,
    use_cache=False,
    pad_token_id=0,
    eos_token_id=1,
)
NO_PROMPT, FLAWED, CHINESE = 0.10, 0.06, 0.4
TRAIN_SHIFT = 2.5


class Pair(nn.Module):
    """Transformer and text encoder: what is trained and averaged together."""

    def __init__(self, vocabulary: int):
        from diffusers import WanTransformer3DModel
        from transformers import UMT5Config, UMT5EncoderModel

        super().__init__()
        self.transformer = WanTransformer3DModel(**TRANSFORMER)
        self.text_encoder = UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, **TEXT))

    def load_folder(self, folder: Path) -> None:
        """Take over the weights of an exported model folder."""
        for part in ("transformer", "text_encoder"):
            module = getattr(self, part)
            module.load_state_dict(type(module).from_pretrained(folder / part, torch_dtype=torch.float32).state_dict())

    def embed(self, ids, mask):
        """Token ids and mask [B, 32] -> [B, 32, 96], exact zeros behind the end, as WanPipeline pads."""
        hidden = self.text_encoder(ids, mask).last_hidden_state
        return hidden * mask[..., None]

    def forward(self, x, t, ids, mask):
        """Latents [B, 16, T, 8, 8] at noise share t [B] -> flow (noise - clean), same shape."""
        return self.transformer(x, t * 1000, self.embed(ids, mask), return_dict=False)[0]


class Guides(nn.Module):
    """Linear heads on an early block, for training only: they ask every token what is drawn and where.

    A prompt's colour is learned at once, but its shape and motion act only together with the picture, and the plain
    loss takes very long to find that. The heads make the cross-attention fetch these words and the tokens agree on
    the place; the transformer that is kept does not contain them.
    """

    BLOCK = 2
    WEIGHTS = (0.05, 0.05, 0.25)  # shape, motion, place

    def __init__(self, width: int):
        super().__init__()
        self.shape = nn.Linear(width, len(world.SHAPES))
        self.motion = nn.Linear(width, len(world.MOTIONS))
        self.place = nn.Linear(width, 3)

    def forward(self, hidden: Tensor, takes: list[world.Take], prompted: Tensor) -> Tensor:
        """Loss for hidden states [B, tokens, width]; `prompted` [B] is 1 where a clean prompt was given, else 0."""
        device = hidden.device
        labels = [
            torch.tensor([names.index(getattr(t.scene, key)) for t in takes], device=device)
            for key, names in (("shape", world.SHAPES), ("motion", world.MOTIONS))
        ]
        total = hidden.new_zeros(())
        for head, label, weight in zip((self.shape, self.motion), labels, self.WEIGHTS[:2], strict=True):
            scores = head(hidden)
            target = label[:, None].expand(scores.shape[:2])
            error = nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none")
            total = total + weight * (error.view(target.shape).mean(1) * prompted).sum() / prompted.sum().clamp(min=1)
        target = where(takes, hidden.shape[1]).to(device)
        return total + self.WEIGHTS[2] * nn.functional.smooth_l1_loss(self.place(hidden), target, beta=0.05)


def where(takes: list[world.Take], tokens: int, frames: int = FRAMES) -> Tensor:
    """For every token: way to the shape's centre (x, y) and its radius, as shares of the frame. [B, tokens, 3]"""
    ramp = torch.linspace(0, 1, frames)
    groups = torch.cat([ramp[:1], ramp[1:].view(-1, latents.STRIDE).mean(1)])  # [latent frames]
    ends = torch.tensor([[t.x, t.y, t.radius] for t in takes])  # [B, 3, 2]
    track = ends[..., :1] + (ends[..., 1:] - ends[..., :1]) * groups  # [B, 3, T]
    side = math.isqrt(tokens // len(groups))
    centre = (torch.arange(side) + 0.5) / side
    place = track.transpose(1, 2)[:, :, None, None].expand(-1, -1, side, side, -1).clone()  # [B, T, h, w, 3]
    place[..., 0] -= centre.view(1, 1, 1, -1)
    place[..., 1] -= centre.view(1, 1, -1, 1)
    return place.flatten(1, 3)


def batch(step: int, size: int, scenes, space, tokens, device, frames: int = FRAMES):
    """(latents, ids, mask, noise, t, takes, whether a clean prompt is given) for one step, from its number alone."""
    dice = world.Dice(1_000_003 * (step + 1))
    takes, texts = [], []
    for _ in range(size):
        drawn = world.drawn(dice, scenes, FLAWED)
        takes.append(drawn)
        language = "zh" if dice.uniform(0, 1) < CHINESE else "en"
        silent = dice.uniform(0, 1) < NO_PROMPT and not drawn.flaw
        texts.append("" if silent else captions.caption(drawn.scene, dice, language, drawn.flaw))
    clean = space.encode(world.render(takes, latents.SIZE, frames))
    encoded = tokens(texts, padding="max_length", truncation=True, max_length=captions.MAX_TOKENS, return_tensors="pt")
    generator = torch.Generator().manual_seed(1_000_003 * (step + 1) + 1)
    noise = torch.randn(clean.shape, generator=generator)
    # Stratified over the batch: every step sees the whole range of noise.
    u = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    t = TRAIN_SHIFT * u / (1 + (TRAIN_SHIFT - 1) * u)
    prompted = torch.tensor([float(text != "" and not drawn.flaw) for text, drawn in zip(texts, takes, strict=True)])
    return (
        *(v.to(device) for v in (clean, encoded.input_ids, encoded.attention_mask, noise, t)),
        takes,
        prompted.to(device),
    )


def optimizers(pair: Pair, rate: float):
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in pair.named_parameters() if p.ndim == 2 and ".blocks." in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in pair.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate * 10, momentum=0.95, weight_decay=0.0, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--steps", type=int, default=20000, help="length of the whole schedule")
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, help="begin with the weights of an exported model folder")
    parser.add_argument("--data-from", type=int, default=0, help="step 0 sees the data of this step: new clips")
    parser.add_argument("--guides-from", type=int, default=0, help="the heads of `Guides` join at this step")
    parser.add_argument("--save-every", type=int, default=250)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    space = latents.LatentSpace.load()
    tokens = captions.tokenizer()
    scenes, _ = world.split()
    pair = Pair(len(tokens)).to(device)
    if arguments.start:
        pair.load_folder(arguments.start)
    average = Pair(len(tokens)).to(device).requires_grad_(False)
    average.load_state_dict(pair.state_dict())
    solvers = optimizers(pair, arguments.rate)
    rates = [[g["lr"] for g in s.param_groups] for s in solvers]
    guides = Guides(pair.transformer.config.num_attention_heads * pair.transformer.config.attention_head_dim).to(device)
    solvers.append(torch.optim.AdamW(guides.parameters(), lr=arguments.rate, weight_decay=0.0))
    rates.append([arguments.rate])
    seen: list[Tensor] = []
    pair.transformer.blocks[Guides.BLOCK].register_forward_hook(lambda module, inputs, hidden: seen.append(hidden))
    first, checkpoint = 0, arguments.work / "transformer.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        pair.load_state_dict(state["pair"])
        average.load_state_dict(state["average"])
        if "guides" in state:
            guides.load_state_dict(state["guides"])
        for solver, saved in zip(solvers, state["solvers"], strict="guides" in state):
            solver.load_state_dict(saved)
        first = state["step"]
    sizes = [sum(p.numel() for p in part.parameters()) for part in (pair.transformer, pair.text_encoder)]
    print(f"{sizes[0]:,} + {sizes[1]:,} parameters, from step {first}", flush=True)
    began, losses = time.time(), []
    for step in range(first, min(arguments.steps, arguments.stop or arguments.steps)):
        # Warm up over 200 steps, hold, then fall linearly to a fiftieth over the last 40 %.
        share = step / arguments.steps
        factor = min(1.0, (step + 1) / 200) * min(1.0, max(0.02, (1 - share) / 0.4))
        for solver, base in zip(solvers, rates, strict=True):
            for group, rate in zip(solver.param_groups, base, strict=True):
                group["lr"] = rate * factor
        seen.clear()
        clean, ids, mask, noise, t, takes, prompted = batch(
            arguments.data_from + step, arguments.batch, scenes, space, tokens, device
        )
        mix = t.view(-1, 1, 1, 1, 1)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type != "cpu"):
            flow = pair(clean + mix * (noise - clean), t, ids, mask)
        # Weighted by t: high noise decides what is drawn and where it goes, low noise only the last detail.
        error = (flow.float() - (noise - clean)).square().mean((1, 2, 3, 4))
        loss = (error * t).mean() / t.mean()
        helped = loss
        if step >= arguments.guides_from:
            helped = loss + guides(seen[0].float(), takes, prompted)
        helped.backward()
        nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        for solver in solvers:
            solver.step()
            solver.zero_grad(set_to_none=True)
        decay = min(0.9985, 1 - 1 / (step / 8 + 2))
        with torch.no_grad():
            for a, p in zip(average.parameters(), pair.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"step {step}: the loss is {losses[-1]}; go back to an earlier checkpoint")
        if (step + 1) % 50 == 0:
            line = {
                "step": step + 1,
                "loss": round(sum(losses) / len(losses), 5),
                "guides": round((helped - loss).item(), 4),
                "seconds": round(time.time() - began, 1),
            }
            print(json.dumps(line), flush=True)
            with open(arguments.work / "transformer.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
        if (step + 1) % arguments.save_every == 0 or step + 1 == arguments.stop:
            state = {"pair": pair.state_dict(), "average": average.state_dict(), "guides": guides.state_dict()}
            state |= {"solvers": [solver.state_dict() for solver in solvers], "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
