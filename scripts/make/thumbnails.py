"""Draws the pictures beside the templates in workflows/ (quickstart's is of scripts/make/showcase.py).

    python3 scripts/make/thumbnails.py

Those of quickstart_from_picture, video_to_video, step_cache, lora, prompt_travel, long_video_storyboard,
keyframes_first, continue_video and finishing are frames
of those templates' own runs, here and now. The other models are not here to run: their templates get a title card,
which says that it is an example and shows frames of the bundled model.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from textwrap import wrap
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack
from workflow_data import TEMPLATES

FOLDER = pack.ROOT / "workflows"
WIDTH, HEIGHT = 400, 300
BAND = 96  # height of a row of frames; four of them fill the width
NIGHT, PALE, FAINT = (20, 22, 34), (236, 238, 245), (160, 166, 186)
LARGEST = 25_000  # bytes


def main() -> int:
    console.describe(__doc__)
    environment.ensure(["pillow>=10.1"])
    pack.mount()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        source = run("quickstart", base)
        (base / "input").mkdir()
        shutil.copy(source, base / "input" / source.name)
        first = frames(source)
        pictured = frames(run("quickstart_from_picture", base), 8)
        _save("quickstart_from_picture", runs([pictured[:4], pictured[4:]], "image to video", "from one picture"))
        anew = frames(run("video_to_video", base, file=source.name))
        _save("video_to_video", runs([first, anew], "video to video", "above: the input"))
        cached = frames(run("step_cache", base))
        _save("step_cache", runs([first, cached], "step cache", "below: half the steps"))
        plain = frames(run("lora", base / "plain", strength_model=0.0))
        _save("lora", runs([plain, frames(run("lora", base))], "LoRA", "above: at strength 0"))
        longer = frames(run("prompt_travel", base))
        _save("prompt_travel", runs([first, longer], "prompt travel", "below: twice as long"))
        story = frames(run("long_video_storyboard", base), 8)
        _save("long_video_storyboard", runs([story[:4], story[4:]], "storyboard", "three shots in one file"))
        between = frames(run("keyframes_first", base), 8)
        _save("keyframes_first", runs([between[:4], between[4:]], "keyframes first", "filled in between pictures"))
        continued = frames(run("continue_video", base), 8)
        _save("continue_video", runs([continued[:4], continued[4:]], "continue video", "on from its end"))
        _save("finishing", runs([first, frames(run("finishing", base))], "finishing", "above: as it was"))
    _save("what_is_in_this_file", report())
    for template in TEMPLATES:
        task = "image to video" if template.starts else "reference to video" if template.refers else "text to video"
        task = "on from a clip" if template.goes_on else task
        task = "sound to video" if template.hears else "first to last image" if template.ends else task
        task = f"{task}, two stages" if template.upscaler else task
        _save(template.name, card(template.title, task, first))
    return 0


def run(name: str, base: Path, **values: Any) -> Path:
    """Run a template on the embedded host in a folder of its own, seed 1, with other values, and return the video."""
    from opent2v.headless.runner import run as execute  # pyright: ignore[reportMissingImports]
    from opent2v.headless.workflow import load_workflow  # pyright: ignore[reportMissingImports]
    from opent2v.host import embedded  # pyright: ignore[reportMissingImports]
    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    folder = base / name
    embedded.configure(output=folder, input=base / "input")
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    prompt = load_workflow(json.loads(text), NODE_CLASS_MAPPINGS).prompt()
    for node in prompt.values():
        node["inputs"].update({key: value for key, value in values.items() if key in node["inputs"]})
    execute(load_workflow(prompt, NODE_CLASS_MAPPINGS), NODE_CLASS_MAPPINGS)
    return max(folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)


def frames(video: Path, count: int = 4) -> list[Any]:
    """Pictures spread evenly over a video, its first and last among them."""
    import av

    with av.open(str(video)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    return [pictures[round(n * (len(pictures) - 1) / (count - 1))] for n in range(count)]


def runs(rows: list[list[Any]], title: str, remark: str):
    """Rows of frames of real runs, and what they are."""
    picture = _blank()
    for n, row in enumerate(rows):
        _strip(picture, row, 4 + n * (BAND + 4))
    _write(picture, 4 + 2 * (BAND + 4), [(title, 30, PALE), (f"bundled model; {remark}", 17, FAINT)])
    return picture


def report():
    """What the file doctor says of the pack's LoRA."""
    from opent2v.nodes.doctor import report as lines_of  # pyright: ignore[reportMissingImports]

    path = pack.ROOT / "models" / "loras" / "opent2v-quickstart-outline.safetensors"
    lines = [part for line in lines_of(path) for part in wrap(str(line), 48)]
    picture = _blank()
    _write(picture, 16, [("what is in this file?", 30, PALE), *((line, 14, FAINT) for line in lines[:11])])
    return picture


def card(title: str, task: str, row: list[Any]):
    """The card of a template whose model is not here."""
    picture = _blank()
    _strip(picture, row, HEIGHT - BAND - 34)
    _write(picture, 24, [(title, 36, PALE), (task, 26, PALE), ("example workflow", 20, FAINT)])
    _write(picture, HEIGHT - 30, [("frames: OpenT2V's bundled model, not this one", 15, FAINT)])
    return picture


def _blank():
    from PIL import Image

    return Image.new("RGB", (WIDTH, HEIGHT), NIGHT)


def _strip(picture, row: list[Any], top: int) -> None:
    from PIL import Image

    left = (WIDTH - len(row) * BAND - (len(row) - 1) * 4) // 2
    for n, frame in enumerate(row):
        picture.paste(frame.resize((BAND, BAND), Image.Resampling.BICUBIC), (left + n * (BAND + 4), top))


def _write(picture, top: int, lines: list[tuple[str, int, tuple[int, int, int]]]) -> None:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    for text, size, colour in lines:
        draw.text((16, top), text, fill=colour, font=ImageFont.load_default(size))
        top += round(size * 1.4)


def _save(name: str, picture) -> None:
    path = FOLDER / f"{name}.jpg"
    picture.save(path, quality=88, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are wanted")
    print(path)


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
