"""Names in LoRA files: what belongs to the layer and what to the change, the scale, and rows on their way."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from opent2v.base import LoraNames, Target
from opent2v.base.keys import chunk, rename, swap_halves
from opent2v.loaders.lora.file import Adapter
from opent2v.loaders.lora.keys import forms, parse
from opent2v.loaders.lora.names import Layout, Names, WeightSlice
from opent2v.loaders.lora.scale import scale_of


@pytest.mark.parametrize(
    ("key", "stem", "role"),
    [
        ("transformer.a.lora_A.weight", "transformer.a", ("lora", "down")),
        ("a.lora_B.default.weight", "a", ("lora", "up")),
        ("a.lora_B.mine", "a", ("lora", "up")),
        ("a.lora_B", "a", ("lora", "up")),
        ("a.lora_B.bias", "a", ("lora", "up_bias")),
        ("a.processor.to_q_lora.up.weight", "a.to_q", ("lora", "up")),
        ("a.lora_linear_layer.down.weight", "a", ("lora", "down")),
        ("lora_unet_a_b.lora_mid.weight", "lora_unet_a_b", ("lora", "mid")),
        ("a.hada_w2_b", "a", ("loha", "w2_b")),
        ("a.lokr_w1", "a", ("lokr", "w1")),
        ("a.lokr_t2", "a", ("lokr", "t2")),
        ("a.b1.weight", "a", ("glora", "b1")),
        ("a.oft_blocks", "a", ("oft", "blocks")),
        ("a.lora_magnitude_vector.default.weight", "a", ("", "dora")),
        ("a.dora_scale", "a", ("", "dora")),
        ("a.alpha", "a", ("", "alpha")),
        ("a.diff_b", "a", ("diff", "diff_b")),
        ("a.diff_m", "a", ("diff", "diff_m")),
        ("a.w_norm", "a", ("diff", "diff")),
        ("model._fsdp_wrapped_module.blocks.0._orig_mod.q.alpha", "model.blocks.0.q", ("", "alpha")),
        ("lora_unet__orig_mod_blocks_0__orig_mod_q.alpha", "lora_unet_blocks_0_q", ("", "alpha")),
    ],
)
def test_a_name_is_a_layer_and_a_role(key, stem, role):
    assert parse(key) == (stem, role)


@pytest.mark.parametrize("key", ["a.weight", "a.lora_A.weight.more", ".alpha", "lora_A.weight", "a.different", ""])
def test_other_names_belong_to_no_format(key):
    assert parse(key) is None


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("diffusion_model.blocks.0.q", "blocks.0.q"),
        ("base_model.model.transformer.blocks.0.q", "blocks.0.q"),
        ("model.diffusion_model.q", "q"),
        ("pipe.dit.blocks.0.q", "blocks.0.q"),
        ("pipe.dit2.blocks.0.q", "blocks.0.q"),
        ("generator.model.blocks.0.q", "blocks.0.q"),
        ("Hunyuan_video_lora_double_blocks_0_img_mod", "double.blocks.0.img.mod"),
        ("Hunyuan_video_I2V_lora_double_blocks_0_img_mod", "double.blocks.0.img.mod"),
        ("lora_unet__blocks_0_self_attn_q", "blocks.0.self.attn.q"),
        ("lycoris_blocks_0_attn1_to_q", "blocks.0.attn1.to.q"),
    ],
)
def test_the_likeliest_form_is_the_one_without_prefixes(stem, expected):
    assert forms(stem)[0] == expected


def test_a_second_text_encoders_layer_is_looked_for_there_first():
    slots = ("text_encoder", "text_encoder_2")
    assert forms("lora_te2_layers_0_q", slots)[0] == "text.encoder.2.layers.0.q"
    assert forms("text_encoder.layers.0.q", slots)[0] == "text_encoder.layers.0.q"


def adapter(stem="transformer.blocks.0.to_q", rank=4, kind="lora", **shapes):
    return Adapter(stem, "weight", kind, {}, shapes or {"up": (8, rank), "down": (rank, 8)})


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, 1.0),
        ({"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 8})}, 2.0),
        (
            {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8, "transformer.use_rslora": True})},
            8 / math.sqrt(4),
        ),
        (
            {
                "lora_adapter_metadata": json.dumps(
                    {"transformer.lora_alpha": 8, "transformer.alpha_pattern": {"blocks.0.to_q": 16}}
                )
            },
            4.0,
        ),
        ({"lora_adapter_metadata": json.dumps({"text_encoder.lora_alpha": 8})}, 1.0),
        ({"lora_config": json.dumps({"r": 4, "lora_alpha": 2})}, 0.5),
        ({"lora_config": "not JSON"}, 1.0),
        ({"kwargs": json.dumps({"qkv_proj_lora_alpha": 2, "out_proj_lora_alpha": 8})}, 2.0),  # Genmo's trainer
        ({"lora_config": "[1]"}, 1.0),
    ],
)
def test_a_scale_from_the_metadata(metadata, expected):
    assert scale_of(adapter(), None, metadata) == expected


def test_the_files_own_alpha_comes_before_the_metadata():
    assert scale_of(adapter(), 2.0, {"lora_config": json.dumps({"lora_alpha": 64})}) == 0.5


def test_whole_factors_have_no_scale_and_a_constraint_grows_with_the_outputs():
    assert scale_of(adapter(kind="lokr", w1=(2, 2), w2=(4, 4)), 16.0, {}) == 1.0
    assert scale_of(adapter(kind="oft", blocks=(3, 4, 4)), 0.01, {}) == 0.01 * 12
    assert scale_of(adapter(kind="oft", blocks=(3, 4, 4)), None, {}) == 0.0


def test_a_layout_keeps_numbers_and_rules_that_name_one():
    layout = Layout([rename("blocks.7.mod", "blocks.7.last"), rename("blocks.{}.mod", "blocks.{}.first")])
    assert [layout.translate(f"blocks.{n}.mod.weight").names for n in (3, 7, 12)] == [
        ("blocks.3.first.weight",),
        ("blocks.7.last.weight",),
        ("blocks.12.first.weight",),
    ]


RULES = (
    rename("qkv", "to_q", "to_k", "to_v", split=chunk(3)),
    rename("final", "norm_out", split=swap_halves),
)


def test_split_names_on_a_fused_weight():
    """The model is fused, the LoRA has q, k and v: each goes to its rows."""
    names = Names(Target("fused", None, {"qkv.weight": (12, 5)}, RULES))
    assert names.places("to_k", "weight", False, "diffusers", 4) == [WeightSlice("qkv.weight", (4, 4))]
    assert names.places("nothing", "weight", False, "diffusers", 4) is None
    assert names.size(WeightSlice("qkv.weight", (4, 4))) == (4, 5)


def test_swapped_halves_are_rows_in_another_order():
    names = Names(Target("swapped", None, {"final.weight": (6, 5)}, RULES))
    places = names.places("norm_out", "weight", False, "diffusers", 6)
    assert places is not None
    assert [(one.rows, one.pick.tolist()) for one in places] == [(None, [3, 4, 5, 0, 1, 2])]


def test_a_table_that_is_no_layers_weight_goes_by_its_own_name():
    names = Names(Target("tables", None, {"blocks.0.table": (1, 6, 4), "blocks.0.q.weight": (4, 4)}))
    assert names.places("blocks.0.table", "weight", False, "diffusers", 1) == [WeightSlice("blocks.0.table")]
    assert names.places("blocks.0.q.weight", "weight", False, "diffusers", 4) is None


def test_underscores_are_read_by_the_models_own_names():
    shapes = {"time_text_embed.linear_1.weight": (4, 4), "time_text.embed_linear.weight": (4, 4)}
    names = Names(Target("underscores", None, shapes))
    form = forms("lora_unet_time_text_embed_linear_1")[0]
    assert names.places(form, "weight", True, "diffusers", 4) == [WeightSlice("time_text_embed.linear_1.weight")]


def test_rows_of_a_fused_change_are_picked_for_split_weights():
    lora = LoraNames(lambda shapes: {"original": RULES}, (), lambda found, blocks: "")
    variant: Any = SimpleNamespace(family=SimpleNamespace(lora=lora))
    names = Names(Target("split", variant, {f"to_{n}.weight": (4, 5) for n in "qkv"}))
    places = names.places("qkv", "weight", False, "original", 12)
    assert places is not None
    found = {one.name: one.pick for one in places}
    assert torch.equal(found["to_k.weight"], torch.arange(4, 8))
    assert all(one.rows is None for one in places)
