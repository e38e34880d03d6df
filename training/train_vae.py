"""Train the bundled VAE: a small AutoencoderKLWan for the fixed latent space.

The encoder is the exact linear map, written into its weights (see `linear_encoder`). The decoder learns to draw
clips from their linear latents plus a little noise, so that it forgives the transformer's errors. Every batch is
drawn from the step number alone, so a resumed run sees the same data as one that was never stopped.

    python3 scripts/train.py vae --work PATH --steps 4400 [--threads 1]
    python3 scripts/train.py vae --work PATH --export FOLDER
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
from torch import Tensor, nn

from . import latents, world
from .linear_encoder import set_linear_encoder
from .vae import draw, new_vae

FRAMES = 17
LOG_VARIANCE = -10.0  # of the exported posterior: its samples are all but its mode
FLAWED = 0.03
NOISE = 0.1  # largest noise on the decoder's input, of the latents' unit variance
# (frames, clips, pixels): a step's batch goes round these. Short clips and squares cut out around the shape give more
# variety, and more edges, for the same work.
ROUND = ((9, 7, 48), (5, 8, 64), (9, 7, 48), (17, 2, 64))


def window(clip: world.Take, first: int, frames: int, total: int = FRAMES) -> world.Take:
    """The frames `first` ... of a take that lasts `total` frames, as a take of its own."""
    cut = {}
    for name in ("x", "y", "radius", "angle"):
        begin, end = getattr(clip, name)
        step = (end - begin) / (total - 1)
        cut[name] = (begin + step * first, begin + step * (first + frames - 1))
    return replace(clip, **cut)


def batch(step: int, scenes) -> tuple[Tensor, Tensor]:
    """(video [B, 3, F, S, S] in -1..1, noise [B, 16, T, S / 8, S / 8]) for one step, from the step number alone."""
    dice = world.Dice(2_000_003 * (step + 1))
    frames, clips, pixels = ROUND[step % len(ROUND)]
    takes, corners = [], []
    for _ in range(clips):
        drawn = window(world.drawn(dice, scenes, FLAWED), dice.index(FRAMES - frames + 1), frames)
        takes.append(drawn)
        # Crop around the shape's middle, a few pixels off.
        middles = (latents.SIZE * sum(ends) / 2 + dice.uniform(-6, 6) for ends in (drawn.y, drawn.x))
        corners.append([min(max(round(m - pixels / 2), 0), latents.SIZE - pixels) for m in middles])
    video = world.render(takes, latents.SIZE, frames)
    video = torch.stack([v[..., y : y + pixels, x : x + pixels] for v, (y, x) in zip(video, corners, strict=True)])
    generator = torch.Generator().manual_seed(2_000_003 * (step + 1) + 1)
    side = pixels // latents.BLOCK
    shape = (clips, latents.CHANNELS, (frames - 1) // latents.STRIDE + 1, side, side)
    strength = NOISE * torch.rand((clips, 1, 1, 1, 1), generator=generator)
    return video, strength * torch.randn(shape, generator=generator)


class ConvolutionMuon(torch.optim.Optimizer):
    """Muon for convolutions: momentum whose singular values, as a [out, in * kernel] matrix, are all set to 1."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                mean = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(mean, group["momentum"]).flatten(1)
                x = x / (x.norm() + 1e-12)
                wide = x.shape[0] <= x.shape[1]
                x = x if wide else x.T
                for _ in range(5):
                    square = x @ x.T
                    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
                p.add_((x if wide else x.T).reshape(p.shape), alpha=-group["lr"] * max(1, len(p) / p[0].numel()) ** 0.5)


def solvers(module: nn.Module):
    """Muon for the inner convolutions, Adam for the rest."""
    free = {name: p for name, p in module.named_parameters() if p.requires_grad}
    inner = {n for n, p in free.items() if p.ndim >= 4 and not n.startswith(("conv_in", "conv_out"))}
    others = [p for n, p in free.items() if n not in inner]
    return [
        ConvolutionMuon([free[n] for n in sorted(inner)], lr=0.01),
        torch.optim.Adam(others, lr=2e-3, betas=(0.9, 0.98)),
    ]


def export_vae(checkpoint, space: latents.LatentSpace):
    """The averaged VAE as diffusers expects it: its raw latents follow Wan 2.1's published mean and deviation.

    Args:
        checkpoint: `vae.pt` of a run: the decoder's. The encoder is the linear map, written down, not trained.
    Returns:
        AutoencoderKLWan in float32, where `raw = unit * latents_std + latents_mean`.
    """
    vae = new_vae()
    set_linear_encoder(vae.encoder, space)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    vae.decoder.load_state_dict(state["decoder"]["average"])
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
def check(vae, space: latents.LatentSpace, clips: int = 60, frames: int = FRAMES) -> dict[str, float]:
    """Measure an exported VAE on held-out scenes through diffusers' own encode and decode.

    Returns:
        Peak signal to noise in dB, mean over the clips, from the clips' linear latents unless it says
        otherwise: `linear` (inverse of the space), `decode`, `decode_noisy` (0.1 of unit variance added),
        `round_trip` (encode, then decode), and `flaw_<name>`
        (flawed clips); `encode_error` is the mean squared error of the
        encoder's latents at unit variance.
    """
    dice, (_, scenes) = world.Dice(11), world.split()
    mean, deviation = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    generator = torch.Generator().manual_seed(11)

    def decibels(drawn: list[Tensor], clean: list[Tensor]) -> float:
        error = torch.cat([(a.clamp(-1, 1) - b).square().flatten(1).mean(1) for a, b in zip(drawn, clean, strict=True)])
        return round((10 * torch.log10(4 / error)).mean().item(), 2)

    def decode(z: Tensor) -> Tensor:
        return vae.decode(z * deviation + mean).sample

    def render(count: int, flaw: str | None = None) -> list[Tensor]:
        takes = [world.take(dice.pick(scenes), dice) for _ in range(count)]
        takes = [world.spoil(t, flaw, dice) for t in takes] if flaw else takes
        return [world.render(takes[i : i + 4], latents.SIZE, frames) for i in range(0, count, 4)]

    clean = render(clips)
    unit = [space.encode(v) for v in clean]
    raw = [vae.encode(v).latent_dist.mode() for v in clean]
    noisy = [z + 0.1 * torch.randn(z.shape, generator=generator) for z in unit]
    result = {
        "linear": decibels([space.decode(z) for z in unit], clean),
        "decode": decibels([decode(z) for z in unit], clean),
        "decode_noisy": decibels([decode(z) for z in noisy], clean),
        "round_trip": decibels([vae.decode(z).sample for z in raw], clean),
        "encode_error": sum(((r - mean) / deviation - z).square().mean().item() for r, z in zip(raw, unit, strict=True))
        / len(unit),
    }
    for flaw in world.FLAWS:
        flawed = render(max(4, clips // 5), flaw)
        result[f"flaw_{flaw}"] = decibels([decode(space.encode(v)) for v in flawed], flawed)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--steps", type=int, default=4400, help="length of the whole schedule")
    parser.add_argument("--stop", type=int, help="stop at this step, short of the schedule's end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--export", type=Path, help="train nothing: write a diffusers folder and measure it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    checkpoint, space = arguments.work / "vae.pt", latents.LatentSpace.load()
    if arguments.export:
        vae = export_vae(checkpoint, space)
        vae.save_pretrained(arguments.export)
        print(json.dumps(check(vae, space)))
    else:
        train(arguments, checkpoint, space)


def train(arguments, checkpoint: Path, space: latents.LatentSpace) -> None:
    scenes, _ = world.split()
    module, average = new_vae().decoder, new_vae().decoder.requires_grad_(False)
    average.load_state_dict(module.state_dict())
    for p in module.parameters():
        if p.ndim == 5:
            p.data = p.data.to(memory_format=torch.channels_last_3d)
    steppers, first = solvers(module), 0
    rates = [s.param_groups[0]["lr"] for s in steppers]
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)["decoder"]
        module.load_state_dict(state["weights"])
        average.load_state_dict(state["average"])
        for stepper, saved in zip(steppers, state["solvers"], strict=True):
            stepper.load_state_dict(saved)
        first = state["step"]
    count = sum(p.numel() for p in module.parameters())
    print(f"{count:,} parameters, from step {first}", flush=True)
    began, losses = time.time(), []
    for step in range(first, min(arguments.steps, arguments.stop or arguments.steps)):
        # Warm up over 50 steps, hold, then fall linearly to a hundredth over the last three quarters.
        factor = min(1.0, (step + 1) / 50) * min(1.0, max(0.01, (1 - step / arguments.steps) / 0.75))
        for stepper, rate in zip(steppers, rates, strict=True):
            stepper.param_groups[0]["lr"] = rate * factor
        video, noise = batch(step, scenes)
        clean = space.encode(video)
        error = draw(module, (clean + noise).contiguous(memory_format=torch.channels_last_3d)) - video
        squares = error.square()
        loss = squares.mean() + 0.1 * (squares + 1e-4).sqrt().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        decay = min(0.998, 1 - 1 / (step / 8 + 2))
        with torch.no_grad():
            for a, p in zip(average.parameters(), module.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        losses.append(squares.mean().item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"step {step}: the error is {losses[-1]}; go back to an earlier checkpoint")
        if (step + 1) % 40 == 0:
            mean = sum(losses) / len(losses)
            line = {"step": step + 1, "error": round(mean, 6), "seconds": round(time.time() - began, 1)}
            line["decibels"] = round(10 * math.log10(4 / mean), 2)
            print(json.dumps(line), flush=True)
            with open(arguments.work / "vae.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
        if (step + 1) % arguments.save_every == 0 or step + 1 in (arguments.steps, arguments.stop):
            state = {
                "decoder": {
                    "weights": module.state_dict(),
                    "average": average.state_dict(),
                    "step": step + 1,
                    "solvers": [s.state_dict() for s in steppers],
                }
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
