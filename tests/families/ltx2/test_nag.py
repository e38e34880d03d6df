"""A second prompt in the module that ComfyUI 0.8 builds, whose text encoder holds the connectors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from opent2v.families.ltx2.nag import JOINT


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_out = nn.Identity()

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.to_out(x + context.mean(1, keepdim=True))


class Network(nn.Module):
    """Reads the prompts of both streams from one `context`, as ComfyUI's module does."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Module()
        block.attn2, block.audio_attn2 = Attention(), Attention()
        self.transformer_blocks = nn.ModuleList([block])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        video, sound = context.chunk(2, -1)
        block = self.transformer_blocks[0]
        return torch.cat([block.attn2(x, context=video), block.audio_attn2(x, context=sound)], -1)


@pytest.mark.parametrize(("mix", "prompt"), [(lambda first, _: first, 0), (lambda _, second: second, 1)])
def test_each_prompt_is_attended_to_as_if_it_were_alone(mix, prompt):
    drawn = torch.Generator().manual_seed(1)
    video = torch.randn(2, 3, 4, generator=drawn)
    prompts = [torch.randn(1, count, 8, generator=drawn) for count in (5, 2)]
    network = Network()
    alone = network(video, context=prompts[prompt].expand(2, -1, -1))
    with JOINT.carry(network, {"cross_attn": prompts[1]}, mix):
        both = network(video, context=prompts[0].expand(2, -1, -1))
    assert torch.allclose(both, alone, atol=1e-6)
