"""Our MODEL, CLIP and VAE in core's nodes give what core's own of the same weights give."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host

# Two implementations of one network in float32, a few steps of it.
CLOSE = 1e-4


def is_same(result: dict) -> bool:
    """Ours and core's agree, and the node did something."""
    return result["apart"] <= CLOSE and result["effect"] > 1e-3 and result.get("finite", True)


def test_every_sampler_in_three_sampling_nodes(inside):
    found = inside("ours samplers")
    assert len(found) >= 40
    assert {name: r for name, r in found.items() if not r["finite"]} == {}
    assert {name: r["apart"] for name, r in found.items() if r["apart"] > CLOSE} == {}
    # KSamplerAdvanced and SamplerCustomAdvanced walk the very same steps.
    assert {name: r for name, r in found.items() if r["advanced"] or r["custom"] > 1e-5} == {}


def test_every_scheduler(inside):
    found = inside("ours schedulers")
    assert len(found) >= 9
    assert {name: r for name, r in found.items() if not is_same(r)} == {}


def test_model_sampling_sd3(inside):
    found = inside("ours model_sampling")
    assert is_same(found) and found["plain"] <= CLOSE
    assert found["own shift"] == 0  # without the node, the shift is the folder's


def test_lora_loader_model_only(inside):
    found = inside("ours lora")
    assert is_same(found) and found["restored"] == 0


def test_hook_lora(inside):
    found = inside("ours hook_lora")
    assert is_same(found) and found["restored"] == 0


def test_model_merge_simple(inside):
    assert is_same(inside("ours merge"))


def test_easy_cache_and_lazy_cache_skip_steps(inside):
    found = inside("ours caches")
    assert found["steps"] == 12
    for node, limit in (("EasyCache", 0.1), ("LazyCache", 0.3)):
        assert found[node]["ran"] < 12 and found[node]["error"] < limit, node


def test_context_windows(inside):
    assert is_same(inside("ours context_windows"))


def test_torch_compile_model(inside):
    assert inside("ours compiled")["apart"] <= CLOSE


def test_model_save_writes_the_transformers_names_and_the_lora(inside):
    found = inside("ours saved")
    assert found["names"] is True and found["values"] <= 1e-6


@pytest.mark.parametrize("node", ["ConditioningCombine", "ConditioningZeroOut", "ConditioningSetTimestepRange"])
def test_clip_text_encode_and_conditioning_nodes(inside, node):
    found = inside("ours conditioning")
    assert is_same(found[node])
    assert found["shape"] == [1, 16, 4096] and found["zeros"] is True


def test_clip_lora(inside):
    found = inside("ours clip_lora")
    assert found["effect"] > 1e-2 and found["against merge"] <= CLOSE and found["restored"] == 0


@pytest.mark.parametrize("node", ["VAEDecode", "VAEDecodeTiled", "VAEEncode", "VAEEncodeTiled"])
def test_vae_nodes(inside, node):
    found = inside("ours vae_nodes")
    assert found["unclipped"] is True
    assert found[node]["apart"] <= CLOSE
    assert found[node]["shape"] == ([9, 16, 16, 3] if "Decode" in node else [1, 16, 3, 2, 2])


def test_latents_are_interchangeable(inside):
    assert inside("ours vae_nodes")["graphs"] <= CLOSE  # all ours against all core's; mixed: test_vae_nodes


@pytest.mark.parametrize("part", ["transformer", "text encoder"])
def test_partial_loading_keeps_the_lora_and_restores_the_weights(inside, part):
    found = inside("ours partial_loading")[part]
    assert 0 < found["share"] < 1
    assert found["effect"] > 1e-3 and found["against whole"] <= 1e-5 and found["restored"] is True


def test_no_weight_is_forgotten_on_the_cpu(inside):
    found = inside("ours pretended_gpu")
    assert len(found) == 9
    assert {device for _, device in found.values()} == {"cuda"}
    shares = [share for name, (share, _) in found.items() if not name.startswith("vae")]
    assert min(shares) == 0 and max(shares) == 1 and any(0 < share < 1 for share in shares)
