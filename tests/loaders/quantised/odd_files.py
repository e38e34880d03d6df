"""Files of one packed layer with something odd about them, and what must be said of each."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from opent2v.tests.tiny import packed

FP8, E8M0 = torch.float8_e4m3fn, torch.uint8


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def file_of(tmp_path, kind, change, rows=64, columns=256, metadata=None):
    """A file of one layer "a", changed."""
    stored, _, _ = packed.packed({"a.weight": drawn(rows, columns), "a.bias": drawn(rows)}, kind)
    change(stored)
    path = tmp_path / "odd.safetensors"
    save_file({name: tensor.clone().contiguous() for name, tensor in stored.items()}, path, metadata=metadata)
    return path


def lacks(name):
    return lambda stored: stored.pop(name)


def has(**tensors):
    return lambda stored: stored.update({f"a.{role}": tensor for role, tensor in tensors.items()})


def says(**settings):
    """The layer's mark with these settings changed; None takes one out."""

    def change(stored):
        content = json.loads(bytes(stored["a.comfy_quant"].numpy())) | settings
        stored["a.comfy_quant"] = packed.mark({key: value for key, value in content.items() if value is not None})

    return change


def marked(content):
    return lambda stored: stored.update({"a.comfy_quant": content})


def without_mark(*roles):
    """No mark, and none of these tensors."""

    def change(stored):
        for role in ("comfy_quant", *roles):
            del stored[f"a.{role}"]

    return change


MISSING = "is missing, which belongs to a weight stored as"
# What is odd -> (kind, change, what the message says).
ODD = {
    # scales that are not there
    "int8 without its scale": ("int8", lacks("a.weight_scale"), f"a.weight_scale {MISSING} int8"),
    "int8 convrot without its scale": (
        "int8_convrot",
        lacks("a.weight_scale"),
        f"a.weight_scale {MISSING} int8 convrot",
    ),
    "fp8 without its scale": ("fp8", lacks("a.weight_scale"), f"a.weight_scale {MISSING} scaled fp8"),
    "nvfp4 without block scales": ("nvfp4", lacks("a.weight_scale"), f"a.weight_scale {MISSING} nvfp4"),
    "nvfp4 without its tensor scale": ("nvfp4", lacks("a.weight_scale_2"), f"a.weight_scale_2 {MISSING} nvfp4"),
    "mxfp8 without block scales": ("mxfp8", lacks("a.weight_scale"), f"a.weight_scale {MISSING} mxfp8"),
    "w4a4 without scales": ("convrot_w4a4", lacks("a.weight_scale"), f"a.weight_scale {MISSING} w4a4 convrot"),
    "w4a8 without group scales": ("asym_w4a8", lacks("a.weight_s_rel"), f"a.weight_s_rel {MISSING} w4a8"),
    "w4a8 without row scales": ("asym_w4a8", lacks("a.weight_s_channel"), f"a.weight_s_channel {MISSING} w4a8"),
    "awq without zero points": ("awq_w4a16", lacks("a.weight_zeros"), f"a.weight_zeros {MISSING} awq w4a16"),
    "a mark without its weight": ("int8", lacks("a.weight"), f"a.weight {MISSING} int8"),
    # scales of another shape or dtype
    "int8 with a scale a column": (
        "int8",
        has(weight_scale=torch.ones(256)),
        "F32 [256], expected F32 or BF16 or F16 as [64, 1] or [] or [1] for a weight",
    ),
    "int8 with half of its scales": ("int8", has(weight_scale=torch.ones(32, 1)), "F32 [32, 1], expected"),
    "int8 with fp8 scales": ("int8", has(weight_scale=torch.ones(64, 1).to(FP8)), "F8_E4M3 [64, 1], expected"),
    "fp8 with scales of blocks": ("fp8", has(weight_scale=torch.ones(1, 2)), "F32 [1, 2], expected"),
    "nvfp4 with plain scales": (
        "nvfp4",
        has(weight_scale=torch.ones(64, 16).to(FP8)),
        "F8_E4M3 [64, 16], expected F8_E4M3 or U8 as [128, 16]",
    ),
    "nvfp4 with wide block scales": ("nvfp4", has(weight_scale=torch.ones(128, 16)), "F32 [128, 16], expected"),
    "nvfp4 with two tensor scales": ("nvfp4", has(weight_scale_2=torch.ones(2)), "F32 [2], expected F32 as [] or [1]"),
    "nvfp4 with factors of rows": ("nvfp4_awq", has(pre_quant_scale=torch.ones(64)), "F32 [64], expected"),
    "mxfp8 with plain scales": ("mxfp8", has(weight_scale=torch.ones(64, 8, dtype=E8M0)), "U8 [64, 8], expected"),
    "w4a4 with group scales": ("convrot_w4a4", has(weight_scale=torch.ones(64, 4)), "F32 [64, 4], expected"),
    "w4a8 with scales of larger groups": ("asym_w4a8", has(weight_s_rel=torch.ones(64, 8)), "F32 [64, 8], expected"),
    "w4a8 with a short codebook": ("asym_w4a8", has(weight_codebook=torch.ones(8)), "F32 [8], expected"),
    "awq with its groups across": ("awq_w4a16", has(weight_scale=torch.ones(64, 16)), "F32 [64, 16], expected"),
    "an input scale a row": ("fp8", has(input_scale=torch.ones(64)), "a.input_scale is stored as F32 [64], expected"),
    # weights of another dtype
    "int8 that is bf16": (
        "int8",
        has(weight=drawn(64, 256).bfloat16()),
        "a.weight is stored as BF16 [64, 256], expected",
    ),
    "e5m2 that is e4m3": ("fp8_e5m2", has(weight=drawn(64, 256).to(FP8)), "F8_E4M3 [64, 256], expected F8_E5M2"),
    "nvfp4 that is int8": ("nvfp4", has(weight=torch.zeros(64, 128, dtype=torch.int8)), "I8 [64, 128], expected U8"),
    "a rotated convolution": (
        "int8_convrot",
        has(weight=torch.zeros(64, 64, 3, dtype=torch.int8)),
        "I8 [64, 64, 3], expected I8 as a matrix",
    ),
    "a vector in fp4": ("nvfp4", has(weight=torch.zeros(64, dtype=torch.uint8)), "U8 [64], expected U8 as a matrix"),
    # what a format does not have
    "int8 with a second scale": (
        "int8",
        has(weight_scale_2=torch.ones(())),
        "a.weight_scale_2 is there, which a weight",
    ),
    "int8 with AWQ's factors": ("int8", has(pre_quant_scale=torch.ones(256)), "a.pre_quant_scale is there, which"),
    "mxfp8 with AWQ's factors": ("mxfp8", has(pre_quant_scale=torch.ones(256)), "a.pre_quant_scale is there, which"),
    "w4a8 with corrections": ("asym_w4a8", has(weight_correction=torch.ones(16, 64)), "a.weight_correction is there"),
    # settings
    "a group that is no power of 4": ("int8_convrot", says(convrot_groupsize=128), "convrot_groupsize 128; expected"),
    "a group of text": ("int8_convrot", says(convrot_groupsize="256"), "convrot_groupsize '256'; expected 4, 16"),
    "a group that does not fit": ("int8_convrot", says(convrot_groupsize=1024), "its 256 columns are no multiple"),
    "w4a4's group that does not fit": ("convrot_w4a4", says(convrot_groupsize=1024), "no multiple of it"),
    "w4a8's group of 12": ("asym_w4a8", says(group_size=12), "group_size 12; expected 4, 8, 16"),
    "w4a8's group of its columns' double": ("asym_w4a8", says(convrot_groupsize=1024), "no multiple of it"),
    "awq's groups by default": (
        "awq_w4a16",
        says(group_size=None),
        "a.weight_scale is stored as F32 [16, 64], expected",
    ),
    "nvfp4 in groups of 32": ("nvfp4", says(group_size=32), "group_size 32; expected"),
    "convrot that is no yes or no": ("int8", says(convrot="yes"), "convrot 'yes'; expected False or True"),
    "another number of bits for inputs": ("convrot_w4a4", says(linear_dtype="int2"), "linear_dtype 'int2'; expected"),
    "a setting of tomorrow": (
        "int8",
        says(hadamard="walsh"),
        "has the setting 'hadamard' ('walsh'), which this version",
    ),
    "the shape of another layer": (
        "int8",
        says(orig_shape=[64, 128]),
        "orig_shape [64, 128]; its weight has [64, 256]",
    ),
    # marks
    "a format of tomorrow": (
        "int8",
        says(format="int3_spiral"),
        "a.weight is stored as int3_spiral, which this version",
    ),
    "int8 in blocks": ("int8", says(format="int8_blockwise"), "stored as int8_blockwise, which this version does not"),
    "fp8 in blocks": ("fp8", says(format="float8_e4m3fn_blockwise"), "stored as float8_e4m3fn_blockwise, which"),
    "a mark without a format": ("int8", says(format=None), 'holds {}, expected a JSON object with "format"'),
    "a mark that is a list": (
        "int8",
        marked(packed.mark([1, 2])),
        'holds [1, 2], expected a JSON object with "format"',
    ),
    "a mark that is cut": (
        "int8",
        marked(packed.mark({"format": "int8_tensorwise"})[:9]),
        "a.comfy_quant is no JSON text",
    ),
    "a mark that is no text": ("int8", marked(torch.tensor([255, 254], dtype=torch.uint8)), "is no JSON text"),
    "a mark of floats": (
        "int8",
        marked(torch.ones(4)),
        "a.comfy_quant is stored as F32 [4], expected the bytes of a JSON",
    ),
    "a mark of nobody": (
        "int8",
        lambda s: s.update({"b.comfy_quant": packed.mark({"format": "x"})}),
        "b.comfy_quant is there without b.weight",
    ),
    # no marks
    "int8 without anything": (
        "int8",
        without_mark("weight_scale"),
        "stored as I8 [64, 256] without a scale, and nothing",
    ),
    "int8 that nothing explains": (
        "int8_convrot",
        without_mark(),
        "stored as I8 [64, 256] with weight_scale, and nothing",
    ),
    "nvfp4 that nothing explains": ("nvfp4", without_mark(), "U8 [64, 128] with weight_scale and weight_scale_2"),
    "mxfp8 that nothing explains": ("mxfp8", without_mark(), "a.weight_scale is stored as U8 [128, 8], expected"),
    "w4a8 that nothing explains": ("asym_w4a8", without_mark(), "with weight_s_rel and weight_s_channel and"),
    "a scale beside bf16": (
        "int8",
        lambda s: (
            s.update({"a.weight": drawn(64, 256).bfloat16(), "a.comfy_quant": packed.mark({"format": "x"})})
            or s.pop("a.comfy_quant")
        ),
        "stored as BF16 [64, 256] with weight_scale, and nothing",
    ),
    "a scale of nobody": (
        "int8",
        lambda s: s.update({"b.weight_scale": torch.ones(())}),
        "b.weight_scale is there without b.weight. The file is damaged",
    ),
    # other libraries
    "nunchaku": (
        "int8",
        lambda s: s.update({"b.wscales": torch.ones(4)}),
        "b.wscales (F32 [4]) is of SVDQuant of nunchaku",
    ),
    "bitsandbytes nf4": (
        "int8",
        lambda s: s.update({"b.weight.quant_state.bitsandbytes__nf4": torch.ones(4)}),
        "is of nf4 of bitsandbytes, which this pack does not read. Get this model's int8 convrot",
    ),
    "bitsandbytes int8": ("int8", lambda s: s.update({"b.SCB": torch.ones(4)}), "is of int8 of bitsandbytes"),
    "quanto": ("int8", lambda s: s.update({"b.weight._data": torch.ones(4)}), "b.weight._data (F32 [4]) is of quanto"),
    "q8 kernels": (
        "int8",
        lambda s: s.update({"b.weight": torch.ones(4, 4).to(torch.int8), "b.scales": torch.ones(4)}),
        "b.scales (F32 [4]) is of Lightricks' q8 kernels, which this pack does not read",
    ),
    "deepseek": (
        "int8",
        lambda s: s.update({"b.weight_scale_inv": torch.ones(4)}),
        "is of block-scaled fp8 of DeepSeek",
    ),
}
