"""Peak memory of decoding MiniMax H3's videos piece by piece, 124 frames against 1,008, and of decoding one whole.

Tiny random weights: what grows with the length is what counts. Each runs in a process of its own; its memory before the
decoding is taken off. At 672 x 384 both took 738 MiB (2 CPU cores, 2026-11-30).

    python3 scripts/bench/minimax_h3.py                          # 1344 x 768, all 35 tiles of a frame
    python3 scripts/bench/minimax_h3.py --width 672 --height 384
"""

from __future__ import annotations

import argparse
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SMALL = {"decoder_num_layers": 1, "decoder_num_attention_heads": 1}


def decoding(width: int, height: int, frames: int, whole: bool) -> float:
    """MiB at the peak of decoding this many frames, beyond those before it."""
    import pack

    pack.mount()
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_minimax_h3 import AutoencoderKLMiniMaxH3

    from opent2v.base import VideoVAE
    from opent2v.families.minimax_h3 import FAMILY
    from opent2v.families.minimax_h3.versions import of_parts
    from opent2v.host import embedded
    from opent2v.tests.tiny.minimax_h3_parts import VIDEO_VAE

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = AutoencoderKLMiniMaxH3(**{**VIDEO_VAE, **SMALL}).eval()
    part = VideoVAE(of_parts(FAMILY), module, Path("none"))
    vae = embedded.vae(part)
    latent = torch.randn(1, *part.variant.geometry.latent_shape(width, height, frames))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if whole:
        count = len(embedded.decode(vae, latent))
    else:
        count = sum(len(piece) for piece in embedded.decode_stream(vae, latent))
    assert count == frames, (count, frames)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--height", type=int, default=768)
    asked = parser.parse_args()
    measures: dict[str, float] = {}
    for name, frames, whole in (("124", 124, False), ("1,008", 1008, False), ("124 whole", 124, True)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            measures[name] = pool.submit(decoding, asked.width, asked.height, frames, whole).result()
        print(f"{name} frames: {measures[name]:.0f} MiB", flush=True)
    print(f"1,008 / 124 frames: {measures['1,008'] / measures['124']:.2f}")


if __name__ == "__main__":
    main()
