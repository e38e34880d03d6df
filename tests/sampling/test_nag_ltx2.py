"""Normalised attention guidance of LTX-2's picture and sound against an implementation of its own.

Tests: families/ltx2/nag.py
"""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from opent2v.families.ltx2 import network
from opent2v.families.ltx2.text import text_of
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.sampling import Guidance, SamplerRequest, plan_run, solve
from opent2v.tests.sampling.test_nag import ALPHA, SCALE, TAU, paper
from opent2v.tests.tiny import ltx2 as tiny

SHAPES = (1, 128, 2, 2, 2), (1, 8, 9, 16)


@pytest.fixture(scope="module", params=["2.0", "2.3", "2.5"])
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "ltx.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tiny.transformer(request.param).items()}, path)
    return embedded.model(load_model(open_file(path), torch.float32))


def conditioning(variant, tokens, seed):
    context = torch.randn(1, tokens, variant.context_width, generator=torch.Generator().manual_seed(seed))
    return [[context, {"unprocessed_ltxav_embeds": True}]]


class Block:
    """Attention to the prompt of one stream in one block, written out, with the guidance where the paper has it."""

    def __init__(self, block, name, negative):
        self.block, self.name, self.negative = block, name, negative
        self.time = None

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, *_, **__):
        negative = self.negative
        if self.time is not None:  # 2.3 and newer modulate the prompt by the noise level
            table = getattr(self.block, f"{self.name}prompt_scale_shift_table")
            shift, scale = (table + self.time.reshape(1, 2, -1)).unbind(1)
            negative = negative * (1 + scale[:, None]) + shift[:, None]

        def attend(text):
            q = attention.norm_q(attention.to_q(hidden_states))
            k, v = attention.norm_k(attention.to_k(text)), attention.to_v(text)
            q, k, v = (x.unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (q, k, v))
            return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        z = paper(attend(encoder_hidden_states), attend(negative), SCALE, TAU, ALPHA)
        if attention.to_gate_logits is not None:
            opened = 2 / (1 + (-attention.to_gate_logits(hidden_states)).exp())
            z = (z.unflatten(2, (attention.heads, -1)) * opened[..., None]).flatten(2)
        return attention.to_out[0](z)


def reference_of(variant, plain, negative):
    """A transformer whose every block leads both streams away from the negative prompt."""
    transformer = copy.deepcopy(plain)
    halves = text_of(variant, plain, negative[0][1] | {"cross_attn": negative[0][0]}, torch.zeros(1))
    halves = list(halves.split(variant.facts["context_widths"], -1))
    if hasattr(plain, "caption_projection") and variant.facts["shares_text"]:
        halves = [plain.caption_projection(halves[0]), plain.audio_caption_projection(halves[1])]
    for block in transformer.transformer_blocks:
        processors = [Block(block, "", halves[0]), Block(block, "audio_", halves[1])]
        block.attn2.set_processor(processors[0])
        block.audio_attn2.set_processor(processors[1])

        def noted(_, args, kwargs, processors=processors):
            processors[0].time, processors[1].time = kwargs.get("temb_prompt"), kwargs.get("temb_prompt_audio")

        block.register_forward_pre_hook(noted, with_kwargs=True)
    return transformer


def test_against_an_implementation_of_its_own(model):
    variant, plain = model.part.variant, model.part.transformer
    positive, negative = conditioning(variant, 7, 1), conditioning(variant, 4, 2)
    entry = negative[0][1] | {"cross_attn": negative[0][0]}
    request = SamplerRequest(seed=4, steps=2, cfg=1.0, guidance=Guidance(nag=SCALE, nag_tau=TAU, nag_alpha=ALPHA))
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    before = [vars(block.attn2).get("forward") for block in plain.transformer_blocks]
    run = plan_run(variant, request, SHAPES[0], negative=entry)
    ours = embedded.sample(model, positive, negative, latent, run).unbind()
    assert [vars(block.attn2).get("forward") for block in plain.transformer_blocks] == before
    assert "forward" not in vars(plain)

    run = plan_run(variant, request, SHAPES[0], negative=entry)
    with torch.no_grad():
        transformer = reference_of(variant, plain, negative)
        context = text_of(variant, plain, positive[0][1] | {"cross_attn": positive[0][0]}, torch.zeros(1))
        conditions = {"context": context, "frame_rate": torch.tensor([[variant.defaults.fps]])}
        sizes = [torch.Size(shape).numel() for shape in SHAPES]

        def denoise(x, sigma, step):
            streams = [part.view(shape) for part, shape in zip(x.flatten().split(sizes), SHAPES, strict=True)]
            flow = network.predict(variant, transformer, streams, sigma * 1000, conditions)
            return x - sigma * torch.cat([part.flatten() for part in flow]).view_as(x)

        dice = torch.Generator().manual_seed(4)
        noise = torch.cat([torch.randn(shape, generator=dice).flatten() for shape in SHAPES]).view(1, 1, -1)
        expected = solve(denoise, noise, run.schedule).flatten().split(sizes)
    for stream, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(stream.flatten(), wanted, atol=1e-5, rtol=1e-5)
    without = plan_run(variant, SamplerRequest(seed=4, steps=2, cfg=1.0), SHAPES[0])
    others = embedded.sample(model, positive, negative, latent, without).unbind()
    assert all((other - stream).abs().max() > 1e-3 for other, stream in zip(others, ours, strict=True))
