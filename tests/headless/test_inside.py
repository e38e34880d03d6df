"""Workflows inside saved files, ours and ComfyUI's."""

from __future__ import annotations

import json

import av
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from opent2v.headless.graph import WorkflowError
from opent2v.headless.inside import workflow_inside
from opent2v.media import SaveSettings, VideoWriter

FLOW = {"nodes": [], "note": "ein Kreis, 圆形"}
TEXTS = {"prompt": json.dumps({"1": {}}), "workflow": json.dumps(FLOW, ensure_ascii=False)}


@pytest.mark.parametrize("key", ["mp4 h264", "webm vp9", "webp"])
def test_our_own_videos(tmp_path, key):
    settings = SaveSettings(key)
    with VideoWriter(tmp_path, "clip", settings, fps=8, width=32, height=32, metadata=TEXTS) as writer:
        writer.write(torch.zeros(2, 32, 32, 3))
    assert json.loads(workflow_inside(writer.path)) == FLOW


def test_core_pictures(tmp_path):
    texts = PngInfo()
    for name, text in TEXTS.items():
        texts.add_text(name, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=texts)
    assert json.loads(workflow_inside(tmp_path / "a.png")) == FLOW
    picture = Image.new("RGB", (4, 4))
    exif = picture.getexif()
    exif[0x0110], exif[0x010F] = f"prompt:{TEXTS['prompt']}", f"workflow:{json.dumps(FLOW)}"
    picture.save(tmp_path / "a.webp", exif=exif)
    assert json.loads(workflow_inside(tmp_path / "a.webp")) == FLOW


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ({"prompt": TEXTS["prompt"]}, TEXTS["prompt"]),
        ({"comment": json.dumps({"prompt": TEXTS["prompt"], "workflow": FLOW})}, json.dumps(FLOW)),
    ],
)
def test_the_prompt_alone_and_video_helper_suites_comment(tmp_path, tags, text):
    save_video(tmp_path / "a.mkv", tags)
    assert workflow_inside(tmp_path / "a.mkv") == text


def test_a_file_without_a_workflow_is_refused(tmp_path):
    save_video(tmp_path / "a.mkv", {"comment": "seen at the lake"})
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("text")
    for name in ("a.mkv", "a.png"):
        with pytest.raises(
            WorkflowError, match=rf"{name} carries no workflow; expected a file as ComfyUI or this pack"
        ):
            workflow_inside(tmp_path / name)
    with pytest.raises(WorkflowError, match=r"b\.png is no picture that can be read"):
        workflow_inside(tmp_path / "b.png")


def save_video(path, tags):
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        frame = av.VideoFrame(16, 16, "yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
