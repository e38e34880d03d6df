"""Rules rename whole segments, in their order, and split rows."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.keys import chunk, pieces, rename, squeeze_last, swap_halves, translate


def names(name, *rules, prefix=""):
    found = translate(name, rules, prefix)
    return None if found is None else found.names


@pytest.mark.parametrize(
    ("name", "rule", "expected"),
    [
        ("blocks.3.attn.q.weight", rename("attn.q", "attn1.to_q"), "blocks.3.attn1.to_q.weight"),
        ("blocks.3.norm10.weight", rename("norm1", "norm"), "blocks.3.norm10.weight"),
        ("blocks.3.q.weight", rename("blocks.{}.q", "layers.{}.query"), "layers.3.query.weight"),
        ("a.blocks.3.q", rename("^blocks.{}", "layers.{}"), "a.blocks.3.q"),
        ("blocks.x.q", rename("blocks.{}", "layers.{}"), "blocks.x.q"),
        ("head.modulation", rename("head.modulation$", "scale_shift_table"), "scale_shift_table"),
        ("head.modulation.1", rename("head.modulation$", "scale_shift_table"), "head.modulation.1"),
        ("model.norm.weight", rename("^model", ""), "norm.weight"),
        ("down.2.up.5.w", rename("down.{}.up.{}", "d{}.u{}"), "d2.u5.w"),
    ],
)
def test_a_rule_matches_whole_segments(name, rule, expected):
    assert names(name, rule) == (expected,)


def test_rules_follow_each_other_and_a_last_one_ends_the_walk():
    swap = [rename("norm3", "norm2", is_last=True), rename("norm2", "norm3")]
    assert names("blocks.0.norm3.weight", *swap) == ("blocks.0.norm2.weight",)
    assert names("blocks.0.norm2.weight", *swap) == ("blocks.0.norm3.weight",)
    chain = [rename("a", "b"), rename("b", "c")]
    assert names("a.w", *chain) == ("c.w",)


def test_a_prefix_is_taken_off_and_names_outside_it_belong_to_others():
    assert names("model.a.w", rename("^a", "b"), prefix="model.") == ("b.w",)
    assert names("vae.a.w", prefix="model.") is None


def test_a_rule_without_targets_leaves_the_tensor_out():
    found = translate("logit_scale", [rename("^logit_scale$")])
    assert found.names == () and found.tensors(torch.ones(1)) == []


def test_a_fused_tensor_becomes_its_parts():
    rules = [rename("qkv", "to_q", "to_k", "to_v", split=chunk(3)), rename("attn", "attn1")]
    found = translate("blocks.0.attn.qkv.weight", rules)
    assert found.names == tuple(f"blocks.0.attn1.to_{n}.weight" for n in "qkv")
    fused = torch.arange(12.0).view(6, 2)
    assert torch.equal(torch.cat(found.tensors(fused)), fused)
    assert found.shapes((6, 2)) == [(2, 2)] * 3


def test_row_operations():
    rows = torch.arange(6.0)
    assert [p.tolist() for p in pieces(1, -1)(rows)] == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert swap_halves(rows)[0].tolist() == [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]
    assert squeeze_last(torch.zeros(4, 3, 1))[0].shape == (4, 3)
    assert squeeze_last(rows)[0] is rows
