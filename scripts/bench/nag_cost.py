"""Multiplications of a step with a negative prompt by attention (nag) and by cfg, over those of a step at cfg 1.

    python3 scripts/bench/nag_cost.py [--width 832] [--height 480] [--frames 81]

The networks have their published sizes and no numbers (torch's meta device), so this runs anywhere in a minute and says
the same everywhere. cfg calls the network twice: 2.00.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--frames", type=int, default=81)
    arguments = parser.parse_args()
    environment.ensure([])
    pack.hide_scripts()
    pack.mount()
    import torch

    from opent2v.families import families
    from opent2v.sampling.nag import Nag

    frames, rows, columns = (arguments.frames - 1) // 4 + 1, arguments.height // 8, arguments.width // 8
    for family, (make, call, entry) in networks(frames, rows, columns).items():
        network = families()[family].network
        attention = network.text_crossing or network.joint
        assert attention is not None
        with torch.device("meta"), torch.no_grad():
            transformer = make()
            guide = Nag(11.0, 2.5, 0.25, entry(), attention, network.blocks)
            plain = counted(lambda call=call, transformer=transformer: call(transformer))
            with guide.guided(transformer):
                guided = counted(lambda call=call, transformer=transformer: call(transformer))
        print(f"{family}: {plain / 1e12:.0f} T a call, with nag {guided / plain:.2f} times as many", flush=True)


def counted(run: Callable[[], Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def networks(frames: int, rows: int, columns: int) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Any]]:
    """Family -> (makes its network, calls it for a video of that many latents, entry of a negative prompt)."""
    import torch

    diffusers: Any = importlib.import_module("diffusers")

    def prompt(tokens: int, width: int, masked: bool = False) -> Callable[[], dict[str, Any]]:
        mask = {"attention_mask": torch.ones(1, tokens, device="meta")} if masked else {}
        return lambda: {"cross_attn": torch.empty(1, tokens, width, device="meta"), **mask}

    def wan(transformer: Any) -> Any:
        return transformer(torch.empty(1, 16, frames, rows, columns), torch.empty(1), torch.empty(1, 512, 4096))

    def hunyuan_video(transformer: Any) -> Any:
        return transformer(
            torch.empty(1, 16, frames, rows, columns), torch.empty(1), torch.empty(1, 256, 4096), torch.ones(1, 256),
            torch.empty(1, 768), torch.empty(1),
        )  # fmt: skip

    def cogvideox(transformer: Any) -> Any:
        tokens = frames * (rows // 2) * (columns // 2)
        return transformer(
            hidden_states=torch.empty(1, frames, 16, rows, columns),
            encoder_hidden_states=torch.empty(1, 226, 4096),
            timestep=torch.empty(1),
            image_rotary_emb=(torch.empty(tokens, 64), torch.empty(tokens, 64)),
        )

    five = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
    return {
        "wan": (diffusers.WanTransformer3DModel, wan, prompt(512, 4096)),
        "hunyuan_video": (diffusers.HunyuanVideoTransformer3DModel, hunyuan_video, prompt(256, 4096, True)),
        "cogvideox": (lambda: diffusers.CogVideoXTransformer3DModel(**five), cogvideox, prompt(226, 4096)),
    }


if __name__ == "__main__":
    main()
