"""First weights from an exported model: this generation's as they are, or the ones of the generation before.

Both generations have 4 x 4 tokens a frame and the same blocks, so what differs is the space of the latents: how 16
components of 4 frames x 12 x 12 pixels follow from 16 of 4 frames x 8 x 8. That is fitted on the same clips drawn at
both sizes, and folded into the first and the last layer.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import world
from .latents import BLOCK, CHANNELS, FRAMES, SIZE, LatentSpace

# The latent space of the generation before, and the size of its clips.
FILE = Path(__file__).with_name("first_latent_space.safetensors")
EARLIER_SIZE, EARLIER_FRAMES = 64, 17
CLIPS = 160


def is_ours(folder: Path) -> bool:
    """Whether an exported folder is of this generation, whose latents are those of the shipped space."""
    vae = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
    return vae["scale_factor_spatial"] == BLOCK


def carry_over(pair, folder: Path, space: LatentSpace) -> None:
    """Fill a `Pair` with the weights of an exported folder of the generation before."""
    pair.load_folder(folder)
    there, back = between(space, LatentSpace.load(FILE))
    patch = pair.transformer.patch_embedding.weight.data  # [width, 16, 1, 2, 2]
    # A latent pixel x of the new space is x @ there in the old one.
    patch.copy_(torch.einsum("ik,okthw->oithw", there.to(patch), patch))
    for rows in pair.transformer.proj_out.parameters():
        rows.data.copy_(_drawn(rows.data, back.to(rows)))


def carry_over_lora(file: Path, space: LatentSpace) -> dict[str, Tensor]:
    """The tensors of a LoRA of the generation before, for the model that was carried over."""
    tensors = {name: value.float() for name, value in load_file(file).items()}
    last = "transformer.proj_out.lora_B.weight"
    if last in tensors:
        tensors[last] = _drawn(tensors[last], between(space, LatentSpace.load(FILE))[1])
    return tensors


def _drawn(rows: Tensor, back: Tensor) -> Tensor:
    """Rows [64, ...] of the last layer, four latent pixels of 16 channels each, in the new space."""
    pixels = rows.view(-1, CHANNELS, *rows.shape[1:])
    return torch.einsum("pk...,kj->pj...", pixels, back).flatten(0, 1)


def between(space: LatentSpace, earlier: LatentSpace) -> tuple[Tensor, Tensor]:
    """Linear maps [16, 16] from the new space to the earlier one, and back, of latents less their means."""
    dice, (scenes, _) = world.Dice(5), world.split()
    takes = [world.take(dice.pick(scenes), dice) for _ in range(CLIPS)]
    # Half as many frames: every second latent frame stands at the same time.
    new = space.encode(world.render(takes, SIZE, FRAMES))[:, :, ::2]
    old = earlier.encode(world.render(takes, EARLIER_SIZE, EARLIER_FRAMES))
    new, old = (v.permute(0, 2, 3, 4, 1).reshape(-1, CHANNELS).double() for v in (new, old))
    new, old = new - new.mean(0), old - old.mean(0)
    return torch.linalg.lstsq(new, old).solution.float(), torch.linalg.lstsq(old, new).solution.float()
