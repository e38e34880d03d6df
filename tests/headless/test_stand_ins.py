"""ComfyUI's own picture and sound nodes on the embedded host."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from opent2v.headless.runner import run
from opent2v.headless.stand_ins import STAND_INS
from opent2v.headless.workflow import WorkflowError, load_workflow, validate
from opent2v.host import embedded
from opent2v.loaders import vision_file
from opent2v.tests.loaders import vision_files


@pytest.fixture
def folder(tmp_path):
    embedded.configure(input=tmp_path, output=tmp_path / "output")
    yield tmp_path
    embedded.configure()


def loaded(name):
    return STAND_INS["LoadImage"]().load_image(name)


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def test_transparency_becomes_a_mask_and_the_colour_below_it_stays(folder):
    pixels = np.zeros((3, 5, 4), np.uint8)
    pixels[..., 0], pixels[1, 2, 3], pixels[0, 0, 3] = 255, 255, 51
    Image.fromarray(pixels, "RGBA").save(folder / "a.png")
    image, mask = loaded("a.png")
    assert image.shape == (1, 3, 5, 3) and image.dtype == torch.float32
    assert image[..., 0].eq(1).all() and image[..., 1:].eq(0).all()
    assert mask.shape == (1, 3, 5)
    assert (mask[0, 1, 2], mask[0, 2, 2]) == (0, 1) and mask[0, 0, 0] == pytest.approx(0.8)


def test_an_opaque_picture_has_comfyuis_empty_mask(folder):
    Image.new("RGB", (6, 4), (0, 51, 255)).save(folder / "sub.png")
    image, mask = loaded("sub.png")
    assert image[0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert mask.shape == (1, 64, 64) and not mask.any()


def test_a_phones_picture_is_turned_upright(folder):
    picture = Image.new("RGB", (8, 4))
    picture.putpixel((0, 3), (255, 255, 255))  # bottom left comes to the top left
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "phone.png", exif=exif)
    image, _ = loaded("phone.png")
    assert image.shape == (1, 8, 4, 3) and image[0, 0, 0, 0] == 1 and image.sum() == 3


def test_sixteen_bits_of_grey_stay(folder):
    Image.fromarray(np.array([[0, 257 * 100 + 1, 65535]], np.uint16)).save(folder / "grey.png")
    image, _ = loaded("grey.png")
    assert image[0, 0, :, 1].tolist() == pytest.approx([0, 25701 / 65535, 1], abs=1e-7)


def test_a_missing_picture_is_refused_with_the_option_before_anything_runs(folder):
    (folder / "text.png").write_text("no picture")
    flow = {"1": node("LoadImage", image="no.png"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    with pytest.raises(WorkflowError, match=r"node 1 .*'no\.png' is not in the input folder .* --input DIR names"):
        validate(load_workflow(flow, {}), {})
    flow["1"]["inputs"]["image"] = "text.png"
    with pytest.raises(WorkflowError, match=r"text\.png is no picture that can be read"):
        validate(load_workflow(flow, {}), {})


def test_saved_pictures_carry_the_workflow_and_overwrite_nothing(folder):
    Image.new("RGB", (6, 4), (9, 8, 7)).save(folder / "a.png")
    flow = {
        "1": node("LoadImage", image="a.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="sub/kept"),
        "3": node("PreviewImage", images=["1", 0]),
    }
    graph = load_workflow(flow, {})
    for number in (1, 2):
        results = run(graph, {}, extra_pnginfo={"workflow": {"nodes": []}})
        name = f"kept_0000{number}_.png"
        assert results["2"]["ui"]["images"] == [{"filename": name, "subfolder": "sub", "type": "output"}]
        with Image.open(folder / "output" / "sub" / name) as picture:
            assert picture.getpixel((5, 3)) == (9, 8, 7)
            assert json.loads(picture.info["prompt"]) == graph.prompt()
            assert json.loads(picture.info["workflow"]) == {"nodes": []}
    assert results["3"]["ui"]["opent2v_remarks"] == ["Pictures of 6x4, not kept: 1. Take Save Image to keep them."]
    assert sorted(path.name for path in folder.rglob("*.p*")) == ["a.png", "kept_00001_.png", "kept_00002_.png"]


def test_sound_is_read_whole(folder):
    av = pytest.importorskip("av")
    samples = (np.sin(np.arange(12345) / 20) * 20000).astype(np.int16)
    with av.open(str(folder / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    sound = STAND_INS["LoadAudio"]().load("a.wav")["result"][0]
    assert sound["sample_rate"] == 8000 and sound["waveform"].shape == (1, 1, 12345)
    assert torch.equal(sound["waveform"][0, 0], torch.from_numpy(samples.astype(np.float32) / 32768))


def test_a_file_without_sound_is_refused(folder):
    Image.new("RGB", (6, 4)).save(folder / "a.png")
    with pytest.raises(ValueError, match=r"a\.png has no sound that can be decoded; choose another file"):
        STAND_INS["LoadAudio"]().load("a.png")


def test_an_image_encoders_own_file(folder, tmp_path, monkeypatch):
    """Loaded by the stand-in, it encodes a picture as transformers' class with the same weights does."""
    monkeypatch.setitem(vision_file._ACTIVATIONS, vision_files.WIDTH, "gelu")
    encoder = vision_files.encoder()
    vision_files.save(tmp_path / "clip_vision" / "h.safetensors", encoder)
    embedded.configure(models=tmp_path, input=folder)
    (vision,) = STAND_INS["CLIPVisionLoader"]().load_clip("h.safetensors")
    picture = torch.rand(1, 40, 30, 3)
    (output,) = STAND_INS["CLIPVisionEncode"]().encode(vision, picture, "center")
    (expected,) = STAND_INS["CLIPVisionEncode"]().encode(embedded.clip_vision(encoder), picture, "center")
    assert torch.equal(output.penultimate_hidden_states, expected.penultimate_hidden_states)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_image_encoder_computes_in_fp32(dtype):
    """Its numbers are those of the same weights in fp32, not of pixels rounded to the dtype of the file."""
    encoder = vision_files.encoder().to(dtype)
    exact = embedded.clip_vision(vision_files.encoder().to(dtype).float())
    picture = torch.rand(1, 28, 28, 3, generator=torch.Generator().manual_seed(0))
    rounded, whole = (v.encode_image(picture).penultimate_hidden_states for v in (embedded.clip_vision(encoder), exact))
    assert (rounded - whole).abs().max() < 1e-5


def test_an_image_encoders_file_that_is_not_there(folder, tmp_path):
    flow = {
        "1": node("CLIPVisionLoader", clip_name="clip_vision_h.safetensors"),
        "2": node("PreviewImage", images=["1", 0]),
    }
    embedded.configure(models=tmp_path, input=folder)
    with pytest.raises(
        WorkflowError, match=r"'clip_vision_h\.safetensors' is not in models/clip_vision, which has no f"
    ):
        validate(load_workflow(flow, {}), {})


@pytest.mark.parametrize(("crop", "is_cropped"), [("center", True), ("none", False)])
def test_a_picture_is_encoded_by_the_models_encoder(crop, is_cropped):
    vision = SimpleNamespace(encode_image=lambda image, crop: (image, crop))
    assert STAND_INS["CLIPVisionEncode"]().encode(vision, "picture", crop) == (("picture", is_cropped),)
