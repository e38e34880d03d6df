"""MiniMax H3 in few bits and under step caches: split and swapped rows keep their scales, both streams are reused.

Tests: families/minimax_h3/files.py, families/minimax_h3/network.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.sampling import SamplerRequest, plan_run
from opent2v.tests.families.minimax_h3.test_network import SHAPES, called, entry, streams
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import minimax_h3 as tiny
from opent2v.tests.tiny import packed

pytest.importorskip("diffusers", "0.40")


def kind_of(kind: str):
    """The layers that published files pack: those of the blocks, modulations left out."""
    return lambda name: kind if ".attn." in name or ".mlp." in name else ""


@pytest.mark.parametrize("how", [{}, {"interleaved": tiny.HEAD}], ids=["stacked", "head by head"])
@pytest.mark.parametrize("kind", ["int8_convrot", "nvfp4", "fp8_rows", "fp8", "mxfp8"])
def test_rows_in_few_bits_are_split_and_swapped_with_their_scales(tmp_path, kind, how):
    tensors, metadata, plain = packed.packed(tiny.originals("pruned", **how), kind_of(kind))
    path, same = tmp_path / "packed.safetensors", tmp_path / "plain.safetensors"
    packed.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    rows = "interleaved" if how else "auto"
    model = load_model(open_file(path), torch.float32, rope_layout=rows, keeps_packed=True)
    expected = load_model(open_file(tiny.save(same, plain)), torch.float32, rope_layout=rows)
    held = [name for name, weight in model.transformer.named_parameters() if isinstance(weight, PackedTensor)]
    if kind != "mxfp8":  # whose groups of 32 the rows of 48 do not fill
        assert any("to_k" in name for name in held) and any("ff.net.0" in name for name in held)
    embedded.model(model)
    for ours, theirs in zip(called(model, streams(), 0.6), called(expected, streams(), 0.6), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("boundary", ["model", "blocks"])
def test_step_caches_reuse_both_streams(tmp_path, boundary):
    path = tiny.save(tmp_path / "h3.safetensors", tiny.originals("pruned"))
    model = embedded.model(load_model(open_file(path), torch.float32))
    conditioning = [[entry()["cross_attn"], {}]]

    def sampled(plan: str) -> list[torch.Tensor]:
        latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
        settings = {"policy": "plan", "plan": plan, "boundary": boundary, "few_steps": True}
        (cache,), _ = call("OpenT2VStepCache", **settings)
        results, _ = call(
            "OpenT2VSampler", model=model, positive=conditioning, negative=conditioning, latent=latent, seed=3, steps=8,
            step_cache=cache,
        )  # fmt: skip
        return list(results[0]["samples"].unbind())

    run = plan_run(embedded.variant(model), SamplerRequest(seed=3, steps=8), SHAPES[0])
    empty = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    full = list(embedded.sample(model, conditioning, conditioning, empty, run).unbind())
    for computed, reused, whole in zip(sampled("1"), sampled("cccrcrcc"), full, strict=True):
        assert torch.equal(computed, whole)
        assert 0 < (reused - whole).std() < 0.5 * whole.std()
