"""Layers that only a UNet has: convolutions in space and over time, and linear ones that the original convolves.

Tests: loaders/lora/load.py
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from opent2v.tests.loaders.lora import files, models
from opent2v.tests.loaders.lora.applied import CLOSE, apply, loras
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import apart, largest
from opent2v.tests.loaders.lora.sites import Site

__all__ = ["loras"]
# lvdm's UNetModel -> diffusers' UNet3DConditionModel, for the tiny model's three levels of one block
CONVOLUTIONS = (
    ("input_blocks.0.0", "conv_in"),
    ("input_blocks.1.0.in_layers.2", "down_blocks.0.resnets.0.conv1"),
    ("input_blocks.3.0.skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
    ("input_blocks.2.0.op", "down_blocks.0.downsamplers.0.conv"),
    ("middle_block.3.out_layers.3", "mid_block.resnets.1.conv2"),
    ("output_blocks.1.1.conv", "up_blocks.0.upsamplers.0.conv"),
    ("output_blocks.3.3.conv", "up_blocks.1.upsamplers.0.conv"),
    ("output_blocks.5.0.temopral_conv.conv4.3", "up_blocks.2.temp_convs.1.conv4.3"),
    ("out.2", "conv_out"),
)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize("name", ["conv", "conv_lokr"])
def test_every_kind_of_convolution(name, layout, loras):
    one = models.loaded("videocrafter")
    merged, stored = {}, {}
    fmt = replace(FORMATS[name], layers=("conv",), layout=layout)
    for seed, (original, own) in enumerate(CONVOLUTIONS):
        part = replace(one.sites, conv=Site(original, (own,)))
        merged |= files.write(loras / "part.safetensors", fmt, part, one.state, seed)
        stored |= load_file(loras / "part.safetensors")
    files.save(loras / "any.safetensors", stored)
    patched, report = apply(one.model)
    assert f"{len(merged)} of {len(merged)} match" in report
    assert apart(one.sampled(patched), one.merged(merged)) <= CLOSE
    assert largest(one.merged(merged), one.plain) > 0.02


def test_a_convolution_over_one_frame_is_the_linear_layer_it_became(loras):
    one = models.loaded("videocrafter")
    merged = files.write(loras / "any.safetensors", FORMATS["kohya"], one.sites, one.state, only="init_attn.0.proj_")
    stored = load_file(loras / "any.safetensors")
    assert len(merged) == 2
    # As the original has them: Conv1d, [out, in, 1].
    files.save(loras / "any.safetensors", {k: t.unsqueeze(-1) if t.ndim else t for k, t in stored.items()})
    patched, report = apply(one.model)
    assert "2 of 2 match" in report
    assert apart(one.sampled(patched), one.merged(merged)) <= CLOSE
