"""Draws docs/charts.png: every picture that the pack gives of what it measured, on one sheet.

    python3 scripts/make/charts.py

The numbers are those of the bundled model, measured here and now: one prompt, 20 steps, and a
short training on its own clips.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack

PROMPT = "a red triangle moving to the right on a black background"
SETTINGS = {"seed": 1, "steps": 20, "cfg": 0.0, "shift": 0.0, "solver": "reference", "denoise": 1.0}
GAP, COLUMNS = 12, 3


def main() -> int:
    console.describe(__doc__)
    environment.ensure(["pillow>=10.1", "matplotlib"])
    pack.mount()
    import torch
    from PIL import Image

    from opent2v.host import embedded  # pyright: ignore[reportMissingImports]
    from opent2v.media.writer import VideoWriter  # pyright: ignore[reportMissingImports]
    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    def call(name: str, /, **inputs):
        node = NODE_CLASS_MAPPINGS[f"OpenT2V{name}"]
        for field, (_, options) in node.INPUT_TYPES()["required"].items():
            if "default" in options:
                inputs.setdefault(field, options["default"])
        returned = getattr(node(), node.FUNCTION)(**inputs)
        return returned["result"] if isinstance(returned, dict) else returned

    with tempfile.TemporaryDirectory() as scratch:
        embedded.configure(output=Path(scratch) / "output", input=Path(scratch) / "input")
        model, clip, vae, *_ = call("LoadModel", model="opent2v-quickstart")
        positive, negative = call("EncodePrompt", clip=clip, positive=PROMPT, negative="")
        run = {"model": model, "positive": positive, "negative": negative, **SETTINGS}
        run["latent"] = call("EmptyLatent", model=model)[0]
        profile, full, _, profile_chart = call("CalibrateCache", **run)
        cache = call("StepCache", policy="auto", profile=profile, target_speedup=2.0)[0]
        *_, sweep_chart, clips = call("SweepCache", **run, vae=vae, step_cache=cache, strengths="1.5, 2, 3")
        latent = call("Sampler", **run, step_cache=cache)[0]
        images, reference = (call("Decode", vae=vae, latent=each)[0] for each in (latent, full))
        *_, likeness_chart, difference = call(
            "CompareCache", images=images, reference_images=reference, with_difference=True
        )
        joined = torch.cat([reference, images])  # a joint like no other: the same clip once more
        chart = call("MeasureVideo", images=joined, joints=str(len(reference)), fps=16.0)[1]
        data = Path(scratch) / "input" / "clips"
        data.mkdir(parents=True)
        for name, each in (("first", images), ("second", reference)):
            with VideoWriter(data, name, fps=16.0, width=each.shape[2], height=each.shape[1]) as writer:
                writer.write(each)
            assert writer.path is not None
            writer.path.with_suffix(".txt").write_text(PROMPT, encoding="utf-8")
        training = call("TrainLora", model=model, clip=clip, vae=vae, data="clips", name="short", trigger="", steps=60,
                        batch=2, judge=0)[-1]  # fmt: skip
        lora = "opent2v-quickstart-outline.safetensors"
        pictures = [
            profile_chart, sweep_chart, likeness_chart, chart, call("LoadLora", model=model, lora=lora)[-1],
            training, call("InspectFile", file=lora)[-1], clips, difference[[0, len(difference) // 2, -1]],
        ]  # fmt: skip
    sheet = _sheet([_image(Image, picture) for picture in pictures])
    path = pack.ROOT / "docs" / "charts.png"
    sheet.quantize(256).save(path, optimize=True)
    print(path)
    return 0


def _image(module, frames):
    """Frames [F, H, W, 3] in 0..1 beside each other, as wide as a chart."""
    row = (frames.movedim(0, 1).flatten(1, 2).clamp(0, 1) * 255).round().byte()
    image = module.fromarray(row.numpy())
    return image if image.width == 640 else image.resize((640, round(640 * image.height / image.width)))


def _sheet(images):
    """The images in columns, each put where there is most room left."""
    from PIL import Image

    heights, places = [GAP] * COLUMNS, []
    for image in images:
        column = heights.index(min(heights))
        places.append((GAP + column * (640 + GAP), heights[column]))
        heights[column] += image.height + GAP
    sheet = Image.new("RGB", (GAP + COLUMNS * (640 + GAP), max(heights)), "#888888")
    for image, place in zip(images, places, strict=True):
        sheet.paste(image, place)
    return sheet


if __name__ == "__main__":
    sys.exit(main())
