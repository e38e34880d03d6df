"""Trains the bundled model and its LoRAs, a part at a time: python3 scripts/train.py PART --work FOLDER ...

    quickstart                  the bundled model: VAE, and transformer with text encoder, in turns, and its scores
    transformer, vae, export    its parts alone, and the folder of both
    lora                        its outline LoRA; needs peft
    few-steps                   its LoRA for 4 steps at cfg 1; needs peft
    concept                     clips of a new concept for scripts/train_lora.py, and how well it was learned

`python3 scripts/train.py PART --help` lists a part's options. training/README.md says how the parts go together.
"""

from __future__ import annotations

import argparse
import importlib
import sys

import environment
import pack

# Part -> its module in training/.
PARTS = {
    "quickstart": "train",
    "transformer": "train_transformer",
    "vae": "train_vae",
    "export": "export",
    "lora": "train_lora",
    "few-steps": "train_few_steps",
    "concept": "concept",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    part = parser.parse_args(sys.argv[1:2]).part
    environment.ensure(["peft"] if part in ("lora", "few-steps") else [])
    pack.hide_scripts()
    pack.mount()
    sys.argv = [f"{sys.argv[0]} {part}", *sys.argv[2:]]
    importlib.import_module(f"opent2v.training.{PARTS[part]}").main()


if __name__ == "__main__":
    main()
