"""Every LoRA format on every family: what the node makes of the file is what the weights merged by hand make.

The cells of the published table are this file's parameters, see `table.py`. On real hosts: tests/host/test_lora.py.

Tests: loaders/lora/load.py, nodes/lora.py
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from opent2v.tests.loaders.lora import files, models
from opent2v.tests.loaders.lora.applied import CLOSE, apply, loras
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES, apart, largest
from opent2v.tests.loaders.lora.table import CELLS, STORAGE
from opent2v.tests.nodes.calls import call

__all__ = ["loras"]


@pytest.mark.parametrize(("family", "name"), CELLS)
def test_a_file_does_what_merging_by_hand_does(family, name, loras):
    one, fmt = models.loaded(family), FORMATS[name].of(family)
    merged = files.write(loras / "any.safetensors", fmt, one.sites, one.state)
    wanted = one.merged(merged)
    patched, report = apply(one.model)
    assert largest(wanted, one.plain) > 0.02
    assert apart(one.sampled(patched), wanted) <= CLOSE, report
    assert one.is_untouched()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_alpha_or_swapped_query_and_key_would_show(family, loras):
    """The comparison above is sensitive: either mistake is a hundred times its limit away."""
    one = models.loaded(family)
    merged = files.write(loras / "any.safetensors", FORMATS["kohya"], one.sites, one.state)
    right = one.merged(merged)
    without = {k: one.state[k] + (new - one.state[k]) * files.RANK / files.ALPHA for k, new in merged.items()}
    assert largest(one.merged(without), right) > 100 * CLOSE
    query, key = f"{one.sites.query}.weight", f"{one.sites.key}.weight"
    changes = {name: merged[name] - one.state[name] for name in (query, key)}
    swapped = merged | {query: one.state[query] + changes[key], key: one.state[key] + changes[query]}
    assert largest(one.merged(swapped), right) > 100 * CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_finetrainers_self_attention_stays_self_attention(family, loras):
    """Other packs rename attn1 and attn2 both to cross-attention; a file with one attn1 alone shows it."""
    one = models.loaded(family)
    alone = f"{one.sites.query}."
    fmt = FORMATS["finetrainers"]
    merged = files.write(loras / "any.safetensors", fmt, one.sites, one.state, only=alone)
    assert list(merged) == [f"{one.sites.query}.weight"]
    patched, report = apply(one.model)
    assert apart(one.sampled(patched), one.merged(merged)) <= CLOSE and "1 of 1" in report


@pytest.mark.parametrize(
    ("family", "name", "old", "new"),
    [
        ("wan", "original", "^diffusion_model\\.", "pipe.dit."),
        ("wan", "original", "^diffusion_model\\.", "pipe.dit2."),
        ("wan", "bare", "^", "_orig_mod."),
        ("wan", "bare", "^", "generator.model._fsdp_wrapped_module."),
        ("wan", "diffusers", "^transformer\\.", "transformer._orig_mod."),
        ("ltx_video", "diffusers", r"(transformer_blocks\.\d+\.)", r"\1_orig_mod."),
        ("hunyuan_video", "kohya", "^lora_unet_", "Hunyuan_video_I2V_lora_"),
        ("hunyuan_video", "kohya", "^lora_unet_", "Hunyuan_video_lora_"),
        ("hunyuan_video", "kohya", "^lora_unet_", "lora_unet__orig_mod_"),
    ],
)
def test_names_of_trainers_that_wrap_the_model(family, name, old, new, loras):
    one = models.loaded(family)
    merged = files.write(loras / "any.safetensors", FORMATS[name], one.sites, one.state)
    with safe_open(loras / "any.safetensors", "pt") as opened:
        metadata = opened.metadata()
    stored = load_file(loras / "any.safetensors")
    tensors = {re.sub(old, new, key): tensor for key, tensor in stored.items()}
    assert len(tensors.keys() - stored.keys()) > len(stored) / 2
    save_file(tensors, loras / "any.safetensors", metadata)
    patched, report = apply(one.model)
    assert apart(one.sampled(patched), one.merged(merged)) <= CLOSE, report
    assert "unmatched" not in report and "skipped" not in report


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strength", [0.0, 0.35, -1.0, 2.0])
def test_strength(family, strength, loras):
    one = models.loaded(family)
    merged = files.write(loras / "any.safetensors", FORMATS["kohya"], one.sites, one.state)
    patched, _ = apply(one.model, strength=strength)
    found = one.sampled(patched)
    if strength == 0:
        assert torch.equal(found, one.plain)
    else:
        part = {
            k: (one.state[k].double() + strength * (new.double() - one.state[k])).float() for k, new in merged.items()
        }
        assert apart(found, one.merged(part)) <= CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_two_loras_add_up_in_their_order(family, loras):
    one = models.loaded(family)
    first = files.write(loras / "a.safetensors", FORMATS["diffusers"], one.sites, one.state, seed=1)
    second = files.write(loras / "b.safetensors", FORMATS["original"], one.sites, one.state, seed=2)
    both = {k: first[k] + second[k] - one.state[k] for k in first}
    patched, _ = apply(apply(one.model, "a.safetensors")[0], "b.safetensors")
    wanted = one.merged(both)
    assert apart(one.sampled(patched), wanted) <= CLOSE
    (stacked, *_), _ = call(
        "OpenT2VLoraStack", model=one.model, lora_1="a.safetensors", strength_1=1.0, lora_2="b.safetensors",
        strength_2=1.0,
    )  # fmt: skip
    assert apart(one.sampled(stacked), wanted) <= CLOSE
    # A turn after a sum is not a sum after a turn.
    files.write(loras / "b.safetensors", FORMATS["oft"], one.sites, one.state, seed=2)
    one_way = apply(apply(one.model, "a.safetensors")[0], "b.safetensors")[0]
    other_way = apply(apply(one.model, "b.safetensors")[0], "a.safetensors")[0]
    assert largest(one.sampled(one_way), one.sampled(other_way)) > 100 * CLOSE


def test_both_experts_in_one_file(loras):
    """As ai-toolkit saves a LoRA for Wan 2.2 A14B that is not split: each MODEL takes its own half."""
    one, stored, merged = models.loaded("wan"), {}, {}
    for seed, expert in enumerate(("high", "low"), 1):
        prefix = f"diffusion_model.transformer_{seed}."
        fmt = replace(FORMATS["original"], prefix=prefix)
        merged[expert] = files.write(loras / "half.safetensors", fmt, one.sites, one.state, seed=seed)
        stored |= load_file(loras / "half.safetensors")
    files.save(loras / "both.safetensors", stored)
    for expert, weights in merged.items():
        part = replace(one.model.part, variant=replace(one.variant, expert=expert))
        patched, report = apply(replace(one.model, part=part), "both.safetensors")
        assert apart(one.sampled(patched), one.merged(weights)) <= CLOSE
        count = len(one.sites.matrices)
        assert f"{count} of {count} match" in report and "other expert" in report


def test_a_butterfly_over_fused_layers_is_named_and_the_rest_applied(loras):
    """BOFT deals out the rows of q, k and v into each other: on split layers that cannot be done one by one."""
    one = models.loaded("hunyuan_video")
    fmt = replace(FORMATS["boft"], layout="original")
    merged = files.write(loras / "any.safetensors", fmt, one.sites, one.state)
    alone = {f"{s.parts[0]}.weight" for s in one.sites.matrices if len(s.parts) == 1 and not s.order}
    patched, report = apply(one.model)
    assert "turns rows of several layers into each other" in report
    assert f"{len(alone)} of {len(one.sites.matrices)} match" in report
    assert apart(one.sampled(patched), one.merged({k: v for k, v in merged.items() if k in alone})) <= CLOSE


@pytest.mark.parametrize("name", ["oft", "boft"])
def test_a_turn_of_rows_that_stand_in_another_order_is_named_and_the_rest_applied(name, loras):
    """The published Open-Sora has the positions of query and key in halves."""
    one = models.loaded("open_sora")
    fmt = replace(FORMATS[name], layout="original")
    merged = files.write(loras / "any.safetensors", fmt, one.sites, one.state)
    # OFT's blocks stay whole where halves are swapped or parts are split.
    swaps, parts = (2, 2) if name == "oft" else (0, 1)
    fits = [site for site in one.sites.matrices if len(site.order) <= swaps and len(site.parts) <= parts]
    patched, report = apply(one.model)
    assert "turns rows of several layers into each other" in report
    assert f"{len(fits)} of {len(one.sites.matrices)} match" in report
    alone = {f"{part}.weight" for site in fits for part in site.parts}
    assert apart(one.sampled(patched), one.merged({k: v for k, v in merged.items() if k in alone})) <= CLOSE


def test_a_layer_that_is_half_of_one_here_is_named(loras):
    """The original has a layer for the noise and one for what is known."""
    one = models.loaded("open_sora")
    merged = files.write(loras / "any.safetensors", FORMATS["original"], one.sites, one.state)
    stored = load_file(loras / "any.safetensors")
    for name, columns in (("img_in", 64), ("cond_in", 68)):
        stored |= {f"diffusion_model.{name}.lora_A.weight": torch.ones(2, columns)}
        stored |= {f"diffusion_model.{name}.lora_B.weight": torch.ones(32, 2)}
    files.save(loras / "any.safetensors", stored)
    patched, report = apply(one.model)
    assert "2 in another shape. For example diffusion_model.cond_in is for [32, 68], the model has [32, 132]" in report
    assert apart(one.sampled(patched), one.merged(merged)) <= CLOSE


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["kohya", "lokr", "dora"])
@pytest.mark.parametrize("family", STORAGE)
def test_on_small_storage_the_merge_is_not_rounded(family, name, dtype, loras):
    """The stored weights stay; the sum with the change is computed with."""
    one = models.loaded(family, dtype)
    merged = files.write(loras / "any.safetensors", FORMATS[name], one.sites, one.state)
    wanted = one.merged(merged)
    patched, report = apply(one.model)
    assert apart(one.sampled(patched), wanted) <= CLOSE, report
    rounded = {k: new.to(one.stored[k].dtype).float() for k, new in merged.items()}
    assert largest(one.merged(rounded), wanted) > 100 * CLOSE  # what a merge into the storage would make
    assert one.is_untouched()
