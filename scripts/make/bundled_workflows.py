"""The templates that run on the bundled model, with nothing to download: one for each of what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_graph import Graph
from workflow_notes import (
    CACHE_NOTE,
    CAPTIONS,
    CONTINUE_NOTE,
    FINISH_NOTE,
    INSPECT_NOTE,
    KEYFRAMES_NOTE,
    KEYFRAMES_STORY,
    LORA_NOTE,
    PICTURE_NOTE,
    PICTURED,
    QUICKSTART_NOTE,
    STORY,
    STORY_NOTE,
    TRAVEL_NOTE,
    TRAVELLING,
    VIDEO_NOTE,
)


def bundled(
    note: str, height: int, texts: Mapping[str, Any] | None = None, size: Mapping[str, Any] | None = None
) -> tuple[Graph, int, int, int]:
    """The page, and the ids of what it begins with: the bundled model above a note, its prompt and an empty latent.

    Args:
        texts, size: widgets of the prompt and of the latent that do not keep their default.
    """
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(note, height)
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, texts or {})
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")}, size or {})
    graph.column(340)
    return graph, model, prompt, latent


def sampler_links(model: int, prompt: int, latent: int) -> dict[str, tuple[int, str]]:
    """What a sampler gets."""
    words = {name: (prompt, name) for name in ("positive", "negative")}
    return {"model": (model, "model"), **words, "latent": (latent, "latent")}


def file_links(vae: int, sampler: int, timed: int) -> dict[str, tuple[int, str]]:
    """What Decode to Video File gets; `timed` is the node that knows the frames per second."""
    return {"vae": (vae, "vae"), "latent": (sampler, "latent"), "fps": (timed, "fps")}


def quickstart() -> Graph:
    """The model of the pack: from words to a file by the nodes that every model has."""
    graph = Graph()
    graph.column(370)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(QUICKSTART_NOTE, 590, "Try it / 试一试")
    graph.column(380)
    texts = {"positive": "a red triangle moving to the right on a black background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, texts)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(320)
    sampler = graph.add("OpenT2VSampler", sampler_links(model, prompt, latent), {"seed": 1})
    graph.column(240)
    images = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (sampler, "latent")})
    graph.column(400)
    graph.add("OpenT2VSaveVideo", {"images": (images, "images"), "fps": (latent, "fps")})
    graph.asked = [(prompt, "positive"), (sampler, "seed")]
    return graph


def quickstart_from_picture() -> Graph:
    """The quickstart model twice: it draws a picture, and then what happens in it."""
    graph, model, prompt, still = bundled(PICTURE_NOTE, 480, {"positive": PICTURED}, {"frames": 1})
    drawn = graph.add("OpenT2VSampler", sampler_links(model, prompt, still), {"seed": 1})
    graph.column(380)
    picture = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (drawn, "latent")})
    words = {name: (prompt, name) for name in ("positive", "negative")}
    links = {"model": (model, "model"), "vae": (model, "vae"), **words, "start_image": (picture, "images")}
    start = graph.add("OpenT2VImageToVideo", links)
    graph.column(340)
    words = {name: (start, name) for name in words}
    sampler = graph.add(
        "OpenT2VSampler", {"model": (model, "model"), **words, "latent": (start, "latent")}, {"seed": 2}
    )
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", file_links(model, sampler, start), {"filename_prefix": "OpenT2V_from_picture"})
    graph.asked = [(prompt, "positive"), (drawn, "seed"), (sampler, "seed")]
    return graph


def video_to_video() -> Graph:
    """The frames of a video, as a latent, made anew in part."""
    graph = Graph()
    graph.column(340)
    graph.note(VIDEO_NOTE, 460)
    graph.column(380)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    # No file, because the page would report a missing one as an error.
    small = {"file": "", "count": 33, "fps": 16, "width": 96, "height": 96}
    video = graph.add("OpenT2VLoadVideo", values={**small, "upload": "image"})
    graph.column(380)
    texts = {"positive": "a yellow star moving to the right on a grey background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, texts)
    latent = graph.add("OpenT2VEncodeVideo", {"vae": (model, "vae"), "images": (video, "images")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", sampler_links(model, prompt, latent), {"seed": 1, "denoise": 0.6})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", file_links(model, sampler, video), {"filename_prefix": "OpenT2V_anew"})
    graph.asked = [(video, "file"), (prompt, "positive"), (sampler, "denoise"), (sampler, "seed")]
    return graph


def finishing() -> Graph:
    """The quickstart model, and steps between its frames and the file."""
    graph, model, prompt, latent = bundled(FINISH_NOTE, 460)
    sampler = graph.add("OpenT2VSampler", sampler_links(model, prompt, latent), {"seed": 1})
    graph.column(340)
    colours = graph.add("OpenT2VColourMatch")
    rate = graph.add("OpenT2VFrameRate", {"finishing": (colours, "finishing")})
    shown = {"text": CAPTIONS, "size": 0.17}
    captions = graph.add("OpenT2VCaption", {"finishing": (rate, "finishing")}, shown)
    graph.column(400)
    steps = {"finishing": (captions, "finishing")}
    graph.add(
        "OpenT2VDecodeToVideo", {**file_links(model, sampler, latent), **steps}, {"filename_prefix": "OpenT2V_finished"}
    )
    graph.asked = [(prompt, "positive"), (captions, "text"), (sampler, "seed")]
    return graph


def step_cache() -> Graph:
    """The quickstart model measured, sampled by the plan that comes of it, and compared."""
    graph, model, prompt, latent = bundled(CACHE_NOTE, 520)
    links = sampler_links(model, prompt, latent)
    same = {"seed": 1, "control_after_generate": "fixed"}
    measured = graph.add("OpenT2VCalibrateCache", links, same)
    graph.column(340)
    chosen = {"policy": "auto", "target_speedup": 2.0, "predictor": "linear"}
    cache = graph.add("OpenT2VStepCache", {"profile": (measured, "profile")}, chosen)
    sampler = graph.add("OpenT2VSampler", {**links, "step_cache": (cache, "step_cache")}, same)
    graph.column(300)
    pictures = {
        name: (graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (sampled, "latent")}), "images")
        for name, sampled in (("images", sampler), ("reference_images", measured))
    }
    graph.add("OpenT2VCompareCache", pictures)
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", file_links(model, sampler, latent), {"filename_prefix": "OpenT2V_cached"})
    graph.asked = [(prompt, "positive"), (cache, "target_speedup")]
    return graph


def prompt_travel() -> Graph:
    """The quickstart model beyond its length: windows over time, and a prompt that travels through them."""
    graph, model, prompt, latent = bundled(TRAVEL_NOTE, 460, {"positive": TRAVELLING}, {"frames": 65})
    windows = graph.add("OpenT2VWindows", values={"length": 33, "overlap": 16})
    links = {**sampler_links(model, prompt, latent), "windows": (windows, "windows")}
    sampler = graph.add("OpenT2VSampler", links, {"seed": 1})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", file_links(model, sampler, latent), {"filename_prefix": "OpenT2V_travel"})
    graph.asked = [(prompt, "positive"), (latent, "frames"), (sampler, "seed")]
    return graph


def _storyboard(note: str, height: int, shots: str) -> tuple[Graph, int, int, int]:
    """The page of a story, and the ids of its model, storyboard and prompt."""
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(note, height)
    graph.column(400)
    links = {"model": (model, "model"), "clip": (model, "clip")}
    story = graph.add("OpenT2VStoryboard", links, {"shots": shots, "seed": 1, "control_after_generate": "fixed"})
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (story, "clip"), "positive": (story, "prompt")})
    return graph, model, story, prompt


def _joined_shots(graph: Graph, story: int, links: dict[str, tuple[int, str]], prefix: str) -> Graph:
    """The page, ended by a file of each shot and one of all.

    Args:
        links: of what a shot's file is made from.
    """
    graph.column(360)
    shot = graph.add("OpenT2VDecodeToVideo", {**links, "filename_prefix": (story, "label")}, {"keep": True})
    graph.column(400)
    files = {"files": (shot, "file"), "overlap": (story, "transition")}
    graph.add("OpenT2VJoinFiles", files, {"filename_prefix": prefix})
    graph.asked = [(story, "shots"), (story, "seed")]
    return graph


def long_video_storyboard() -> Graph:
    """Shots that the graph runs over, and one file of them."""
    graph, model, story, prompt = _storyboard(STORY_NOTE, 500, STORY)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model"), "frames": (story, "frames")})
    graph.column(340)
    links = {**sampler_links(story, prompt, latent), "seed": (story, "seed")}
    sampler = graph.add("OpenT2VSampler", links, {"keep": True})
    return _joined_shots(graph, story, file_links(model, sampler, latent), "OpenT2V_story")


def keyframes_first() -> Graph:
    """A story's pictures as videos of one frame, and what lies between them."""
    graph, model, story, prompt = _storyboard(KEYFRAMES_NOTE, 560, KEYFRAMES_STORY)
    still = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")}, {"frames": 1})
    graph.column(340)
    links = {**sampler_links(story, prompt, still), "seed": (story, "seed")}
    pictures = graph.add("OpenT2VSampler", links, {"keep": True})
    graph.column(380)
    decoded = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (pictures, "latent")})
    links = {"images": (decoded, "images"), "transition": (story, "transition"), "picture": (story, "picture")}
    keyframes = graph.add("OpenT2VKeyframes", links)
    graph.add("SaveImage", {"images": (keyframes, "start")}, {"filename_prefix": "OpenT2V_keyframe"})
    graph.column(380)
    links = {"model": (story, "model"), "vae": (model, "vae"), "frames": (story, "frames")}
    links |= {name: (prompt, name) for name in ("positive", "negative")}
    links |= {"images": (keyframes, "start"), "end": (keyframes, "end")}
    between = graph.add("OpenT2VContinue", links, {"overlap": 1})
    graph.column(340)
    links = {"model": (story, "model"), "seed": (story, "seed")}
    links |= {name: (between, name) for name in ("positive", "negative", "latent")}
    sampler = graph.add("OpenT2VSampler", links, {"keep": True})
    return _joined_shots(graph, story, file_links(model, sampler, between), "OpenT2V_keyframes")


def continue_video() -> Graph:
    """The quickstart model twice: the second clip goes on where the first one ends."""
    graph, model, prompt, latent = bundled(CONTINUE_NOTE, 480)
    first = graph.add("OpenT2VSampler", sampler_links(model, prompt, latent), {"seed": 1})
    graph.column(380)
    clip = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (first, "latent")})
    words = {name: (prompt, name) for name in ("positive", "negative")}
    frames = {"images": (clip, "images"), "anchor": (clip, "images")}
    start = graph.add(
        "OpenT2VContinue", {"model": (model, "model"), "vae": (model, "vae"), **words, **frames}, {"overlap": 5}
    )
    graph.column(340)
    words = {name: (start, name) for name in words}
    second = graph.add("OpenT2VSampler", {"model": (model, "model"), **words, "latent": (start, "latent")}, {"seed": 2})
    graph.column(300)
    after = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (second, "latent")})
    both = {
        "first": (clip, "images"),
        "second": (after, "images"),
        "overlap": (start, "overlap"),
        "fps": (start, "fps"),
        "anchor": (clip, "images"),
    }
    joined = graph.add("OpenT2VJoinClips", both)
    graph.column(400)
    saved = {"images": (joined, "images"), "fps": (start, "fps")}
    graph.add("OpenT2VSaveVideo", saved, {"filename_prefix": "OpenT2V_continued"})
    graph.asked = [(prompt, "positive"), (start, "overlap"), (second, "seed")]
    return graph


def lora() -> Graph:
    """The quickstart model with its LoRA."""
    graph = Graph()
    graph.column(340)
    graph.note(LORA_NOTE, 460)
    graph.column(360)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    style = {"lora": "opent2v-quickstart-outline.safetensors"}
    styled = graph.add("OpenT2VLoadLora", {"model": (model, "model"), "clip": (model, "clip")}, style)
    graph.column(380)
    texts = {"positive": "a white square moving to the right on a black background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (styled, "clip")}, texts)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (styled, "model")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", sampler_links(styled, prompt, latent), {"seed": 1})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", file_links(model, sampler, latent), {"filename_prefix": "OpenT2V_outline"})
    graph.asked = [(prompt, "positive"), (styled, "strength_model"), (sampler, "seed")]
    return graph


def what_is_in_this_file() -> Graph:
    """The file doctor on the LoRA of the pack."""
    graph = Graph()
    graph.column(460)
    graph.note(INSPECT_NOTE, 460)
    graph.column(560)
    doctor = graph.add("OpenT2VInspectFile", values={"file": "opent2v-quickstart-outline.safetensors"})
    graph.asked = [(doctor, "file")]
    return graph


BUNDLED = (
    quickstart,
    quickstart_from_picture,
    video_to_video,
    finishing,
    step_cache,
    lora,
    prompt_travel,
    long_video_storyboard,
    keyframes_first,
    continue_video,
    what_is_in_this_file,
)
