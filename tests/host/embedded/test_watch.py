"""An interrupt is obeyed between the blocks of a network, and its blocks are counted.

Tests: host/watch.py
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opent2v.host import embedded
from opent2v.host.watch import watched
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in network.modules())


def test_blocks_are_counted_up_to_what_is_expected():
    network, seen = Net(), []
    with watched([network], lambda *counts: seen.append(counts), times=2):
        for _ in range(3):
            network(torch.ones(2))
    assert seen == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6), (6, 6), (6, 6), (6, 6)]
    network(torch.ones(2))
    assert len(seen) == 9 and hooks(network) == 0


def test_a_list_may_lack_a_block():
    """As the lists of diffusers' Mochi VAE."""
    network, seen = Net(), []
    network.missing = nn.ModuleList([None, nn.Linear(2, 2)])  # pyright: ignore[reportArgumentType]
    with watched([network], lambda *counts: seen.append(counts)):
        network(torch.ones(2))
    assert seen == [(1, 4), (2, 4), (3, 4)] and hooks(network) == 0


def test_whatever_is_raised_leaves_no_hook():
    def stop(begun: int, _: int) -> None:
        if begun == 2:
            raise InterruptedError

    network = Net()
    with pytest.raises(InterruptedError), watched([network], stop):
        network(torch.ones(2))
    assert hooks(network) == 0


def computed_after_interrupt(network: nn.Module, run) -> tuple[int, int]:
    """(blocks that begin although the first was interrupted, blocks in all)."""
    blocks = {id(b): b for each in network.modules() if isinstance(each, nn.ModuleList) for b in each}.values()
    begun = []

    def begin(*_):
        begun.append(None)
        if len(begun) == 1:
            embedded.interrupt()

    handles = [block.register_forward_pre_hook(begin) for block in blocks]
    try:
        with pytest.raises(embedded.Interrupted):
            run()
    finally:
        for handle in handles:
            handle.remove()
    assert hooks(network) == 0
    return len(begun) - 1, len(blocks)


def test_an_interrupt_ends_a_step_a_prompt_and_a_clip_between_blocks():
    model, clip, vae = tiny.shared()
    positive, negative = tiny.conditioning()
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4), "opent2v": {"family": "wan"}}
    runs = {
        "sampling": (
            model.part.transformer,
            lambda: call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, steps=2),
        ),
        "text": (clip.part.encoders["text_encoder"], lambda: embedded.embed(clip, "a star")),
        "decoding": (vae.part.vae, lambda: embedded.decode(vae, latent["samples"])),
        "encoding": (vae.part.vae, lambda: embedded.encode(vae, torch.rand(9, 32, 32, 3))),
    }
    for name, (network, run) in runs.items():
        after, blocks = computed_after_interrupt(network, run)
        assert after <= 2 and blocks > 1, name
