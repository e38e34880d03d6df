"""Learn one clip and one noise by heart in 200 steps, with tiny random weights of every family, and sample it again.

    python3 scripts/bench/overfit.py [NAME ...]

Loss is the mean over the 4 noise levels of the sampling run; dB is the peak signal to noise of the sample's latents
against the clip's. See tests/finetune/overfit.py. This needs peft.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="as in tests/finetune/families.py; default: all")
    parser.add_argument("--rate", type=float, default=1e-2)
    arguments = parser.parse_args()
    environment.ensure(["peft"])
    pack.hide_scripts()
    pack.mount()
    from opent2v.tests.finetune import families, overfit  # pyright: ignore[reportMissingImports]

    print("| Model | loss before | loss after | share | base's sample | LoRA's sample |\n|---|---|---|---|---|---|")
    for name in arguments.names or families.MODELS:
        o = overfit.overfit(name, arguments.rate)
        share = o.last / o.first
        print(
            f"| {name} | {o.first:.3f} | {o.last:.5f} | {share:.4f} | {o.before:.1f} dB | {o.after:.1f} dB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
