"""GGUF files in a real ComfyUI: listed by our nodes alone, sampled as their numbers say, LoRAs computed beside them."""

from __future__ import annotations

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
CLOSE = 1e-5


@pytest.fixture(scope="module")
def case(comfyui, python):
    return cases_of(report_of(python, "inside_gguf.py", comfyui, timeout=600), "gguf ")


def test_our_nodes_list_them_and_other_packs_lists_stay(case):
    listed = case("files")
    assert listed["ours"] == [True, True, False] and listed["sorted"] is True and listed["after"] is True
    assert (listed["text"], listed["core"], listed["endings"]) == (False, [], False)


@pytest.mark.parametrize("family", ["wan", "ltx_video", "hunyuan_video"])
def test_a_model_samples_what_its_numbers_say(case, family):
    result = case(family)
    assert result["packed"] >= 8 and result["spread"] > 0.1
    assert result["apart"] <= CLOSE and result["core"] <= CLOSE and result["again"] == 0


@pytest.mark.parametrize("family", ["wan", "ltx_video", "hunyuan_video"])
def test_a_lora_is_computed_beside_the_blocks(case, family):
    result = case(family)
    assert result["lora"] <= CLOSE < result["effect"]


@pytest.mark.parametrize("family", ["wan", "ltx_video", "hunyuan_video"])
def test_the_host_counts_the_bytes_of_the_file(case, family):
    assert 0.95 < case(family)["size"] < 1.05


def test_a_text_encoder_with_the_tokenizer_of_its_metadata(case):
    result = case("text")
    assert result["apart"] <= CLOSE and result["spread"] > 0.01 and result["shape"][2] == 256
