"""Writes small models with random weights, for the bench of families: python3 tests/tiny FOLDER

A folder of diffusers' layout for each family, and `files/`: transformers of Wan and LTX-Video in the makers' names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"wan": ("plain",), "ltx_video": ("0.9.1",), "cogvideox": ("2b",), "mochi": (), "hunyuan_video": ()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    sys.path[0] = str(ROOT / "scripts")
    import pack

    pack.hide_scripts()
    pack.mount()
    import importlib

    import torch
    from diffusers import LTXVideoTransformer3DModel, WanTransformer3DModel
    from safetensors.torch import save_file

    from opent2v.tests.families.layouts import ltx_video, wan

    for family, kind in KINDS.items():
        importlib.import_module(f"opent2v.tests.tiny.{family}").make(folder / family, *kind)
    torch.manual_seed(0)
    files = folder / "files"
    files.mkdir()
    for name, module, rename in (
        ("wan", WanTransformer3DModel(num_attention_heads=4, ffn_dim=2048, num_layers=4), wan.original),
        (
            "ltx_video",
            LTXVideoTransformer3DModel(attention_head_dim=16, cross_attention_dim=512, num_layers=4),
            ltx_video.original_transformer,
        ),
    ):
        weights = {f"model.diffusion_model.{rename(key)}": value for key, value in module.state_dict().items()}
        save_file({key: value.detach().clone() for key, value in weights.items()}, files / f"{name}.safetensors")
    print(*sorted(folder.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
