"""Makes the pictures that show the bundled model: README's moving picture and the template's thumbnail.

    python3 scripts/make/showcase.py

Everything in them is a real output at the model's own values; nothing is chosen but the prompts and one seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack

PROMPTS = (
    "a red triangle moving to the right on a black background",
    "a green square growing on a beige background",
    "一个黄色的三角形在天蓝色背景上向上移动",
    "a blue square shrinking on a grey background",
    "一个白色的三角形在黑色背景上变大",
    "a purple triangle moving down on a sky-blue background",
)
SEED = 7
SCALE, GAP, COLUMNS = 2, 6, 3
COLOURS = 128  # of the moving picture


def main() -> int:
    console.describe(__doc__)
    environment.ensure()
    pack.hide_scripts()
    pack.mount()
    import numpy as np
    import torch
    from PIL import Image

    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    def call(name: str, **inputs):
        node = NODE_CLASS_MAPPINGS[name]()
        result = getattr(node, node.FUNCTION)(**inputs)
        return result["result"] if isinstance(result, dict) else result

    model, clip, vae, *_ = call("OpenT2VLoadModel", model="opent2v-quickstart", dtype="auto")
    latent = call("OpenT2VEmptyLatent", model=model, width=0, height=0, frames=0)[0]
    clips = []
    for prompt in PROMPTS:
        positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=prompt, negative="")
        settings = {"steps": 0, "cfg": 0.0, "shift": 0.0, "solver": "reference", "denoise": 1.0}
        inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent, "seed": SEED}
        clips.append(call("OpenT2VDecode", vae=vae, latent=call("OpenT2VSampler", **inputs, **settings)[0])[0])
    video = (torch.stack(clips) * 255).round().byte()  # [clips, F, H, W, 3]
    frames = [_sheet([clip[f].numpy() for clip in video]) for f in range(video.shape[1])]
    docs = pack.ROOT / "docs"
    docs.mkdir(exist_ok=True)
    # One palette for all frames, spread over the colours that occur: chosen by area, a small shape would get another
    # shape's colour.
    every = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))
    palette = every.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=4)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    # Hold the last frame for a moment before the loop starts again.
    small[0].save(
        docs / "quickstart.gif",
        save_all=True,
        append_images=small[1:],
        duration=[62] * (len(frames) - 1) + [500],
        loop=0,
    )
    middle = frames[len(frames) // 2]
    middle.save(pack.ROOT / "workflows" / "quickstart.jpg", quality=90)
    print(f"{docs / 'quickstart.gif'}\n{pack.ROOT / 'workflows' / 'quickstart.jpg'}")
    return 0


def _sheet(pictures):
    """One frame of all clips, side by side and enlarged."""
    from PIL import Image

    side = pictures[0].shape[0] * SCALE
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (side + GAP) - GAP, rows * (side + GAP) - GAP), "white")
    for i, picture in enumerate(pictures):
        large = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(large, (i % COLUMNS * (side + GAP), i // COLUMNS * (side + GAP)))
    return sheet


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
