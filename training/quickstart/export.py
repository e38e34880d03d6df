"""Write the trained parts of a run as a diffusers folder, small and complete."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import captions
from ..export import preview_factors, write_folder
from .latents import FRAMES, SIZE, LatentSpace
from .train_transformer import Pair
from .train_vae import export_vae

# Values that the loader's nodes use where the user leaves 0 or an empty text.
OWN = {
    "title": "quickstart",
    "width": SIZE,
    "height": SIZE,
    "frames": FRAMES,
    "fps": 16,
    "steps": 20,
    "guidance": 2.5,
    "negative": captions.NEGATIVE["en"],
    "max_tokens": captions.MAX_TOKENS,
}


def load_pair(work: Path) -> Pair:
    """The averaged transformer and text encoder of a run."""
    state = torch.load(work / "transformer.pt", map_location="cpu", weights_only=True)
    pair = Pair(len(captions.tokenizer()))
    pair.load_state_dict(state["average"])
    return pair.requires_grad_(False).eval()


def export(work: Path, out: Path) -> None:
    """Write the folder; an existing one is updated in place."""
    space = LatentSpace.of(work)
    pair, vae = load_pair(work), export_vae(work / "vae.pt", space)
    defaults = {**OWN, "preview": preview_factors(space)}
    # One set of weights makes video from words and from a first picture, as Wan 2.2 5B: a timestep for every token.
    write_folder(out, pair.transformer, pair.text_encoder, vae, defaults, expand_timesteps=True)
