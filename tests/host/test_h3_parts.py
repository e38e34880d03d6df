"""MiniMax H3's VAEs, text encoder and references against core's own classes and nodes, and on both hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


NEW = "this ComfyUI has no MiniMax H3"


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str) -> Any:
    return report_of(python, "inside_h3_parts.py", comfyui, timeout=1200)


@pytest.fixture(scope="module")
def vaes(report: Any) -> Any:
    return cases_of(report, "h3_vaes ")


@pytest.fixture(scope="module")
def text(report: Any) -> Any:
    return cases_of(report, "h3_text ")


@pytest.fixture(scope="module")
def h3(vaes: Any, comfyui: Path) -> Any:
    if not (comfyui / "comfy/ldm/minimax").is_dir():
        pytest.skip(NEW)
    return vaes


@pytest.fixture(scope="module")
def cores_text(text: Any, comfyui: Path) -> Any:
    if not (comfyui / "comfy/ldm/minimax").is_dir():
        pytest.skip(NEW)
    return text


def test_both_hosts_compute_the_same(vaes, text):
    """On ComfyUI 0.8.0 as well, which has no MiniMax H3 itself."""
    assert all(difference < 1e-4 for difference in vaes("both_hosts_compute_the_same").values())
    shown = text("shown_on_both_hosts")
    assert all(shown["shows"]) and near(shown["embedded"]) and shown["embedded"]["seen"] > 0


def near(result: dict[str, Any]) -> bool:
    """A CONDITIONING with its tags equals another one."""
    return result["context"] < 1e-5 and result["tags"] and result["spread"] > 1 and all(result["pooled"])


def test_packed_parts_compute_as_their_numbers(vaes, text):
    """ComfyUI multiplies int8 layers in int8, activations too, which is less exact than the numbers."""
    results = text("packed_encoders_equal_their_numbers")
    assert results["int8_convrot"]["context"] < 0.3 and results["nvfp4_awq"]["context"] < 1e-4
    assert all(result["tags"] and result["seen"] == 8 and result["spread"] > 1 for result in results.values())
    video = vaes("a_packed_video_vae_equals_its_numbers")
    assert video["layers"] == 12 and video["ours"] < 1e-5 and video.get("core", 0) < 5e-3


def test_words_equal_cores(cores_text):
    results = cores_text("words_equal_cores")
    assert len(results) == 9 and all(near(result) for result in results.values()), results
    assert results["nothing"]["shape"][1] == 1 and results["long"]["shape"][1] > 400


def test_words_with_pictures_equal_cores(cores_text):
    results = cores_text("pictures_equal_cores")
    assert all(near(result) for result in results.values()), results
    assert [result["seen"] for result in results.values()] == [0, 8, 16]


def test_references_in_cores_node_equal_cores(cores_text):
    results = cores_text("references_equal_cores")
    assert near(results["text"]) and results["kinds"] == ["image", "image", "video_audio", "audio"]
    latents = {name: value for name, value in results["blocks"].items() if name.endswith("latent")}
    assert len(latents) == 5 and all(difference < 1e-5 for difference in latents.values()), latents


@pytest.mark.parametrize("parts", ["ours", "core's"])
@pytest.mark.parametrize("size", ["match", "max"])
def test_video_references_equals_cores_node(cores_text, size, parts):
    result = cores_text("our_references_equal_cores")[f"{size}, {parts}"]
    assert near(result["text"]) and result["latents"] < 1e-5
    assert result["facts"][0] == result["facts"][1] and len(result["facts"][0]) == 4
    assert result["empty"][0] == result["empty"][1]


def test_a_continuation_is_cores_guide_at_the_first_frame(cores_text):
    for result in cores_text("continuation_equals_cores_guide").values():
        assert result["latent"] < 1e-5 and result["sound"] < 1e-4 and result["at"] == [0, 0]


def test_pictures_at_any_frame_are_cores_guides(cores_text):
    result = cores_text("pictures_at_any_frame_equal_cores_guides")
    assert result["at"] == [[0, 20, 31]] * 2 and result["latents"] < 1e-5
    assert result["shapes"] == [[1, 24, 17, 4, 6], [1, 32, 2, 93]]


def test_the_video_vae_equals_cores_in_cores_nodes(h3):
    results = h3("video_vaes_equal_cores")
    assert results.pop("spread") > 0.1
    assert {name: shape for name, (_, shape) in results.items()} == {
        "encode 1": [1, 24, 1, 4, 6], "encode 5": [1, 24, 2, 4, 6], "encode 22": [1, 24, 7, 4, 6],
        "encode 39": [1, 24, 12, 4, 6], "decode 1": [1, 64, 96, 3], "decode 2": [5, 64, 96, 3],
        "decode 7": [22, 64, 96, 3], "decode 12": [39, 64, 96, 3], "tiles": [22, 64, 320, 3],
        "tiled": [22, 64, 320, 3],
    }  # fmt: skip
    assert all(difference < 1e-5 for difference, _ in results.values()), results


def test_pieces_of_a_video_equal_the_whole(h3):
    results = h3("streams_equal_whole_videos")
    assert results.pop("frames") == [56, 56] and results.pop("frames at a time") == 22
    assert all(difference < 1e-5 for difference in results.values()), results


def test_the_sounds_vae_equals_cores_in_cores_nodes(h3):
    results = h3("sound_vaes_equal_cores")
    assert results["decode"] < 1e-5 and results["encode"] < 1e-4 and results["spread"] > 1e-3
    assert results["rates"] == [32000, 32000] and results["shapes"] == [[1, 32, 2, 10], [1, 2, 8800]]
    assert max(results["decoders"]) < 1e-5 and max(results["encoders"]) < 1e-4 and results["time axes"] == [3, 3, 3]


def test_a_loud_sound_keeps_its_loudness(h3):
    results = h3("a_loud_sound_keeps_its_loudness")
    assert results["spread"] > 0.2 and results["core's"] < 1e-5 and results["ours"] < 1e-5


def test_a_sound_goes_into_a_latent_along_its_time(h3):
    for result in h3("a_sound_goes_into_a_latent").values():
        assert result["shape"] == [1, 32, 2, 12] and result["silent behind"] == 0 and result["filled"] > 0.1
        assert result["kept"] == [0.0] * 8 + [1.0] * 4
