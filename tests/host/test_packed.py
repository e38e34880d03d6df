"""Packed weights in a real ComfyUI: held as stored, multiplied out while they compute, LoRAs computed beside them."""

from __future__ import annotations

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
CLOSE = 1e-5


@pytest.fixture(scope="module")
def found(comfyui, python):
    return cases_of(report_of(python, "inside_packed.py", comfyui, timeout=600))("packed packed")


def test_whole_and_in_part_it_computes_what_its_numbers_do(found):
    assert found["kind"] is True and found["dynamic"] is False
    assert found["alone"] <= CLOSE and found["alone in part"] <= CLOSE


def test_a_lora_is_computed_beside_it_and_leaves_it_as_stored(found):
    assert found["effect"] > 0.05
    assert found["lora"] <= CLOSE and found["lora in part"] <= CLOSE
    assert found["again"] <= CLOSE and found["kept"] is True
    assert found["report"].endswith("in its computing precision; the toy int4 weights stay as they are")


def test_the_host_counts_the_bytes_that_are_there(found):
    assert 0.2 < found["size"] < 0.8


def test_saving_it_is_refused_in_words(found):
    assert found["saved"] == (
        "FamilyError: This MODEL's weights are stored as toy int4, which cannot be saved again. Load its file with "
        "dtype bf16 or fp16, then save."
    )
