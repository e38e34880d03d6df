"""Decoding and saving: messages, metadata, and nothing half-written."""

from __future__ import annotations

import json

import av
import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests import tiny
from opent2v.tests.nodes.calls import call

FRAMES = torch.rand(5, 32, 48, 3)


@pytest.fixture
def output():
    return embedded.output_folder()


def save(**given):
    (file,), ui = call("OpenT2VSaveVideo", images=FRAMES, **given)
    return file, ui


def test_decoding_another_models_latent():
    _, _, vae = tiny.shared()
    with pytest.raises(ValueError) as error:
        call("OpenT2VDecode", vae=vae, latent={"samples": torch.zeros(1, 48, 3, 4, 4)})
    assert str(error.value) == (
        "The latent has 48 channels; this VAE (Wan tiny) decodes 16. "
        "Use the VAE that belongs to the model that made the latent."
    )


def test_decoding_gives_images():
    _, _, vae = tiny.shared()
    (images,), _ = call("OpenT2VDecode", vae=vae, latent={"samples": torch.randn(1, 16, 3, 4, 4)})
    assert images.shape == (9, 32, 32, 3) and images.min() >= 0 and images.max() <= 1


def test_a_file_carries_its_workflow(output):
    prompt = {"1": {"class_type": "OpenT2VSaveVideo", "inputs": {"fps": 16}}}
    workflow = {"nodes": [{"id": 1, "title": "保存"}], "links": []}
    file, _ = save(prompt=prompt, extra_pnginfo={"workflow": workflow})
    with av.open(file) as container:
        metadata = container.metadata
    assert (json.loads(metadata["prompt"]), json.loads(metadata["workflow"])) == (prompt, workflow)


def test_files_are_numbered_and_shown_with_their_folder(output):
    for number in (1, 2):
        file, ui = save(filename_prefix="shots/%width%x%height%")
        name = f"48x32_0000{number}.mp4"
        assert file == str(output / "shots" / name)
        assert ui["images"] == [{"filename": name, "subfolder": "shots", "type": "output"}]


def test_an_output_folder_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    embedded.configure(output=tmp_path / "link")
    _, ui = save(filename_prefix="a/b")
    assert ui["images"] == [{"filename": "b_00001.mp4", "subfolder": "a", "type": "output"}]
    assert (tmp_path / "real" / "a" / "b_00001.mp4").is_file()


def test_sound_and_frame_rate(output):
    file, _ = save(fps=8.0, audio={"waveform": torch.zeros(1, 2, 16000), "sample_rate": 16000})
    with av.open(file) as container:
        assert container.streams.video[0].average_rate == 8 and len(container.streams.audio) == 1


@pytest.mark.parametrize("prefix", ["../outside", "/tmp/outside", "a/../../outside", "C:\\outside", "", "a/"])
def test_a_name_that_leads_out_or_names_nothing_is_refused(output, tmp_path, prefix):
    with pytest.raises(ValueError, match=r"filename_prefix|file or folder name"):
        save(filename_prefix=prefix)
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.part"))


def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    embedded.configure(output=tmp_path / "file")
    with pytest.raises(OSError) as error:
        save()
    assert str(error.value) == (
        f"Cannot save to {tmp_path / 'file'}: a file stands where a folder is needed. Move that file or choose another "
        "output folder."
    )
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_interrupt_while_saving_leaves_nothing(output):
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        save()
    assert list(output.iterdir()) == []


def test_progress_counts_frames():
    seen = []
    embedded.configure(output=embedded.output_folder(), on_progress=lambda *what: seen.append(what))
    call("OpenT2VSaveVideo", images=torch.rand(20, 16, 16, 3), unique_id="6")
    assert seen == [("6", 16, 20), ("6", 20, 20)]


def test_a_bad_name_is_told_before_the_run(tmp_path):
    node = NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"]
    assert node.VALIDATE_INPUTS(filename_prefix="a/b") is True
    assert node.VALIDATE_INPUTS() is True  # comes over a link
    assert "leads out of its folder" in node.VALIDATE_INPUTS(filename_prefix="../b")
    (tmp_path / "file").write_text("")
    embedded.configure(output=tmp_path / "file")
    assert "a file stands where a folder is needed" in node.VALIDATE_INPUTS(filename_prefix="b")
