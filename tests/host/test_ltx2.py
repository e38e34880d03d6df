"""LTX-2 from our loaders against core's own classes and nodes, and on both hosts. ComfyUI 0.8.0 has 2.0 only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
VERSIONS = ("2.0", "2.3", "2.5")
CASES = (
    "words", "a kept picture", "masks in both", "an appended guide", "picture alone", "weighed guides", "a voice",
    "generated keyframes",
)  # fmt: skip
RUNS = [f"{version}, {name}" for version in VERSIONS for name in CASES]


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str) -> Any:
    if not (comfyui / "comfy/text_encoders/gemma4.py").is_file():
        pytest.skip("this ComfyUI has no LTX-2 with its connectors inside the MODEL")
    return report_of(python, "inside_ltx2.py", comfyui, timeout=900)


@pytest.fixture(scope="module")
def ltx2(report: Any) -> Any:
    return cases_of(report, "ltx2 ")


@pytest.fixture(scope="module")
def ltx2_more(report: Any) -> Any:
    return cases_of(report, "ltx2_more ")


@pytest.mark.parametrize("run", RUNS)
def test_our_model_equals_cores_with_its_arithmetic(ltx2, run):
    assert ltx2("equals_cores_model")[run] < 1e-4


@pytest.mark.parametrize("version", VERSIONS)
def test_the_makers_arithmetic_is_another(ltx2, version):
    assert 0.05 < ltx2("differs_from_cores_model")[version] < 2


@pytest.mark.parametrize("run", RUNS)
def test_both_hosts_give_the_same(ltx2, run):
    assert ltx2("equal_on_both_hosts")[run] < 1e-5


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_gives_the_same_on_both_hosts(ltx2, version):
    assert ltx2("folders_equal_on_both_hosts")[version] < 1e-5


@pytest.mark.parametrize("prompt", ["a prompt", "nothing"])
@pytest.mark.parametrize("version", VERSIONS)
def test_our_conditioning_equals_cores(ltx2, version, prompt):
    result = ltx2("conditioning_equals_cores")[f"{version}, {prompt}"]
    assert result["core"] < 1e-4 and result["embedded"] < 1e-5 and result["spread"] > 0.5
    assert (
        result.get("same", True)
        and result["first"] == 2
        and result["shape"][1] == result["tokens"]
        and result["unprocessed"] == [True, True]
    )


@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_the_video_vae_equals_cores(ltx2, kind):
    result = ltx2("video_vaes_equal_cores")[kind]
    assert result.pop("spread") > 0.1 and all(difference < 1e-4 for difference in result.values())


@pytest.mark.parametrize(("kind", "rate"), [("2.0", 24000), ("2.3", 48000)])
def test_the_sounds_vae_equals_cores(ltx2, kind, rate):
    result = ltx2("sound_vaes_equal_cores")[kind]
    assert result["decode"] < 1e-4 and result["encode"] < 1e-4 and result["spread"] > 0.01
    assert result["rates"] == [rate, rate] and result["shapes"][2] == result["shapes"][3]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_four_passes_equal_cores_guider_and_nodes(ltx2, version):
    assert ltx2("guidance_equals_cores_nodes")[version] < 1e-4


@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_cores_nodes_make_the_same_with_our_vaes(ltx2, kind):
    assert all(difference < 1e-4 for difference in ltx2("cores_nodes_take_our_vaes")[kind].values())


@pytest.mark.parametrize("version", VERSIONS)
def test_cores_guidance_nodes_work_on_our_model(ltx2, version):
    assert ltx2("cores_guidance_nodes_work_on_our_model")[version] < 1e-4


@pytest.mark.parametrize("kind", ["spatial", "rational", "1.5", "temporal"])
def test_our_upscaler_equals_cores(ltx2, kind):
    result = ltx2("upscalers_equal_cores")[kind]
    assert result.pop("spread") > 0.1 and all(difference < 1e-4 for difference in result.values())


@pytest.mark.parametrize("what", ["advanced sampler, EasyCache, masks", "tiled decode", "audio decode"])
def test_five_nodes_of_cores_make_the_same_of_both(ltx2, what):
    result = ltx2("five_nodes_take_both")
    assert result[what] < 1e-4 and result["spread"] > 0.01


@pytest.mark.parametrize("version", VERSIONS)
def test_a_negative_prompt_by_attention_is_the_same_on_both_hosts_and_on_cores_model(ltx2_more, version):
    result = ltx2_more("nag_of_both_streams")[version]
    assert result["core"] < 1e-4 and result["hosts"] < 1e-5 and result["without"] > 1e-3


def test_cores_node_reads_what_a_lora_says_of_itself(ltx2_more):
    factors = ltx2_more("what_a_lora_says_of_itself")
    assert len(factors) == 8
    assert all(factor == (2 if name.startswith("ic") else 1) for name, factor in factors.items()), factors


def test_cores_nodes_stop_in_our_vaes_at_the_next_layer(ltx2_more):
    nodes = ("VAEDecode", "VAEDecodeTiled", "VAEEncode", "LTXVAudioVAEDecode", "LTXVAudioVAEEncode")
    assert ltx2_more("layers_after_an_interrupt") == dict.fromkeys(nodes, 0)
