"""Write the trained parts of a run as a diffusers folder, small and complete: scripts/train.py export --work --out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from . import captions
from .latents import CHANNELS, FRAMES, SIZE, LatentSpace
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
SHIFT = 3.0
SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": SHIFT,
}
STORAGE = torch.float16


def preview_factors(space: LatentSpace) -> dict[str, list]:
    """Latent pixel -> mean colour of its block in -1..1: exact, because the latent space is linear."""
    per_colour = space.basis.view(3, -1, CHANNELS).mean(1)  # [3, 16]
    factors = (per_colour * space.scale).T
    bias = space.mean.view(3, -1).mean(1)
    return {
        "factors": [[round(v, 4) for v in row] for row in factors.tolist()],
        "bias": [round(v, 4) for v in bias.tolist()],
    }


def load_pair(work: Path) -> Pair:
    """The averaged transformer and text encoder of a run."""
    state = torch.load(work / "transformer.pt", map_location="cpu", weights_only=True)
    pair = Pair(len(captions.tokenizer()))
    pair.load_state_dict(state["average"])
    return pair.requires_grad_(False).eval()


def export(work: Path, out: Path) -> None:
    """Write the folder; an existing one is updated in place, and keeps its VAE where the run trained none.

    Raises:
        SystemExit: there is no VAE.
    """
    from diffusers import AutoencoderKLWan

    space, trained = LatentSpace.of(work), work / "vae.pt"
    if trained.exists():
        vae = export_vae(trained, space)
    elif (out / "vae").is_dir():
        vae = AutoencoderKLWan.from_pretrained(out / "vae")
    else:
        raise SystemExit(f"{trained} is not there, nor a VAE in {out}: train one, or copy the model folder there.")
    pair = load_pair(work)
    write_folder(out, pair.transformer, pair.text_encoder, vae, {**OWN, "preview": preview_factors(space)})


def write_folder(out: Path, transformer, text_encoder, vae, defaults: dict) -> None:
    """Write the parts, in half precision, and what goes with them.

    One set of weights makes video from words and from a first picture, as Wan 2.2 5B: a timestep for every token.

    Args:
        defaults: opent2v.json.
    """
    import diffusers
    from diffusers import UniPCMultistepScheduler

    transformer.to(STORAGE).save_pretrained(out / "transformer")
    text_encoder.to(STORAGE).save_pretrained(out / "text_encoder")
    vae.to(STORAGE).save_pretrained(out / "vae")
    captions.tokenizer().save_pretrained(out / "tokenizer")
    UniPCMultistepScheduler.from_config(SCHEDULER).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "WanPipeline",
        "_diffusers_version": diffusers.__version__,
        "boundary_ratio": None,
        "expand_timesteps": True,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    _write(out / "model_index.json", index)
    _write(out / "opent2v.json", defaults)
    # transformers 5 has renamed the class; both versions read the older name.
    config = json.loads((out / "tokenizer" / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write(out / "tokenizer" / "tokenizer_config.json", config)
    for folder in ("transformer", "vae", "text_encoder"):
        path = out / folder / "config.json"
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept.pop("_name_or_path", None)
        _write(path, kept)


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of a run of scripts/train.py quickstart")
    parser.add_argument("--out", type=Path, required=True, help="the model folder")
    arguments = parser.parse_args()
    export(arguments.work, arguments.out)
    size = sum(p.stat().st_size for p in arguments.out.rglob("*") if p.is_file())
    print(f"{arguments.out}: {size / 1e6:.2f} MB")
