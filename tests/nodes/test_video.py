"""Decoding and saving: messages, metadata, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import torch

from opent2v.host import InputRefused, embedded
from opent2v.media.formats import FORMATS, available
from opent2v.media.pyav import MissingPyAV
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.media.pages import page_metadata
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny

FRAMES = torch.rand(5, 32, 48, 3)


@pytest.fixture
def output():
    return embedded.output_folder()


def save(**given):
    (file, _), ui = call("OpenT2VSaveVideo", images=FRAMES, **given)
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
    (images, _), _ = call("OpenT2VDecode", vae=vae, latent={"samples": torch.randn(1, 16, 3, 4, 4)})
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


def refused(**given) -> str:
    """The message of an input that is refused before the run; it names the input in front."""
    with pytest.raises(InputRefused) as error:
        NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"].VALIDATE_INPUTS(**given)
    assert error.value.name in given and str(error.value).split()[0].rstrip(":") == error.value.name
    return str(error.value)


def test_a_bad_name_is_told_before_the_run(tmp_path):
    node = NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"]
    assert node.VALIDATE_INPUTS(filename_prefix="a/b") is True
    assert node.VALIDATE_INPUTS() is True  # comes over a link
    assert refused(filename_prefix="../b").startswith("filename_prefix: The file or folder name '..' leads out")
    (tmp_path / "file").write_text("")
    embedded.configure(output=tmp_path / "file")
    assert "a file stands where a folder is needed" in refused(filename_prefix="b")


def test_a_missing_pyav_is_no_inputs_fault(monkeypatch):
    def missing():
        raise MissingPyAV("av (PyAV) cannot be imported")

    monkeypatch.setattr("opent2v.nodes.saving.check_pyav", missing)
    with pytest.raises(InputRefused) as error:
        NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"].VALIDATE_INPUTS(filename_prefix="clip")
    assert (error.value.name, str(error.value)) == ("", "av (PyAV) cannot be imported")


# --- formats ---

BIG = torch.rand(5, 64, 64, 3)


@pytest.mark.parametrize("key", available())
def test_every_format_can_be_saved_and_says_what_the_page_makes_of_it(output, key):
    prompt = {"6": {"class_type": "OpenT2VSaveVideo", "inputs": {"fps": 16}}}
    (file, video), ui = call("OpenT2VSaveVideo", images=BIG, format=key, prompt=prompt, filename_prefix="a/clip")
    wanted, said = FORMATS[key], remarks(ui)
    assert (str(getattr(video, "message", "")) == "") == bool(wanted.container)
    if key == "png sequence":
        assert file == str(output / "a" / "clip_00001")
        names = [f"clip_{number:06d}.png" for number in range(1, 6)]
        assert ui["images"] == [{"filename": n, "subfolder": "a/clip_00001", "type": "output"} for n in names]
        assert said == f"Saved in the folder {file}; the first picture is shown and carries the workflow."
        return
    assert file == str(output / "a" / f"clip_00001{wanted.suffix}")
    shown = {"filename": f"clip_00001{wanted.suffix}", "subfolder": "a", "type": "output"}
    # Every file is listed; under "video" the node does not try to show it.
    assert {n: ui[n] for n in ("images", "video") if n in ui} == {"images" if wanted.shown else "video": [shown]}
    # The page makes a video of what is animated, unless the name ends in ".webp" or ".png".
    assert ("animated" in ui) == (wanted.shown == "video" or key == "webp")
    assert (f"Saved as {file}. Browsers do not play {key}" in said) == (not wanted.shown)
    assert ("The workflow is inside, but ComfyUI's page does not restore it" in said) == (not wanted.page_reads)


def test_a_name_that_holds_a_pictures_ending_is_shown_as_a_video(output):
    _, ui = save(filename_prefix="my-webpage.png")
    assert (ui["images"][0]["filename"], ui["animated"]) == ("my-webpage.png_00001.mp4", (True,))
    assert remarks(ui) == ""


def test_the_video_can_be_read_again(output):
    (file, video), _ = call("OpenT2VSaveVideo", images=FRAMES, fps=8.0, format="mkv ffv1")
    assert video.get_stream_source() == file
    with av.open(file) as container:
        assert container.streams.video[0].average_rate == 8


@pytest.mark.parametrize("key", ["gif", "webp", "png sequence"])
def test_what_is_no_video_gives_none_and_says_so(output, key):
    (_, video), _ = call("OpenT2VSaveVideo", images=FRAMES, format=key)
    assert video.message == (
        f"A file saved as {key} is no VIDEO. Choose a format such as mp4 h264, or connect what made the frames."
    )


def test_an_old_workflow_saves_as_before(output):
    """The inputs of version 0.1 alone: an H.264 MP4."""
    node = NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"]()
    returned = node.save(images=FRAMES, fps=16.0, filename_prefix="old", quality=80)
    assert returned["ui"] == {
        "images": [{"filename": "old_00001.mp4", "subfolder": "", "type": "output"}],
        "animated": (True,),
        "opent2v_remarks": [],
        "opent2v_report": [],
    }
    with av.open(returned["result"][0]) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert next(iter(node.INPUT_TYPES()["optional"])) == "audio"


def test_settings_reach_the_file(output):
    tone = {"waveform": torch.zeros(1, 1, 800), "sample_rate": 8000}
    given = {"bit_depth": "10", "crf": 30.0, "preset": "ultrafast", "size_rule": "crop", "audio_length": "pad"}
    (file, _), _ = call("OpenT2VSaveVideo", images=torch.rand(16, 65, 67, 3), audio=tone, **given)
    with av.open(file) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.width, context.height) == ("yuv420p10le", 66, 64)
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(1.0, abs=0.03)
    rough, fine = (call("OpenT2VSaveVideo", images=BIG, crf=crf, provenance=False)[0][0] for crf in (50.0, 5.0))
    assert len(Path(rough).read_bytes()) < len(Path(fine).read_bytes())
    assert b"trainedAlgorithmicMedia" in Path(file).read_bytes()
    assert b"trainedAlgorithmicMedia" not in Path(fine).read_bytes()


def test_sound_that_cannot_be_kept_is_told(output):
    tone = {"waveform": torch.zeros(1, 1, 8000), "sample_rate": 8000}
    _, ui = save(format="gif", audio=tone)
    assert "The sound was left out: gif has none." in remarks(ui)


def test_a_file_says_how_it_was_made(output):
    prompt = {
        "1": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "quickstart"}},
        "2": {"class_type": "OpenT2VSampler", "inputs": {"model": ["1", 0], "seed": 7}},
        "3": {"class_type": "OpenT2VSaveVideo", "inputs": {"images": ["2", 0]}},
    }
    file, _ = save(prompt=prompt, unique_id="3")
    with av.open(file) as container:
        made = json.loads(container.metadata["opent2v"])
    assert (made["models"], made["seeds"]) == (["quickstart"], [7])


def test_the_page_restores_every_format_it_reads(output):
    prompt, workflow = {"1": {"class_type": "OpenT2VSaveVideo", "inputs": {}}}, {"nodes": [], "title": "保存 {"}
    for key in available():
        given = {"prompt": prompt, "extra_pnginfo": {"workflow": workflow}}
        (file, _), _ = call("OpenT2VSaveVideo", images=BIG, format=key, **given)
        path = output / file
        found = page_metadata(min(path.iterdir()) if path.is_dir() else path)
        assert found == ({"prompt": prompt, "workflow": workflow} if FORMATS[key].page_reads else {}), key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "avi"}, "format is 'avi'; expected mp4 h264"),
        ({"bit_depth": "16"}, "bit_depth is 16, but mp4 h264 has 10 bits at most"),
        ({"bit_depth": "ten"}, "bit_depth is 0; expected 8, 10 or 16"),
        ({"crf": 52.0}, "crf is 52.0; mp4 h264 takes 0 (best) to 51"),
        ({"preset": "warp"}, "preset is 'warp'; mp4 h264 has ultrafast"),
        ({"format": "mp4 av1", "preset": "slow"}, "preset is 'slow'; mp4 av1 has 0, 1"),
        ({"format": "gif", "fps": 60.0}, "a GIF shows 50 frames a second at most"),
        ({"quality": 101}, "quality is 101; expected a number from 0"),
        ({"fps": 2000.0}, "fps is 2000.0; expected a number from 0.01 to 1000"),
    ],
)
def test_bad_settings_are_told_before_the_run(given, message):
    assert message in refused(filename_prefix="clip", **given)


def test_what_comes_over_a_link_is_not_checked_yet():
    node = NODE_CLASS_MAPPINGS["OpenT2VSaveVideo"]
    names = ("filename_prefix", "fps", "quality", "crf", "preset", "bit_depth")
    assert node.VALIDATE_INPUTS(**dict.fromkeys(names)) is True
    assert node.VALIDATE_INPUTS(format=None, crf=99.0) is True
