"""Packed text encoders and VAEs in a real ComfyUI compute what their numbers do, and count as they are stored."""

from __future__ import annotations

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def case_result(comfyui, python):
    return cases_of(report_of(python, "inside_packed_text.py", comfyui, timeout=600))


def test_text_encoders_read_what_their_numbers_do(case_result):
    for kind, result in case_result("packed_text text_encoders").items():
        # ComfyUI's int8 layers round their inputs to 8 bits, and the nodes say so.
        rounds = "inputs rounded" in result["said"]
        assert result["apart"] <= (0.05 if rounds else 1e-5), kind
        assert not rounds or kind in ("int8_convrot", "asym_w4a8"), kind


def test_their_table_of_words_counts_once(case_result):
    for kind, result in case_result("packed_text text_encoders").items():
        assert result["kept"] > 1 and result["size"] < 0.6 * result["plain size"], kind
        assert abs(result["size"] - result["file"]) < result["words"] / 2, kind


def test_a_vae_decodes_what_its_numbers_do(case_result):
    for kind, result in case_result("packed_text vae").items():
        assert result["decoded"] <= 1e-5 and result["in pieces"] <= 1e-5 and result["encoded"] <= 1e-5, kind
        assert result["saved"] <= 1e-6, kind
        # The rotated format is one of matrices; the others pack convolutions as well.
        whole = kind != "int8_convrot"
        assert result["kept"] == result["matrices"] >= 50 if whole else 8 <= result["kept"] < result["matrices"], kind
        assert result["size"] < 0.3 if whole else result["size"] < 1, kind
