"""Damaged and odd files with packed weights: each is refused in words before a number is read.

Tests: loaders/quantised/refused.py, loaders/quantised/marks.py, loaders/quantised/parts.py
"""

from __future__ import annotations

import json

import pytest
import torch

from opent2v.loaders import ModelFileError, open_container
from opent2v.loaders.quantised import split_header
from opent2v.tests.loaders.quantised.odd_files import ODD, file_of, has, lacks, says
from opent2v.tests.tiny import packed


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_is_refused_in_words(tmp_path, odd):
    kind, change, message = ODD[odd]
    path = file_of(tmp_path, kind, change)
    with pytest.raises(ModelFileError) as refused:
        split_header(open_container(path))
    text = str(refused.value)
    assert message in text and text.startswith(f"{path}: ")
    assert any(advice in text for advice in ("Get this model's", "get it again", "get the model's")), text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "metadata cannot be read"),
        ("[]", "metadata cannot be read"),
        ('{"format_version": "1.0"}', "metadata cannot be read ('layers')"),
        ('{"layers": {"a": "int8"}}', 'a in _quantization_metadata holds "int8", expected a JSON object'),
        (
            '{"layers": {"a": {"format": "nvfp4"}}}',
            "a.comfy_quant says int8_tensorwise {}, and the file's metadata say nvfp4",
        ),
    ],
)
def test_odd_metadata_are_refused_in_words(tmp_path, entry, message):
    path = file_of(tmp_path, "int8", lambda stored: None, metadata={"_quantization_metadata": entry})
    with pytest.raises(ModelFileError) as refused:
        split_header(open_container(path))
    assert message in str(refused.value) and "get it again" in str(refused.value)


def test_metadata_may_list_layers_of_other_parts(tmp_path):
    layers = {"a": {"format": "int8_tensorwise"}, "decoder.conv": {"format": "something else"}}
    entry = json.dumps({"layers": layers})
    path = file_of(tmp_path, "int8", lacks("a.comfy_quant"), metadata={"_quantization_metadata": entry})
    assert split_header(open_container(path))[1].kind == "int8"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("int8", says(per_row=True, orig_dtype="torch.bfloat16", orig_shape=[64, 256])),
        (
            "int8_convrot",
            says(convrot=None, convrot_groupsize=None, params={"convrot": True, "convrot_groupsize": 256}),
        ),
        ("fp8", says(full_precision_matrix_mult=True)),
        ("fp8_rows", says(format="float8_e4m3fn_rowwise")),
        ("fp8", has(input_scale=torch.ones(1))),
        ("asym_w4a8", lacks("a.weight_codebook")),
        ("asym_w4a8", says(convrot_groupsize=64)),
        ("convrot_w4a4", says(linear_dtype="int8", quant_group_size=64)),
        ("nvfp4", lacks("a.input_scale")),
        ("mxfp8", lambda s: s.update({"a.weight_scale": s["a.weight_scale"].view(torch.float8_e8m0fnu)})),
        ("nvfp4", lambda s: s.update({"a.weight_scale": s["a.weight_scale"].view(torch.uint8)})),
    ],
)
def test_what_converters_write_besides_is_read(tmp_path, kind, change):
    header, quantisation = split_header(open_container(file_of(tmp_path, kind, change)))
    assert list(header) == ["a.bias", "a.weight"] and header["a.weight"].shape == (64, 256)
    assert quantisation.kind == packed.KINDS[kind][1]
