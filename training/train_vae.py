"""Train the VAE: a small AutoencoderKLWan for the fixed latent space.

The encoder is the exact linear map, written into its weights (see `linear_encoder`). The decoder learns to draw
clips from their linear latents plus some noise, so that it forgives the transformer's errors. It is asked for crisp
edges and calm grounds: besides the picture, its differences from pixel to pixel and from frame to frame have to be
right, and its edges as steep as drawn ones. Every batch is drawn from the step number alone, so a resumed run sees
the same data as one that was never stopped.

    python3 scripts/train.py vae --work PATH [--steps 5000] [--threads 1]
    python3 scripts/train.py vae --work PATH --export FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from . import latents, world
from .crispness import crispness
from .latents import BLOCK, CHANNELS, FRAMES, SIZE, STRIDE, LatentSpace
from .lessons import window
from .linear_encoder import set_linear_encoder
from .machine import ahead, reuse_memory, write_checkpoint
from .muon import Muon
from .vae import draw, new_vae

STEPS = 5000
LOG_VARIANCE = -10.0  # of the exported posterior: its samples are all but its mode
FLAWED = 0.03
NOISE = 0.2  # largest noise on the decoder's input, of the latents' unit variance; most clips get far less
# (frames, clips, pixels): a step's batch goes round these. Short clips and squares cut out around the shape give more
# variety, and more edges, for the same work; single pictures are what a given first frame is.
ROUND = ((9, 6, 60), (5, 8, 72), (9, 6, 60), (1, 16, 96), (13, 4, 60))
# Weights beside the mean square: distance, difference to the next pixel, difference to the next frame.
DISTANCE, ACROSS, ALONG = 0.1, 0.2, 0.1
# Weight of how steep edges are, wherever they lie, and the share of the steps from which on it is asked for: before,
# there are no edges to sharpen.
STEEP, STEEP_FROM = 0.5, 0.2


def batch(step: int, scenes, space: LatentSpace) -> tuple[Tensor, Tensor]:
    """(video [B, 3, F, S, S] in -1..1, noisy latents [B, 16, T, S / 12, S / 12]), from the step number alone."""
    dice = world.Dice(2_000_003 * (step + 1))
    frames, clips, pixels = ROUND[step % len(ROUND)]
    takes, corners = [], []
    for _ in range(clips):
        drawn = window(world.drawn(dice, scenes, FLAWED), dice.index(FRAMES - frames + 1), frames)
        takes.append(drawn)
        # Crop around the shape's middle, up to a block off.
        middles = (SIZE * sum(ends) / 2 + dice.uniform(-BLOCK, BLOCK) for ends in (drawn.y, drawn.x))
        corners.append([min(max(round(m - pixels / 2), 0), SIZE - pixels) for m in middles])
    video = world.render(takes, SIZE, frames)
    video = torch.stack([v[..., y : y + pixels, x : x + pixels] for v, (y, x) in zip(video, corners, strict=True)])
    generator = torch.Generator().manual_seed(2_000_003 * (step + 1) + 1)
    side = pixels // BLOCK
    shape = (clips, CHANNELS, (frames - 1) // STRIDE + 1, side, side)
    strength = NOISE * torch.rand((clips, 1, 1, 1, 1), generator=generator).square()
    return video, space.encode(video) + strength * torch.randn(shape, generator=generator)


def picture_loss(drawn: Tensor, video: Tensor, steep: float = 0.0) -> tuple[Tensor, Tensor]:
    """(what is learned from, mean squared error) for [B, 3, F, H, W].

    Where an edge lies is known to half a pixel or so, and what is best on average is then a blur. `steep` is the weight
    of a term that does not care where: a frame's slopes, sorted, against the drawn truth's. Halos cost as blur does.
    """
    error = drawn - video

    def distance(x: Tensor) -> Tensor:
        return (x.square() + 1e-4).sqrt().mean()

    squares = error.square().mean()
    across = distance(error.diff(dim=-1)) + distance(error.diff(dim=-2))
    loss = squares + DISTANCE * distance(error) + ACROSS * across
    if error.shape[2] > 1:
        loss = loss + ALONG * distance(error.diff(dim=2))
    if steep:
        loss = loss + steep * (slopes(drawn) - slopes(video)).abs().mean()
    return loss, squares.detach()


def slopes(video: Tensor) -> Tensor:
    """[B, 3, F, H, W] -> the lengths of each frame's gradients, steepest first, [B, F, (H - 1) * (W - 1)]."""
    right, down = video[..., :-1, 1:] - video[..., :-1, :-1], video[..., 1:, :-1] - video[..., :-1, :-1]
    lengths = ((right.square() + down.square()).sum(1) + 1e-6).sqrt()
    return lengths.flatten(2).sort(-1, descending=True).values


def solvers(module: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the inner convolutions, Adam for the rest."""
    free = {name: p for name, p in module.named_parameters() if p.requires_grad}
    inner = {n for n, p in free.items() if p.ndim >= 4 and not n.startswith(("conv_in", "conv_out"))}
    others = [p for n, p in free.items() if n not in inner]
    return [
        Muon([free[n] for n in sorted(inner)], lr=0.01),
        torch.optim.Adam(others, lr=2e-3, betas=(0.9, 0.98)),
    ]


def factor(step: int, steps: int) -> float:
    """Share of the rate: warm up over 50 steps, hold, then fall linearly to a hundredth over the last 60 %."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.01, (1 - step / steps) / 0.6))


def train(
    work: Path,
    *,
    steps: int = STEPS,
    stop: int | None = None,
    save_seconds: float = 300,
    device: str = "cpu",
    workers: int = 0,
) -> None:
    """Go on from `work`'s checkpoint, or begin, and stop at `stop` (default: the schedule's end).

    Args:
        save_seconds: between checkpoints.
        workers: processes that draw batches ahead; 0 draws each when it is needed.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    space, (scenes, _) = LatentSpace.of(work), world.split()
    module, average = new_vae().decoder.to(device), new_vae().decoder.to(device).requires_grad_(False)
    average.load_state_dict(module.state_dict())
    for p in module.parameters():
        if p.ndim == 5:
            p.data = p.data.to(memory_format=torch.channels_last_3d)
    steppers, first, spent, checkpoint = solvers(module), 0, 0.0, work / "vae.pt"
    rates = [s.param_groups[0]["lr"] for s in steppers]
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        module.load_state_dict(state["weights"])
        average.load_state_dict(state["average"])
        for stepper, saved in zip(steppers, state["solvers"], strict=True):
            stepper.load_state_dict(saved)
        first, spent = state["step"], state["seconds"]
    print(f"{sum(p.numel() for p in module.parameters()):,} parameters, from step {first}", flush=True)
    last = min(steps, stop or steps)
    # CPU time, not wall time, because others may use this machine.
    began, saved_at, losses = time.process_time(), time.time(), []
    drawn = ahead(lambda step: batch(step, scenes, space), range(first, last), workers)
    for step, (video, z) in zip(range(first, last), drawn, strict=True):
        for stepper, rate in zip(steppers, rates, strict=True):
            stepper.param_groups[0]["lr"] = rate * factor(step, steps)
        video, z = video.to(device), z.to(device)
        steep = STEEP if step >= STEEP_FROM * steps else 0.0
        loss, squares = picture_loss(draw(module, z.contiguous(memory_format=torch.channels_last_3d)), video, steep)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        decay = min(0.998, 1 - 1 / (step / 8 + 2))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
        losses.append((loss.item(), squares.item()))
        if not math.isfinite(losses[-1][0]):
            raise SystemExit(f"step {step}: the loss is not finite; go back to an earlier checkpoint")
        if (step + 1) % 50 == 0 or step + 1 == last:
            mean, error = (sum(column) / len(column) for column in zip(*losses, strict=True))
            line = {"step": step + 1, "seconds": round(spent + time.process_time() - began, 1)}
            line |= {"loss": round(mean, 5), "decibels": round(10 * math.log10(4 / error), 2)}
            print(json.dumps(line), flush=True)
            with open(work / "vae.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
        if time.time() - saved_at > save_seconds or step + 1 == last:
            state = {"weights": module.state_dict(), "average": average.state_dict(), "step": step + 1}
            state |= {"solvers": [s.state_dict() for s in steppers], "seconds": spent + time.process_time() - began}
            write_checkpoint(state, checkpoint)
            saved_at = time.time()


def export_vae(checkpoint: Path, space: LatentSpace):
    """The averaged VAE as diffusers expects it: its raw latents follow Wan 2.1's published mean and deviation.

    Args:
        checkpoint: `vae.pt` of a run: the decoder's. The encoder is the linear map, written down, not trained.
    Returns:
        AutoencoderKLWan in float32, where `raw = unit * latents_std + latents_mean`.
    """
    vae = new_vae()
    set_linear_encoder(vae.encoder, space)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    vae.decoder.load_state_dict(state["average"])
    mean, deviation = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    z = latents.CHANNELS
    with torch.no_grad():
        for layer in (vae.quant_conv, vae.post_quant_conv):
            layer.weight.zero_()
        vae.quant_conv.weight[:z, :z, 0, 0, 0] = torch.diag(deviation)
        vae.quant_conv.bias.copy_(torch.cat([mean, torch.full((z,), LOG_VARIANCE)]))
        vae.post_quant_conv.weight[:, :, 0, 0, 0] = torch.diag(1 / deviation)
        vae.post_quant_conv.bias.copy_(-mean / deviation)
    return vae.requires_grad_(False).eval()


@torch.no_grad()
def check(vae, space: LatentSpace, clips: int = 40, frames: int = FRAMES) -> dict[str, float]:
    """Measure an exported VAE on held-out scenes through diffusers' own encode and decode.

    Returns:
        Peak signal to noise in dB, mean over the clips: `linear` (inverse of the space), `decode` (from linear
        latents), `decode_noisy` (the same with noise of 0.1 of unit variance), `round_trip` (encode, then decode),
        `first_frame` (its first frame alone), `picture` (a single frame, encoded and decoded). `encode_error` is the
        mean squared error of the encoder's latents at unit variance. `edges`, `grain` and `flicker` of the decoded
        clips, as `crispness.crispness` gives them, and `noisy_edges` ... of those with noise.
    """
    dice, (_, scenes) = world.Dice(11), world.split()
    mean, deviation = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    generator = torch.Generator().manual_seed(11)
    sums: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + value / clips

    def decibels(drawn: Tensor, clean: Tensor) -> float:
        return 10 * math.log10(4 / (drawn.clamp(-1, 1) - clean).square().mean().item())

    for _ in range(clips):
        take = world.take(dice.pick(scenes), dice)
        video = world.render([take], SIZE, frames)
        unit, raw = space.encode(video), vae.encode(video).latent_dist.mode()
        picture = vae.decode(vae.encode(video[:, :, :1]).latent_dist.mode()).sample
        decoded = vae.decode(unit * deviation + mean).sample
        noisy = vae.decode((unit + 0.1 * torch.randn(unit.shape, generator=generator)) * deviation + mean).sample
        again = vae.decode(raw).sample
        note("linear", decibels(space.decode(unit), video))
        note("decode", decibels(decoded, video))
        note("decode_noisy", decibels(noisy, video))
        note("round_trip", decibels(again, video))
        note("first_frame", decibels(again[:, :, :1], video[:, :, :1]))
        note("picture", decibels(picture, video[:, :, :1]))
        note("encode_error", ((raw - mean) / deviation - unit).square().mean().item())
        for name, clip in (("", decoded), ("noisy_", noisy)):
            for key, value in crispness(clip[0], take).items():
                note(name + key, value)
    return {name: round(value, 4 if name == "encode_error" else 2) for name, value in sums.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--steps", type=int, default=STEPS, help="length of the whole schedule")
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw clips ahead, beside a GPU")
    parser.add_argument("--export", type=Path, help="train nothing: write a diffusers folder and measure it")
    parser.add_argument("--clips", type=int, default=40, help="clips that --export measures on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reuse_memory()
    if arguments.export:
        space = LatentSpace.of(arguments.work)
        vae = export_vae(arguments.work / "vae.pt", space)
        vae.save_pretrained(arguments.export)
        print(json.dumps(check(vae, space, arguments.clips)))
    else:
        options = {name: getattr(arguments, name) for name in ("steps", "stop", "device", "workers")}
        train(arguments.work, **options)
