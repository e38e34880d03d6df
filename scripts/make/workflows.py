"""Writes the templates in workflows/: quickstart, one for each family and task, and those of single nodes.

    python3 scripts/make/workflows.py

What they hold stands in scripts/make/workflow_data.py; how it is laid out, in scripts/make/workflow_graph.py.
scripts/make/thumbnails.py draws the pictures beside them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack
from bundled_workflows import BUNDLED, file_links
from workflow_data import TEMPLATES
from workflow_files import Template
from workflow_graph import Graph

FOLDER = pack.ROOT / "workflows"


def main() -> int:
    console.describe(__doc__)
    environment.ensure()
    pack.mount()
    graphs = {template.name: generation(template) for template in TEMPLATES}
    graphs |= {build.__name__: build() for build in BUNDLED}
    for name, graph in graphs.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(graph.page(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
    return 0


def generation(template: Template) -> Graph:
    """Loaders, prompt and picture, sampler, file."""
    graph = Graph()
    graph.column(340)
    graph.note(_note(template), 460)
    picture = graph.add("LoadImage") if template.starts or template.refers else None
    if template.ends:
        graph.column(340)
    last = graph.add("LoadImage") if template.ends else None
    sound_file = graph.add("LoadAudio") if template.hears else None
    if template.goes_on:
        graph.column(340)
    # No file, because the page would report a missing one as an error.
    chosen = {"file": "", **template.values.get("OpenT2VLoadVideo", {}), "upload": "image"}
    clip_file = graph.add("OpenT2VLoadVideo", values=chosen) if template.goes_on else None
    graph.column(400)
    published = [] if template.model.converted else [template.model]
    model = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.model.name}, models=published)
    sampled = {"model": (model, "model")}
    if template.low:
        low = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.low.name}, models=[template.low])
        sampled["low_noise_model"] = (low, "model")
    named = dict(zip(("file", "file_2"), (file.name for file in template.text), strict=False))
    clip = vae = model
    if template.text:
        chosen = {"file_2": "none"} | named
        clip = graph.add("OpenT2VLoadTextEncoder", {"model": (model, "model")}, chosen, template.text)
    if template.vae:
        vae = graph.add("OpenT2VLoadVAE", values={"file": template.vae.name}, models=[template.vae])
    sound = model
    if template.sound:
        sound = graph.add("OpenT2VLoadVAE", values={"file": template.sound.name}, models=[template.sound])
    vision = None
    if template.vision:
        vision = graph.add("CLIPVisionLoader", values={"clip_name": template.vision.name}, models=[template.vision])
    graph.column(380)
    if template.refers and picture is not None:
        links = {"model": (model, "model"), "clip": (clip, "clip"), "vae": (vae, "vae"), "audio_vae": (sound, "vae")}
        links["picture_1"] = (picture, "IMAGE")
        latent = graph.add("OpenT2VReferences", links, {"prompt": template.prompt})
        words: dict[str, tuple[int, str]] = {"positive": (latent, "positive"), "negative": (latent, "positive")}
        asked = [(picture, "image"), (latent, "prompt")]
        return _sampled_and_saved(graph, template, sampled, words, (vae, sound), latent, asked)
    texts = {"positive": template.prompt, **template.values.get("OpenT2VEncodePrompt", {})}
    links = {"clip": (clip, "clip")}
    if template.shows and picture is not None:
        links["pictures"] = (picture, "IMAGE")
    prompt = graph.add("OpenT2VEncodePrompt", links, texts)
    words = {name: (prompt, name) for name in ("positive", "negative")}
    asked = [(prompt, "positive")]
    if clip_file is not None:
        return _gone_on(graph, template, sampled, words, (vae, sound), clip_file, asked)
    if picture is None:
        latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    else:
        links = {"model": (model, "model"), "vae": (vae, "vae"), **words, "start_image": (picture, "IMAGE")}
        if vision is not None:
            seen = {"clip_vision": (vision, "CLIP_VISION"), "image": (picture, "IMAGE")}
            links["clip_vision_output"] = (graph.add("CLIPVisionEncode", seen), "CLIP_VISION_OUTPUT")
        if last is not None:
            links["end_image"] = (last, "IMAGE")
            asked.insert(0, (last, "image"))
        asked.insert(0, (picture, "image"))
        latent = graph.add("OpenT2VImageToVideo", links, template.values.get("OpenT2VImageToVideo"))
        words = {name: (latent, name) for name in words}
    return _sampled_and_saved(
        graph, template, sampled, words, (vae, sound), latent, asked, sound_file, (picture, prompt)
    )


def _sampled_and_saved(
    graph: Graph,
    template: Template,
    sampled: dict[str, tuple[int, str]],
    words: dict[str, tuple[int, str]],
    vaes: tuple[int, int],
    latent: int,
    asked: list[tuple[int, str]],
    sound_file: int | None = None,
    begun: tuple[int | None, int] | None = None,
) -> Graph:
    """The last two columns, of sampler and file.

    Args:
        sampled: what the sampler gets besides prompts and latent.
        vaes: the nodes that load the video's and the sound's.
        sound_file: the node with the sound that the video is made to.
        begun: the nodes of the start picture and of the prompt, for a second run.
    """
    vae, sound = vaes
    timed = latent
    if sound_file is not None:
        socket = "vae" if template.sound else "audio_vae"
        links = {"audio_vae": (sound, socket), "audio": (sound_file, "AUDIO"), "latent": (latent, "latent")}
        latent = graph.add("OpenT2VEncodeAudio", links)
        asked.insert(0, (sound_file, "audio"))
    graph.column(340)
    if guidance := template.values.get("OpenT2VGuidance"):
        sampled["guidance"] = (graph.add("OpenT2VGuidance", values=guidance), "guidance")
    settings = {"seed": 1, **template.values.get("OpenT2VSampler", {})}
    sampler = graph.add("OpenT2VSampler", {**sampled, **words, "latent": (latent, "latent")}, settings)
    if template.upscaler and begun is not None:
        sampler = _second_run(graph, template, sampler, sampled, (vae, *begun))
    graph.column(400)
    decoded = file_links(vae, sampler, timed)
    if template.has_sound:
        decoded["audio_vae"] = (sound, "vae" if template.sound else "audio_vae")
    graph.add("OpenT2VDecodeToVideo", decoded)
    graph.asked = [*asked, (timed, "frames"), (sampler, "seed")]
    return graph


def _gone_on(
    graph: Graph,
    template: Template,
    sampled: dict[str, tuple[int, str]],
    words: dict[str, tuple[int, str]],
    vaes: tuple[int, int],
    clip: int,
    asked: list[tuple[int, str]],
) -> Graph:
    """The end of a clip behind the prompt, and the columns of sampler, joint and file; arguments as above.

    Args:
        clip: the node that loads the clip.
    """
    decoding = {"vae": (vaes[0], "vae"), "audio_vae": (vaes[1], "vae")}
    links = {**sampled, **decoding, **words, "images": (clip, "images"), "audio": (clip, "audio")}
    start = graph.add("OpenT2VContinue", links, template.values.get("OpenT2VContinue"))
    graph.column(340)
    words = {name: (start, name) for name in words}
    sampler = graph.add("OpenT2VSampler", {**sampled, **words, "latent": (start, "latent")}, {"seed": 1})
    graph.column(300)
    decoded = graph.add("OpenT2VDecode", {**decoding, "latent": (sampler, "latent")})
    both = {"first": (clip, "images"), "second": (decoded, "images")}
    sounds = {"first_audio": (clip, "audio"), "second_audio": (decoded, "audio")}
    timing = {"overlap": (start, "overlap"), "fps": (start, "fps")}
    joined = graph.add("OpenT2VJoinClips", {**both, **sounds, **timing})
    graph.column(400)
    saved = {"images": (joined, "images"), "fps": (start, "fps"), "audio": (joined, "audio")}
    graph.add("OpenT2VSaveVideo", saved)
    graph.asked = [(clip, "file"), *asked, (start, "frames"), (sampler, "seed")]
    return graph


def _second_run(
    graph: Graph, template: Template, sampler: int, sampled: dict[str, Any], ids: tuple[int, int | None, int]
) -> int:
    """An upscaler and a second sampler, with the picture put into the larger latent; the id of the sampler."""
    assert template.upscaler is not None
    vae, picture, prompt = ids
    graph.column(380)
    links = {"latent": (sampler, "latent"), "vae": (vae, "vae")}
    file = {"file": template.upscaler.name}
    larger = graph.add("OpenT2VUpscaleLatent", links, file, models=[template.upscaler])
    words = {name: (prompt, name) for name in ("positive", "negative")}
    if picture is not None:
        links = {"model": sampled["model"], "vae": (vae, "vae"), **words, "start_image": (picture, "IMAGE")}
        larger = graph.add("OpenT2VImageToVideo", {**links, "latent": (larger, "latent")})
        words = {name: (larger, name) for name in words}
    graph.column(340)
    settings = {"seed": 2, "sigmas": template.sigmas}
    return graph.add("OpenT2VSampler", {**sampled, **words, "latent": (larger, "latent")}, settings)


def _note(template: Template) -> str:
    """Which file goes where, and a hint, in both languages."""
    lines = [
        f"{template.title}: files from huggingface.co, and their folders",
        "所需文件（来自 huggingface.co）与文件夹：",
    ]
    for file in template.files:
        facts = [f"{file.gigabytes:g} GB"] if file.gigabytes else []
        facts += [template.licence] if file in (template.model, template.low) else []
        about = f" ({', '.join(facts)})" if facts else ""
        if file.converted:
            original = file.path.rpartition("/")[2]
            lines += [f"• {original}{about} from {file.repository}, converted / 转换:"]
            lines += [f"   python3 scripts/convert.py {original} {file.name}"]
            lines += [f"   {file.name} → models/{file.directory}"]
            continue
        lines += [f"• {file.name}{about}", f"   {file.repository} → models/{file.directory}"]
    lines += ["", "0 means the model's own value. " + template.english]
    return "\n".join([*lines, "", "0 表示模型自己的默认值。" + template.chinese])


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
