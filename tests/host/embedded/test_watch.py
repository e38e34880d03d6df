"""An interrupt is obeyed between the blocks of a network, and its blocks are counted.

Tests: host/watch.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from opent2v.host import embedded
from opent2v.host.watch import interruptible, watched
from opent2v.loaders import load_sound_vae, load_vae, open_file
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import ltx2
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


def test_a_check_stands_before_each_layer():
    """Layers that are called without their block too, as streamed decoders call them."""
    network, seen = Net(), []
    network.block = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.SiLU())])
    with interruptible(network, lambda: seen.append(None)):
        network.block[0][0](torch.ones(2))  # pyright: ignore[reportIndexIssue]
        network(torch.ones(2))
    assert len(seen) == 4 and hooks(network) == 0


def computed_after_interrupt(parts, run) -> int:
    """How many of a network's parts begin although the first was interrupted."""
    begun = []

    def begin(*_):
        begun.append(None)
        if len(begun) == 1:
            embedded.interrupt()

    handles = [block.register_forward_pre_hook(begin) for block in parts]
    try:
        with pytest.raises(embedded.Interrupted):
            run()
    finally:
        for handle in handles:
            handle.remove()
    assert sum(len(part._forward_pre_hooks) for part in parts) == 0
    return len(begun) - 1


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
        lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
        blocks = {id(block): block for each in lists for block in each}.values()
        assert computed_after_interrupt(blocks, run) <= 2 and len(blocks) > 1, name


def test_an_interrupt_ends_a_streamed_clip_and_a_sound_between_layers(tmp_path):
    """LTX-2's decoder of pictures calls the layers of its blocks one by one."""
    files = {"video": ltx2.video_vae("2.3"), "sound": ltx2.sound_vae("2.3")}
    for name, weights in files.items():
        save_file(weights, tmp_path / f"{name}.safetensors")
    video, sound = (
        embedded.vae(load(open_file(tmp_path / f"{name}.safetensors"), torch.float32))
        for name, load in (("video", load_vae), ("sound", load_sound_vae))
    )
    audio = embedded.audio_decoder(sound)
    assert audio is not None and audio.encode is not None
    tone = {"waveform": torch.zeros(1, 2, 20480), "sample_rate": 16000}
    latent = torch.zeros(1, audio.channels, 11, 16)
    runs = {
        "video": (video.part.vae, lambda: next(embedded.decode_stream(video, torch.zeros(1, 128, 3, 2, 2)))),
        "decoded": (sound.part.vae, lambda: audio.decode(latent)),
        "encoded": (sound.part.vae, lambda: audio.encode(tone)),  # pyright: ignore[reportOptionalCall]
    }
    for name, (network, run) in runs.items():
        layers = [layer for layer in network.modules() if not list(layer.children())]
        assert computed_after_interrupt(layers, run) == 0, name
