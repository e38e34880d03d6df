"""From latent to file in pieces, and finishing on the way."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import pytest
import torch

from opent2v.host import InputRefused, embedded
from opent2v.media.finishing import FrameRate, Loop
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.media.clips import read
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny

LATENT = {"samples": torch.randn(1, 16, 3, 4, 4)}


@pytest.fixture
def output():
    return embedded.output_folder()


def decode(latent=LATENT, **given):
    _, _, vae = tiny.shared()
    (video, file, _), ui = call("OpenT2VDecodeToVideo", vae=vae, latent=latent, **given)
    assert video.get_stream_source() == file
    return file, ui


def test_the_file_is_the_one_of_decoding_and_saving(output):
    _, _, vae = tiny.shared()
    file, ui = decode(filename_prefix="a/%width%x%height%")
    (images, _), _ = call("OpenT2VDecode", vae=vae, latent=LATENT)
    (saved, _), _ = call("OpenT2VSaveVideo", images=images, filename_prefix="b")
    # Not bit for bit: a frame that differs in the last float may round to another level, and x264 goes on from there.
    streamed, whole = read(file).float(), read(saved).float()
    assert streamed.shape == whole.shape and (streamed - whole).abs().mean() < 2
    assert file == str(output / "a" / "32x32_00001.mp4")
    assert ui["images"] == [{"filename": "32x32_00001.mp4", "subfolder": "a", "type": "output"}]
    assert ui["animated"] == (True,)


def test_workflow_and_sound_are_inside():
    prompt = {"1": {"class_type": "OpenT2VDecodeToVideo", "inputs": {}}}
    sound = {"waveform": torch.zeros(1, 2, 16000), "sample_rate": 16000}
    file, _ = decode(fps=8.0, audio=sound, prompt=prompt, extra_pnginfo={"workflow": {"nodes": []}})
    with av.open(file) as container:
        assert json.loads(container.metadata["prompt"]) == prompt
        assert container.streams.video[0].average_rate == 8 and len(container.streams.audio) == 1


def test_finishing_on_the_way():
    file, _ = decode(fps=16.0, finishing=(FrameRate(Fraction(24000, 1001), "blend"), Loop(0)))
    assert len(read(file)) == 26  # 9 frames at 16 -> 14 at 23.976 -> there and back
    with av.open(file) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)


def test_a_batch_is_one_video_after_the_other():
    file, _ = decode({"samples": torch.randn(2, 16, 2, 4, 4)})
    assert len(read(file)) == 10


def test_progress_counts_latent_frames():
    seen = []
    embedded.configure(output=embedded.output_folder(), on_progress=lambda *what: seen.append(what))
    decode(unique_id="6")
    assert seen == [("6", 1, 3), ("6", 2, 3), ("6", 3, 3)]


def test_another_models_latent(output):
    with pytest.raises(ValueError) as error:
        decode({"samples": torch.zeros(1, 48, 3, 4, 4)})
    assert str(error.value) == (
        "The latent has 48 channels; this VAE (Wan tiny) decodes 16. "
        "Use the VAE that belongs to the model that made the latent."
    )
    assert not output.exists()


def test_an_interrupt_leaves_nothing(output):
    embedded.configure(output=output, on_progress=lambda node, value, total: value == 2 and embedded.interrupt())
    with pytest.raises(embedded.Interrupted):
        decode()
    assert [path for path in output.rglob("*") if path.is_file()] == []


def test_a_latent_full_of_nan_leaves_nothing(output):
    with pytest.raises(ValueError, match="NaN or infinite"):
        decode({"samples": LATENT["samples"] * float("nan")})
    assert [path for path in output.rglob("*") if path.is_file()] == []


def test_a_bad_name_is_told_before_the_run():
    node = NODE_CLASS_MAPPINGS["OpenT2VDecodeToVideo"]
    assert node.VALIDATE_INPUTS(filename_prefix="a/b") is True and node.VALIDATE_INPUTS() is True
    with pytest.raises(InputRefused, match="leads out of its folder"):
        node.VALIDATE_INPUTS(filename_prefix="../b")


def test_only_formats_a_video_can_be_read_from():
    keys = NODE_CLASS_MAPPINGS["OpenT2VDecodeToVideo"].INPUT_TYPES()["optional"]["format"][0]
    assert keys[0] == "mp4 h264" and "webm vp9" in keys and not {"gif", "png sequence"} & set(keys)
    file, ui = decode(format="mkv ffv1")
    assert file.endswith(".mkv") and "images" not in ui


def test_finishing_frames():
    images = torch.rand(20, 16, 16, 3)
    (frames, fps, notes), ui = call("OpenT2VFinishFrames", images=images, finishing=(Loop(2),), fps=8.0)
    assert frames.shape == (18, 16, 16, 3) and fps == 8 and notes == ""
    assert ui == {"opent2v_remarks": [], "opent2v_report": []}
    assert torch.equal(frames[:16], images[2:18])
