"""What docs/models.md says of the sizes of LTX-2's published files, counted on the meta device.

Tests: families/ltx2/files.py, families/text/gemma4.py, families/ltx_video/upscaler.py
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch

from opent2v.families.ltx2 import vae
from opent2v.families.ltx_video import upscaler
from opent2v.families.text import gemma4
from opent2v.loaders.weights import build
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.tiny import ltx2 as tiny

DOCS = (Path(__file__).resolve().parents[3] / "docs/models.md").read_text(encoding="utf-8")


def billions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e9


@pytest.mark.parametrize(
    ("version", "whole", "connectors"), [("2.0", 19.6, 0.7), ("2.3", 21.0, 2.0), ("2.5", 21.0, 2.0)]
)
def test_transformers(version, whole, connectors):
    sizes = {name: prod(shape) / 1e9 for name, shape in layout.published(version)[1].items()}
    assert round(sum(sizes.values()), 1) == whole
    assert round(sum(size for name, size in sizes.items() if "connector" in name), 1) == connectors
    assert f"{whole} ({connectors} of them connectors)" in DOCS


def test_gemma_4_12b_is_known_by_its_shapes_and_built_whole():
    """48 layers, of which every sixth has heads of 512 and no values of its own."""
    shapes = {"model.embed_tokens.weight": (262144, 3840), "model.norm.weight": (3840,)}
    for n in range(48):
        layer, is_whole = f"model.layers.{n}", n % 6 == 5
        head, keys = (512, 1) if is_whole else (256, 8)
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (16 * head, 3840),
            f"{layer}.self_attn.k_proj.weight": (keys * head, 3840),
            f"{layer}.self_attn.o_proj.weight": (3840, 16 * head),
            f"{layer}.layer_scalar": (1,),
            f"{layer}.self_attn.q_norm.weight": (head,), f"{layer}.self_attn.k_norm.weight": (head,),
            **{f"{layer}.mlp.{name}_proj.weight": (15360, 3840) for name in ("gate", "up")},
            f"{layer}.mlp.down_proj.weight": (3840, 15360),
        }  # fmt: skip
        norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
        shapes |= {f"{layer}.{norm}_layernorm.weight": (3840,) for norm in norms}
        if not is_whole:
            shapes[f"{layer}.self_attn.v_proj.weight"] = (keys * head, 3840)
    found = gemma4.recognise(shapes)
    assert found is not None and found.title == "Gemma 4 12B"
    module = build(gemma4.KIND.class_name, found.config)
    names = {f"model.{name}": tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert names == shapes and round(billions(module), 1) == 11.9 and "| 11.8, 11.9 |" in DOCS


def test_the_video_vae_with_convolutions():
    config = {
        **tiny.VIDEO_VAES["2.3"], "block_out_channels": (256, 512, 1024, 1024), "layers_per_block": (4, 6, 4, 2, 2),
        "decoder_block_out_channels": (256, 512, 512, 1024), "decoder_layers_per_block": (4, 6, 4, 2, 2),
    }  # fmt: skip
    module = build("AutoencoderKLLTX2Video", config)
    shapes = {layout.original_video_vae(name): tuple(t.shape) for name, t in module.state_dict().items()}
    recognised = vae.video_vae(tiny.variant_of("2.3")[1], shapes)
    assert recognised is not None and round(billions(build("AutoencoderKLLTX2Video", recognised.config)), 1) == 0.7


@pytest.mark.parametrize("kind", tiny.UPSCALERS)
def test_upscalers(kind):
    module = build(
        "pipelines.ltx2.latent_upsampler.LTX2LatentUpsamplerModel",
        tiny.UPSCALER | tiny.UPSCALERS[kind] | {"mid_channels": 1024, "num_blocks_per_stage": 4},
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    layout = upscaler.recognise(shapes, {})
    assert layout is not None
    assert billions(build(layout.class_name, layout.config)) == pytest.approx(0.55 if kind == "1.5" else 0.5, abs=0.02)
