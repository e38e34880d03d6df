"""The templates of workflows/: each can be opened, finds its files by name, fits the window, and runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from opent2v.families.wan.variants import PUBLISHED
from opent2v.headless import runner, workflow
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.workflows import tiny_files
from opent2v.tests.workflows.bundled import BUNDLED, WITHOUT_VIDEO
from opent2v.tests.workflows.core_nodes import CORE_CLASSES, CORE_TITLES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
MODELS = [name for name in NAMES if name not in (*BUNDLED, *WITHOUT_VIDEO)]
CLASSES = {**NODE_CLASS_MAPPINGS, **CORE_CLASSES}
TITLES = {**NODE_DISPLAY_NAME_MAPPINGS, **CORE_TITLES}
# Loader -> the widgets that name files, by their place in widgets_values.
LOADERS = {
    "OpenT2VLoadDiffusionModel": (0,),
    "OpenT2VLoadTextEncoder": (0, 1),
    "OpenT2VLoadVAE": (0,),
    "OpenT2VUpscaleLatent": (0,),
    "CLIPVisionLoader": (0,),
}
DIRECTORIES = {
    "OpenT2VLoadDiffusionModel": {"diffusion_models", "checkpoints"},
    "OpenT2VLoadTextEncoder": {"text_encoders"},
    "OpenT2VLoadVAE": {"vae"},
    "OpenT2VUpscaleLatent": {"latent_upscale_models"},
    "CLIPVisionLoader": {"clip_vision"},
}
# Published as a pickle only, which the page does not download: the note says how it is converted.
CONVERTED = ("videocrafter_text_to_video",)
# What the canvas of ComfyUI's page shows in a window of 1600 x 900, bars left and above taken off.
CANVAS = 1535, 820


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def note_of(flow: dict[str, Any]) -> str:
    (note,) = (node["widgets_values"][0] for node in flow["nodes"] if node["type"] == "Note")
    return note


def files(flow: dict[str, Any]) -> list[tuple[str, str]]:
    """(folder, name) of every file that a template asks for."""
    return tiny_files.asked(flow)


def load(flow: dict[str, Any]) -> Any:
    graph = workflow.load_workflow(flow, CLASSES, TITLES)
    workflow.validate(graph, CLASSES)
    return graph


def changed(name: str, **values: Any) -> dict[str, Any]:
    """A template in the API's form with other values, in every node that has such a widget."""
    prompt = workflow.load_workflow(read(name), CLASSES, TITLES).prompt()
    for node in prompt.values():
        node["inputs"].update({k: v for k, v in values.items() if not isinstance(node["inputs"].get(k, []), list)})
    return prompt


def run(flow: dict[str, Any], output: Path, stem: str = "") -> list[Any]:
    """Run a workflow and return the frames of the one video that it leaves; of several, the last one of this name."""
    results = runner.run(load(flow), CLASSES)
    video, *others = sorted(output.rglob(f"{stem}*.mp4"), reverse=True)
    shown = [one["filename"] for result in results.values() for one in result["ui"].get("images", ())]
    assert shown[-1] == video.name and (stem or (not others and len(shown) == 1))
    return frames_of(video)


def frames_of(video: Path) -> list[Any]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_there_is_one_for_every_family_and_task():
    from opent2v.families import families

    assert set(BUNDLED) < set(NAMES)
    for family in [one.id for one in families().values() if one.files]:
        assert any(name.startswith(family) for name in MODELS), f"no template for {family}"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_script_writes(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    import workflows

    bundled = {build.__name__: build for build in workflows.BUNDLED}
    models = {template.name: template for template in workflows.TEMPLATES}
    graph = bundled[name]() if name in bundled else workflows.generation(models[name])
    assert graph.page(name) == read(name), "run scripts/make/workflows.py"


@pytest.mark.parametrize("name", MODELS)
def test_it_is_valid_where_its_files_are(name, tmp_path):
    flow = read(name)
    for directory, file in files(flow):
        path = tmp_path / directory / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for node in flow["nodes"]:
        if node["type"] == "OpenT2VLoadVideo":
            node["widgets_values"][0] = tiny_files.put_clip(tmp_path, 5, 32)
    embedded.configure(models=tmp_path, input=tmp_path)
    assert len(load(flow)) == len(flow["nodes"]) - 1, "all but the note"


def test_a_file_that_is_missing_is_told_by_name(tmp_path):
    embedded.configure(models=tmp_path)
    with pytest.raises(workflow.WorkflowError, match=r"wan2\.1_t2v_1\.3B_fp16\.safetensors"):
        load(read("wan2.1_text_to_video"))


@pytest.mark.parametrize("name", MODELS)
def test_every_loader_links_the_files_that_its_widgets_name(name):
    flow = read(name)
    loaders = [node for node in flow["nodes"] if node["type"] in LOADERS]
    if name in CONVERTED:
        (note,) = (node["widgets_values"][0] for node in flow["nodes"] if node["type"] == "Note")
        assert [node["properties"].get("models") for node in loaders] == [None]
        assert f"python3 scripts/convert.py model.ckpt {loaders[0]['widgets_values'][0]}" in note
        return
    assert {"OpenT2VLoadDiffusionModel", "OpenT2VLoadTextEncoder"} <= {node["type"] for node in loaders}
    for node in loaders:
        links = node["properties"]["models"]
        named = [node["widgets_values"][place] for place in LOADERS[node["type"]]]
        assert [one["name"] for one in links] == [value for value in named if value != "none"]
        for one in links:
            assert set(one) == {"name", "url", "directory"}
            assert one["directory"] in DIRECTORIES[node["type"]]
            assert re.fullmatch(r"https://huggingface\.co/[\w.-]+/[\w.-]+/resolve/main/[\w./-]+", one["url"])
            assert one["url"].rpartition("/")[2] == one["name"], "the page looks for this name in the folder"


@pytest.mark.parametrize("name", NAMES)
def test_every_node_names_its_pack_and_version(name):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version is not None
    for node in read(name)["nodes"]:
        if node["type"] in NODE_CLASS_MAPPINGS:
            assert node["properties"]["cnr_id"] == "opent2v" and node["properties"]["ver"] == version[1]
        elif node["type"] != "Note":
            assert node["type"] in CORE_CLASSES and node["properties"]["cnr_id"] == "comfy-core"
            assert f'">={node["properties"]["ver"]}"' in project, "of the least ComfyUI"


@pytest.mark.parametrize("name", MODELS)
def test_the_note_names_every_file_in_both_languages(name):
    flow = read(name)
    (note,) = (node["widgets_values"][0] for node in flow["nodes"] if node["type"] == "Note")
    for directory, file in files(flow):
        assert file in note and f"models/{directory}" in note
    assert "0 means the model's own value." in note and "0 表示模型自己的默认值。" in note


@pytest.mark.parametrize("name", MODELS)
def test_the_note_says_how_large_the_model_is_and_under_which_licence(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    import workflows

    (template,) = (template for template in workflows.TEMPLATES if template.name == name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert template.licence in readme, "the same as README's table says"
    size = f"{template.model.gigabytes:g} GB, " if template.model.gigabytes else ""
    assert f"({size}{template.licence})" in note_of(read(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_note_says_what_to_change_first_in_both_languages(name):
    flow, chinese = read(name), json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    kinds = {str(node["id"]): node["type"] for node in flow["nodes"]}
    *_, english, other = note_of(flow).splitlines()
    assert english.startswith("Change first: ") and other.startswith("先改这些：")
    for number, widget in flow["extra"]["linearData"]["inputs"]:
        kind = kinds[number]
        assert f"{widget} in {TITLES[kind]}" in english
        assert kind not in NODE_CLASS_MAPPINGS or f"“{chinese[kind]['display_name']}”的 {widget}" in other


def test_the_doctor_reads_a_file_of_the_pack_at_once(tmp_path):
    embedded.configure(models=tmp_path)
    (result,) = runner.run(load(read("what_is_in_this_file")), CLASSES).values()
    said = "\n".join(result["ui"]["opent2v_remarks"])
    assert "opent2v-quickstart-outline.safetensors" in said and "LoRA, " in said and "models/loras" in said


@pytest.mark.parametrize("name", NAMES)
def test_nodes_lie_apart_and_in_the_window(name):
    flow = read(name)
    boxes = [(*node["pos"], *node["size"]) for node in flow["nodes"]]
    view = flow["extra"]["ds"]
    for index, (x, y, width, height) in enumerate(boxes):
        left, top = (
            (place + offset) * view["scale"] for place, offset in zip((x, y - 30), view["offset"], strict=True)
        )
        assert left >= 0 and left + width * view["scale"] <= CANVAS[0]
        assert top >= 0 and top + (height + 30) * view["scale"] <= CANVAS[1]
        for further, beyond, wide, high in boxes[index + 1 :]:
            apart = x + width <= further or further + wide <= x or y + height <= beyond - 30 or beyond + high <= y - 30
            assert apart, "nodes do not overlap, titles (30 pixels above a node) included"


def test_nothing_is_put_below_a_node_that_grows(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    import workflows

    graph = workflows.Graph()
    graph.column(340)
    graph.add("OpenT2VSampler")
    with pytest.raises(ValueError, match="OpenT2VDecode would stand below OpenT2VSampler, which grows"):
        graph.add("OpenT2VDecode")
    with pytest.raises(ValueError, match="Note would stand below OpenT2VSampler, which grows"):
        graph.note("words", 100)
    graph.column(340)
    graph.add("OpenT2VDecode")


@pytest.mark.parametrize("name", NAMES)
def test_app_mode_is_told_what_to_ask_and_what_to_show(name):
    flow = read(name)
    nodes = {str(node["id"]): node for node in flow["nodes"]}
    app = flow["extra"]["linearData"]
    asked = {widget for _, widget in app["inputs"]}
    assert asked & ({"file"} if name in WITHOUT_VIDEO else {"positive", "prompt", "shots"})
    assert ("image" in asked) == name.endswith(("image_to_video", "reference_to_video"))
    for number, widget in app["inputs"]:
        inputs = CLASSES[nodes[number]["type"]].INPUT_TYPES()
        assert widget in {**inputs["required"], **inputs.get("optional", {})}
        linked = [one["name"] for one in nodes[number]["inputs"] if one.get("link") is not None]
        assert widget not in linked, "what another node gives cannot be asked"
    (saving,) = app["outputs"]
    assert CLASSES[nodes[saving]["type"]].OUTPUT_NODE


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_small_picture(name):
    path = FOLDER / f"{name}.jpg"
    assert path.stat().st_size < 25_000
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and 400 <= picture.width <= 600


def test_every_picture_has_its_template():
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == NAMES


@pytest.mark.parametrize("name", MODELS)
def test_it_runs_on_tiny_weights_of_the_published_names(name, tmp_path, monkeypatch):
    if name == "cogvideox_image_to_video":
        pytest.skip("this model is told by a width of 3072 and makes 720 x 480 only: no tiny file stands for it")
    # Two experts are told by a width of 5120; here that of the tiny files says the same.
    monkeypatch.setitem(PUBLISHED, (128, 16, 0, True), PUBLISHED[5120, 16, 0, True])
    output = tmp_path / "videos"
    tiny_files.put(tmp_path / "models", files(read(name)))
    embedded.configure(models=tmp_path / "models", output=output, input=tmp_path)
    width, height, count = next(size for start, size in SIZES.items() if name.startswith(start))
    small = {"width": width, "height": height, "frames": count, "steps": 2}
    prompt = changed(name, **small, **({"overlap": 5} if name.endswith("_continue") else {}))
    before = 0
    for node in prompt.values():
        if node["class_type"] == "OpenT2VLoadVideo":
            node["inputs"]["file"], before = tiny_files.put_clip(tmp_path, 30, 32), 30 - 5
    made = run(prompt, output)
    times = 2 if "two_stage" in name else 1
    assert len(made) == before + count and made[0].shape == (times * height, times * width, 3)
    assert max(frame.std() for frame in made) > 0, "random weights draw noise, not one colour"


# Start of a template's name -> (width, height, frames), about the smallest its family makes.
SIZES = {
    "wan2.2_5b": (64, 64, 5),
    "wan": (32, 32, 5),
    "ltx": (64, 64, 9),
    "minimax_h3": (32, 32, 22),
    "mochi": (32, 32, 7),
    "cogvideox": (32, 32, 9),
    "hunyuan": (32, 32, 5),
    "open_sora": (32, 32, 5),
    "videocrafter": (32, 32, 4),
}


def test_finishing_runs(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    made = run(changed("finishing", steps=2), output)
    assert len(made) == 66, "33 frames at 16 per second become 66 at 32"
    bottom, rest = made[4][-27:], made[4][:60]
    assert bottom.max() > 200 and rest.shape == (60, 96, 3), "the caption's letters are white"


def test_a_video_starts_from_the_picture_that_is_drawn_first(tmp_path):
    embedded.configure(output=tmp_path)
    graph = changed("quickstart_from_picture", steps=6)
    (start,) = (node for node in graph.values() if node["class_type"] == "OpenT2VImageToVideo")
    saved = {
        "class_type": "SaveImage",
        "inputs": {"images": start["inputs"]["start_image"], "filename_prefix": "first"},
    }
    runner.run(load({**graph, "9000": saved}), CLASSES)
    drawn = np.asarray(Image.open(next(tmp_path.glob("first*.png"))).convert("RGB")).astype(float)
    frames = frames_of(next(tmp_path.glob("*.mp4")))
    assert len(frames) == 33 and frames[0].shape == drawn.shape
    assert abs(frames[0] - drawn).mean() < 6 and abs(frames[32] - drawn).max() > 60


def test_prompt_travel_runs_beyond_the_models_length(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    frames = run(changed("prompt_travel", steps=6), output)
    assert len(frames) == 65, "the model was trained on 33"
    red, _, blue = frames[4].reshape(-1, 3).max(0)
    assert red > 150 > blue, "it begins with a red triangle"
    red, _, blue = frames[62].reshape(-1, 3).max(0)
    assert blue > 150 > red, "it ends with a blue one"


def test_a_storyboard_ends_in_one_file_and_of_a_changed_shot_only_that_is_made(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    graph = changed("long_video_storyboard", steps=4)
    (story,) = (node for node in graph.values() if node["class_type"] == "OpenT2VStoryboard")
    story["inputs"]["shots"] = "9 f | a red triangle\n9 f | a blue star | fade 4 f"
    assert len(run(graph, output, "OpenT2V_story")) == 14
    shots = {path: path.stat().st_mtime_ns for path in output.glob("shot_*.mp4")}
    story["inputs"]["shots"] += "\n5 f | a white square"
    assert len(run(graph, output, "OpenT2V_story")) == 19
    assert len(list(output.glob("shot_*.mp4"))) == 3
    assert {path: path.stat().st_mtime_ns for path in shots} == shots


def test_keyframes_are_looked_at_before_the_video_between_them_is_made(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    graph = changed("keyframes_first", steps=4)
    (story,) = (node for node in graph.values() if node["class_type"] == "OpenT2VStoryboard")
    story["inputs"]["shots"] = (
        "17 f | a red circle on a black background\n17 f | a blue circle on a black background | lead"
    )
    kinds = {node["class_type"]: number for number, node in graph.items()}
    # As the page runs it for one node: everything that node needs, and nothing behind it.
    behind = {"OpenT2VContinue", "OpenT2VDecodeToVideo", "OpenT2VJoinFiles"}
    links = {kinds["OpenT2VContinue"]}
    looked_at = {
        number: node
        for number, node in graph.items()
        if node["class_type"] not in behind
        and not any(isinstance(value, list) and value[0] in links for value in node["inputs"].values())
    }
    runner.run(load(looked_at), CLASSES)
    pictures = sorted(output.glob("OpenT2V_keyframe_*.png"))
    colours = [Image.open(path).convert("RGB").resize((1, 1)).getpixel((0, 0)) for path in pictures]
    assert len(pictures) == 2 and colours[0][0] > colours[0][2] and colours[1][2] > colours[1][0]
    kept = {path: path.stat().st_mtime_ns for path in (output / "OpenT2V_kept").iterdir()}

    frames = run(graph, output, "OpenT2V_keyframes")
    assert len(frames) == 33, "two shots that share the frame of the second picture"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "the pictures are not made again"
    assert len(list((output / "OpenT2V_kept").iterdir())) == 4
    mean = [frame.reshape(-1, 3).mean(0) for frame in frames]
    assert mean[1][0] > mean[1][2] and mean[16][2] > mean[16][0], "the first shot ends with the second picture"


def test_a_continued_clip_keeps_its_first_frames(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    frames = run(changed("continue_video", steps=6), output)
    assert len(frames) == 61, "two clips of 33 that share 5"


def test_lora_runs_and_its_strength_counts(tmp_path):
    made = []
    for strength in (0.0, 1.0):
        embedded.configure(output=tmp_path / str(strength))
        made.append(run(changed("lora", steps=4, strength_model=strength), tmp_path / str(strength)))
    assert len(made[0]) == len(made[1]) == 33
    assert abs(made[0][8].astype(float) - made[1][8]).mean() > 1, "the LoRA changes the picture"


def test_video_to_video_runs(tmp_path):
    output = tmp_path / "videos"
    embedded.configure(output=output)
    first = run(changed("quickstart", steps=2), output)
    (tmp_path / "input").mkdir()
    (video,) = output.rglob("*.mp4")
    shutil.move(video, tmp_path / "input" / "OpenT2V_00001.mp4")
    embedded.configure(output=output, input=tmp_path / "input")
    made = run(changed("video_to_video", steps=4, file="OpenT2V_00001.mp4"), output)
    assert len(made) == len(first) == 33 and made[0].shape == first[0].shape
    assert abs(made[8].astype(float) - first[8]).mean() > 1, "a part of it is made anew"


def test_video_to_video_asks_for_a_video(tmp_path):
    embedded.configure(output=tmp_path, input=tmp_path)
    with pytest.raises(workflow.WorkflowError, match=r"file is ''; expected the name of a file in the input folder"):
        load(read("video_to_video"))
