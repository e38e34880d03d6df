"""Writes the subgraph blueprints in subgraphs/: the chains of nodes that most graphs have, each as one node.

    python3 scripts/make/blueprints.py

ComfyUI's page lists them under "Subgraph Blueprints"; a file's name is the title of its node. None holds a model:
MODEL, CLIP and VAE come from any loader, so that each works with every family, and follows the ones before it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack
from blueprint_graph import Blueprint

FOLDER = pack.ROOT / "subgraphs"
# What all samplers ask, behind the ports of their inputs.
SAMPLED = {name: name for name in ("model", "low_noise_model", "seed", "steps", "cfg")}
SIZE = {name: name for name in ("width", "height", "frames")}


def main() -> int:
    console.describe(__doc__)
    environment.ensure()
    pack.mount()
    FOLDER.mkdir(exist_ok=True)
    for name, blueprint in all_blueprints().items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(blueprint, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
    return 0


def all_blueprints() -> dict[str, dict]:
    """Name -> what its file holds."""
    graphs = {
        "Text to Video (OpenT2V)": (
            text_to_video(),
            "Frames, sound and latent from a sentence, with any loader's MODEL, CLIP and VAE. 0 is the model's own "
            "value. / 由一句话生成视频帧、声音和 latent，可接任何加载器；0 为模型自己的值。",
        ),
        "Image to Video (OpenT2V)": (
            image_to_video(),
            "Frames, sound and latent from a first picture and a sentence; end_image takes a last one. / "
            "由首帧和一句话生成视频；end_image 可接尾帧。",
        ),
        "Continue Video (OpenT2V)": (
            continue_video(has_sound=False),
            "A clip gone on with from its last frames, as one clip. / 从结尾几帧续写视频，并与原片段合为一段。",
        ),
        "Continue Video with Sound (OpenT2V)": (
            continue_video(has_sound=True),
            "A clip with sound gone on with, picture and sound, as one clip. / 续写带声音的视频，画面与声音合为一段。",
        ),
        "Finish and Save (OpenT2V)": (
            finish_and_save(),
            "Even colours, a frame rate, a caption and a file in the output folder. / "
            "统一颜色、调整帧率、加字幕，并保存到 output 文件夹。",
        ),
    }
    return {name: graph.blueprint(name, description) for name, (graph, description) in graphs.items()}


def text_to_video() -> Blueprint:
    """From words to frames."""
    graph = Blueprint()
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", fed={"clip": "clip", "positive": "positive", "negative": "negative"})
    latent = graph.add("OpenT2VEmptyLatent", fed={"model": "model", **SIZE})
    words = {name: (prompt, name) for name in ("positive", "negative")}
    return _sampled(graph, {**words, "latent": (latent, "latent")}, latent)


def image_to_video() -> Blueprint:
    """From a first picture, and a last one where there is one, to frames."""
    graph = Blueprint()
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", fed={"clip": "clip", "positive": "positive", "negative": "negative"})
    words = {name: (prompt, name) for name in ("positive", "negative")}
    pictures = {name: name for name in ("start_image", "end_image", "clip_vision_output")}
    latent = graph.add("OpenT2VImageToVideo", words, fed={"model": "model", "vae": "vae", **pictures, **SIZE})
    words = {name: (latent, name) for name in words}
    return _sampled(graph, {**words, "latent": (latent, "latent")}, latent)


def _sampled(graph: Blueprint, links: dict[str, tuple[int, str]], timed: int) -> Blueprint:
    """Sampler and decoder behind prompt and latent; `timed` is the node that knows the frames per second."""
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", links, {"seed": 1}, fed=SAMPLED)
    graph.column(300)
    latent = (sampler, "latent")
    decoded = graph.add("OpenT2VDecode", {"latent": latent}, fed={"vae": "vae", "audio_vae": "audio_vae"})
    graph.result("images", (decoded, "images"))
    graph.result("audio", (decoded, "audio"))
    graph.result("fps", (timed, "fps"))
    graph.result("latent", latent)
    return graph


def continue_video(has_sound: bool) -> Blueprint:
    """The end of a clip, what follows it, and both as one; the sound of a model that has one goes on with it."""
    graph = Blueprint()
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", fed={"clip": "clip", "positive": "positive", "negative": "negative"})
    words = {name: (prompt, name) for name in ("positive", "negative")}
    clip = {"images": "images", "clip_vision_output": "clip_vision_output", "frames": "frames", "overlap": "overlap"}
    heard = {"audio": "audio", "audio_vae": "audio_vae"} if has_sound else {"anchor": "images"}
    start = graph.add("OpenT2VContinue", words, fed={"model": "model", "vae": "vae", **clip, **heard})
    graph.column(340)
    words = {name: (start, name) for name in words}
    sampler = graph.add("OpenT2VSampler", {**words, "latent": (start, "latent")}, {"seed": 1}, fed=SAMPLED)
    graph.column(300)
    vaes = {"vae": "vae", "audio_vae": "audio_vae"} if has_sound else {"vae": "vae"}
    after = graph.add("OpenT2VDecode", {"latent": (sampler, "latent")}, fed=vaes)
    graph.column(300)
    timing = {"second": (after, "images"), "overlap": (start, "overlap"), "fps": (start, "fps")}
    if has_sound:
        timing["second_audio"] = (after, "audio")
    first = {"first": "images", "first_audio": "audio"} if has_sound else {"first": "images"}
    joined = graph.add("OpenT2VJoinClips", timing, fed=first)
    graph.result("images", (joined, "images"))
    if has_sound:
        graph.result("audio", (joined, "audio"))
    graph.result("fps", (start, "fps"))
    return graph


def finish_and_save() -> Blueprint:
    """Steps between frames and file."""
    graph = Blueprint()
    graph.column(340)
    colours = graph.add("OpenT2VColourMatch", fed={"strength": "match_colours"})
    rate = graph.add("OpenT2VFrameRate", {"finishing": (colours, "finishing")}, fed={"fps": "frame_rate"})
    caption = graph.add("OpenT2VCaption", {"finishing": (rate, "finishing")}, fed={"text": "caption"})
    graph.column(300)
    steps = {"finishing": (caption, "finishing")}
    frames = graph.add("OpenT2VFinishFrames", steps, fed={"images": "images", "fps": "fps"})
    graph.column(400)
    links = {"images": (frames, "images"), "fps": (frames, "fps")}
    asked = {name: name for name in ("audio", "filename_prefix", "format", "quality")}
    saved = graph.add("OpenT2VSaveVideo", links, fed=asked)
    graph.result("file", (saved, "file"))
    graph.result("video", (saved, "video"))
    return graph


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
