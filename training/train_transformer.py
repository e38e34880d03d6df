"""Train the transformer and its text encoder, together, on the fixed latent space.

Every batch is drawn from the step number alone, so a run resumed from a checkpoint sees the same data as one
that was never stopped.

    python3 scripts/train.py transformer --work PATH [--steps 20000] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from . import captions, lessons, world
from .latents import CHANNELS, FILE, STRIDE, LatentSpace, latent_frames
from .machine import ahead, mixed_precision, reuse_memory, write_checkpoint
from .muon import Muon
from .start import carry_over, is_ours

TRANSFORMER = dict(
    patch_size=(1, 2, 2),
    num_attention_heads=4,
    attention_head_dim=48,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
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
STEPS, RATE = 20000, 1.5e-3


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

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask [B, 32] -> [B, 32, 96], exact zeros behind the end, as WanPipeline pads."""
        hidden = self.text_encoder(ids, mask).last_hidden_state
        return hidden * mask[..., None]

    def forward(self, x: Tensor, t: Tensor, context: Tensor, clean_frames: int = 0) -> Tensor:
        """Latents [B, 16, T, h, w] at noise share t [B] -> flow (noise - clean), same shape.

        The first `clean_frames` latent frames count as clean: their tokens stand at timestep 0 (`expand_timesteps`).
        """
        times = t * 1000
        if clean_frames:
            per_frame = x.shape[3] * x.shape[4] // math.prod(TRANSFORMER["patch_size"])
            times = times[:, None].repeat(1, x.shape[2] * per_frame)
            times[:, : clean_frames * per_frame] = 0
        return self.transformer(x, times, context, return_dict=False)[0]


class Guides(nn.Module):
    """Linear heads on an early block, for training only: they ask every token what is drawn, where, and how turned.

    A prompt's colour is learned at once, but its shape and motion act only together with the picture, and the plain
    loss takes very long to find that. The heads make the cross-attention fetch these words and the tokens agree on
    the place; the transformer that is kept does not contain them.
    """

    BLOCK = 2
    WEIGHTS = (0.05, 0.05, 0.25, 0.05)  # shape, motion, place, angle
    # Share of a turn after which a shape looks the same; a circle has no angle.
    CORNERS = {"square": 4, "triangle": 3, "star": 5}

    def __init__(self, width: int):
        super().__init__()
        self.shape = nn.Linear(width, len(world.SHAPES))
        self.motion = nn.Linear(width, len(world.MOTIONS))
        self.place = nn.Linear(width, 3)
        self.angle = nn.Linear(width, 2)

    def forward(self, hidden: Tensor, lesson: lessons.Lesson) -> Tensor:
        """Loss for hidden states [B, tokens, width]."""
        device, takes = hidden.device, lesson.takes
        length = lesson.clean.shape[2]
        heads = [(self.shape, "shape", world.SHAPES, self.WEIGHTS[0])]
        if length > 1:
            heads.append((self.motion, "motion", world.MOTIONS, self.WEIGHTS[1]))
        total = hidden.new_zeros(())
        for head, key, names, weight in heads:
            scores = head(hidden)
            label = torch.tensor([names.index(getattr(t.scene, key)) for t in takes], device=device)
            target = label[:, None].expand(scores.shape[:2])
            error = nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none")
            mean = (error.view(target.shape).mean(1) * lesson.prompted).sum() / lesson.prompted.sum().clamp(min=1)
            total = total + weight * mean
        place, angle, turns = (v.to(device) for v in where(takes, length, math.isqrt(hidden.shape[1] // length)))
        total = total + self.WEIGHTS[2] * nn.functional.smooth_l1_loss(self.place(hidden), place, beta=0.05)
        error = (self.angle(hidden) - angle).square().mean((1, 2))
        return total + self.WEIGHTS[3] * (error * turns).mean()


def where(takes: list[world.Take], length: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """What every token of `length` latent frames of `side` x `side` tokens should know.

    Returns:
        Way to the shape's centre (x, y) and its radius, as shares of the frame [B, tokens, 3]; cosine and sine of how
        far it is turned from upright, times its corners [B, tokens, 2]; 1 where that means anything, else 0 [B].
    """
    frames = STRIDE * (length - 1) + 1
    ramp = torch.linspace(0, 1, frames) if frames > 1 else torch.zeros(1)
    groups = torch.cat([ramp[:1], ramp[1:].view(-1, STRIDE).mean(1)])  # [latent frames]
    assert len(groups) == latent_frames(frames)
    ends = torch.tensor([[t.x, t.y, t.radius, t.angle] for t in takes])  # [B, 4, 2]
    track = (ends[..., :1] + (ends[..., 1:] - ends[..., :1]) * groups).transpose(1, 2)  # [B, T, 4]
    centre = (torch.arange(side) + 0.5) / side
    place = track[:, :, None, None, :3].expand(-1, -1, side, side, -1).clone()  # [B, T, h, w, 3]
    place[..., 0] -= centre.view(1, 1, 1, -1)
    place[..., 1] -= centre.view(1, 1, -1, 1)
    upright = torch.tensor([world.UPRIGHT[t.scene.shape] for t in takes])
    corners = torch.tensor([float(Guides.CORNERS.get(t.scene.shape, 0)) for t in takes])
    turned = (track[..., 3] - upright[:, None]) * corners[:, None]
    angle = torch.stack([turned.cos(), turned.sin()], -1).repeat_interleave(side * side, 1)
    return place.flatten(1, 3), angle, (corners > 0).float()


def flow_loss(pair: Pair, lesson: lessons.Lesson) -> Tensor:
    """Mean squared error of the flow, over the latent frames that are not given.

    Weighted by t: high noise decides what is drawn and where it goes, low noise only the last detail.
    """
    mix = lesson.t.view(-1, 1, 1, 1, 1)
    target = lesson.noise - lesson.clean
    x, clean_frames = lesson.clean + mix * target, lesson.clean_frames
    if clean_frames:
        x = torch.cat([lesson.clean[:, :, :clean_frames] + lesson.residue, x[:, :, clean_frames:]], 2)
    flow = pair(x, lesson.t, pair.embed(lesson.ids, lesson.mask), clean_frames)
    error = (flow.float() - target)[:, :, clean_frames:]
    weighed = error.square().mean((1, 2, 3, 4))
    half = error.shape[2] // 2
    if half:
        # What changes within half a clip counts twice: most of the plain error is where a shape stands, which no
        # prompt tells, and little is how it moves, which the prompt does. The best guess stays the same.
        weighed = weighed + (error[:, :, half:] - error[:, :, :-half]).square().mean((1, 2, 3, 4)) / 2
    return (weighed * lesson.t).mean() / lesson.t.mean()


def optimizers(pair: Pair, rate: float, dtype: torch.dtype = torch.float32) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in pair.named_parameters() if p.ndim == 2 and (".blocks." in n or ".block." in n)]
    matrices = [p for p in matrices if min(p.shape) > 16]  # a table of relative positions is not a linear map
    chosen = {id(p) for p in matrices}
    others = [p for p in pair.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=rate * 10, dtype=dtype),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def factor(step: int, steps: int) -> float:
    """Share of the rate: warm up over 200 steps, hold, then fall linearly to a fiftieth over the last 70 %."""
    return min(1.0, (step + 1) / 200) * min(1.0, max(0.02, (1 - step / steps) / 0.7))


def train(
    work: Path,
    *,
    steps: int = STEPS,
    stop: int | None = None,
    save_seconds: float = 300,
    clips: int | None = None,
    device: str = "cpu",
    workers: int = 0,
    bf16: bool = False,
    rate: float = RATE,
    start: Path | None = None,
) -> None:
    """Go on from `work`'s checkpoint, or begin, and stop at `stop` (default: the schedule's end).

    Args:
        save_seconds: between checkpoints.
        clips: of each lesson; None for as many as suit.
        workers: processes that draw lessons ahead; 0 draws each when it is needed.
        bf16: whether networks and Muon compute in bfloat16, as networks do on a GPU anyway; twice as fast on a
            processor that has it.
        rate: at its height.
        start: an exported folder, whose weights are the first ones where there is no checkpoint. After this
            generation's own weights the lessons are those that come after a schedule's end.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    first, spent, checkpoint = 0, 0.0, work / "transformer.pt"
    if checkpoint.exists():
        start = None
    goes_on = start is not None and is_ours(start)
    if goes_on:  # their latents are of the shipped space to the last digit, and no fit here would be
        LatentSpace.load().save(work / FILE.name)
    space, tokens = LatentSpace.of(work), captions.tokenizer()
    known = world.split()[0]
    scenes = {more: lessons.chosen(known, more) for _, more in lessons.PARTS}
    pair = Pair(len(tokens)).to(device)
    if start is not None:
        pair.load_folder(start) if goes_on else carry_over(pair, start, space)
    average = Pair(len(tokens)).to(device).requires_grad_(False)
    average.load_state_dict(pair.state_dict())
    guides = Guides(pair.transformer.config.num_attention_heads * pair.transformer.config.attention_head_dim).to(device)
    solvers = [
        *optimizers(pair, rate, torch.bfloat16 if bf16 else torch.float32),
        torch.optim.AdamW(guides.parameters(), lr=rate, weight_decay=0.0),
    ]
    rates = [solver.param_groups[0]["lr"] for solver in solvers]
    seen: list[Tensor] = []
    pair.transformer.blocks[Guides.BLOCK].register_forward_hook(lambda module, inputs, hidden: seen.append(hidden))
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        for name, part in (("pair", pair), ("average", average), ("guides", guides)):
            part.load_state_dict(state[name])
        for solver, saved in zip(solvers, state["solvers"], strict=True):
            solver.load_state_dict(saved)
        first, spent, goes_on = state["step"], state["seconds"], state.get("goes_on", False)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (pair.transformer, pair.text_encoder)]
    print(f"{sizes[0]:,} + {sizes[1]:,} parameters, from step {first}", flush=True)
    last = min(steps, stop or steps)
    # CPU time, not wall time, because others may use this machine.
    began, saved_at, losses = time.process_time(), time.time(), {}

    def draw(step: int) -> lessons.Lesson:
        number = step + steps * goes_on
        length, clean_frames = lessons.plan(number, steps)
        more = lessons.emphasis(number, steps)
        return lessons.draw(number, length, clean_frames, scenes[more], space, tokens, clips, more.shift)

    for step, lesson in zip(range(first, last), ahead(draw, range(first, last), workers), strict=True):
        for solver, height in zip(solvers, rates, strict=True):
            for group in solver.param_groups:
                group["lr"] = height * factor(step, steps)
        seen.clear()
        lesson = lesson.to(device)
        with mixed_precision(device, bf16 or device != "cpu"):
            loss = flow_loss(pair, lesson)
        helped = loss + guides(seen[0].float(), lesson)
        helped.backward()
        nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        for solver in solvers:
            solver.step()
            solver.zero_grad(set_to_none=True)
        decay = min(0.9985, 1 - 1 / (step / 8 + 2))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(pair.parameters()), 1 - decay)
        name = f"{lesson.clean.shape[2]}/{lesson.clean_frames}"
        losses.setdefault(name, []).append((loss.item(), (helped - loss).item()))
        if not math.isfinite(losses[name][-1][0]):
            raise SystemExit(f"step {step}: the loss is not finite; go back to an earlier checkpoint")
        if (step + 1) % 60 == 0 or step + 1 == last:
            line = {"step": step + 1, "seconds": round(spent + time.process_time() - began, 1)}
            # By latent frames and given ones: [loss, what the guides add].
            line |= {k: [round(sum(c) / len(v), 4) for c in zip(*v, strict=True)] for k, v in sorted(losses.items())}
            print(json.dumps(line), flush=True)
            with open(work / "transformer.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            losses = {}
        if time.time() - saved_at > save_seconds or step + 1 == last:
            state = {"pair": pair.state_dict(), "average": average.state_dict(), "guides": guides.state_dict()}
            state |= {"solvers": [solver.state_dict() for solver in solvers], "step": step + 1}
            state["goes_on"] = goes_on
            state["seconds"] = spent + time.process_time() - began
            write_checkpoint(state, checkpoint)
            saved_at = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--steps", type=int, default=STEPS, help="length of the whole schedule")
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw clips ahead, beside a GPU")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16; faster where the processor has it")
    parser.add_argument("--rate", type=float, default=RATE, help=f"at its height (default {RATE:g})")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, help="begin with a model folder's weights, of this generation or before")
    arguments = parser.parse_args()
    reuse_memory()
    torch.set_num_threads(arguments.threads)
    names = ("steps", "stop", "device", "workers", "bf16", "rate", "start")
    train(arguments.work, **{name: getattr(arguments, name) for name in names})
