"""The tiny model of each family that LoRAs are tried on, the same on both hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opent2v.loaders import load_pipeline, open_folder
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.loaders.lora import sites
from opent2v.tests.tiny import cogvideox as tiny_cogvideox
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import ltx_video as tiny_ltx_video
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import open_sora as tiny_open_sora
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny import wan as tiny

PROMPT = "a green star moving left on a sky-blue background"


@dataclass(frozen=True)
class Tiny:
    """Attributes:
    title: the column's name in the published table.
    folder: a diffusers folder.
    sites: where its LoRAs sit.
    steps: how many are run; DDIM's only step is one of almost no noise.
    """

    title: str
    folder: Callable[[], Path]
    sites: sites.Sites
    steps: int = 1


FAMILIES: dict[str, Tiny] = {
    "wan": Tiny("Wan", tiny.folder, sites.wan()),
    "cogvideox": Tiny("CogVideoX", lambda: tiny_cogvideox.folder("5b"), sites.cogvideox()),
    "ltx_video": Tiny("LTX-Video", lambda: tiny_ltx_video.folder("0.9.1"), sites.ltx_video()),
    "mochi": Tiny("Mochi", tiny_mochi.folder, sites.mochi()),
    "hunyuan_video": Tiny("HunyuanVideo", tiny_hunyuan.folder, sites.hunyuan_video()),
    "open_sora": Tiny("Open-Sora 2.0", tiny_open_sora.folder, sites.open_sora()),
    "videocrafter": Tiny("VideoCrafter2", tiny_videocrafter.folder, sites.videocrafter(), steps=2),
    "quickstart": Tiny("bundled", lambda: tiny.BUNDLED, sites.wan(6)),
}


class Loaded:
    """A tiny model on a host, twice: one to apply LoRAs to, and one whose weights are changed by hand."""

    def __init__(self, side: Any, family: str, dtype: torch.dtype = torch.float32) -> None:
        self.side, self.sites, self.steps = side, FAMILIES[family].sites, FAMILIES[family].steps
        folder = open_folder(FAMILIES[family].folder())
        dtypes = {"text_dtype": torch.float32, "vae_dtype": torch.float32}
        loaded = load_pipeline(folder, model_dtype=dtype, **dtypes)
        other = load_pipeline(folder, model_dtype=torch.float32, **dtypes)
        self.model, self.clip = side.model(loaded.models[0]), side.clip(loaded.text)
        self.by_hand = side.model(other.models[0])
        self.module, self.other = loaded.models[0].transformer, other.models[0].transformer
        self.text, self.other_text = loaded.text, other.text
        self.clip_by_hand = side.clip(other.text)
        # What the model computes with: fp8 storage has its own numbers.
        self.state = {name: tensor.float().clone() for name, tensor in self.module.state_dict().items()}
        self.stored = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        self.variant = loaded.models[0].variant
        self.prompt = side.embed(self.clip, PROMPT)
        self.plain = self.sampled(self.model)

    @torch.no_grad()
    def sampled(self, model: Any) -> Tensor:
        """What a step (or two) makes of noise, in the model's own latents."""
        own = self.variant.defaults
        shape = (1, *self.variant.geometry.latent_shape(own.width, own.height, own.frames))
        schedule = make_schedule(
            self.variant.scheduler, steps=self.steps, kind=self.variant.prediction,
            sigmas=lambda n: self.variant.family.sampling.sigmas(self.variant, n, None, shape),
        )  # fmt: skip
        made = self.side.sample(
            model, self.prompt, self.prompt, {"samples": torch.zeros(shape)}, make_run(schedule, 1.0, 3)
        )
        return self.variant.normalise(made.cpu())

    def merged(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The same step with these weights put in by hand."""
        assert weights and set(weights) <= set(self.state)
        self.other.load_state_dict({**self.state, **weights})
        try:
            return self.sampled(self.by_hand)
        finally:
            self.other.load_state_dict(self.state)

    def embedded(self, clip: Any) -> list[Tensor]:
        """The prompt's tensors, in a fixed order."""
        context, further = self.side.embed(clip, PROMPT)[0]
        return [context, *(value for _, value in sorted(further.items()) if isinstance(value, Tensor))]

    def embedded_by_hand(self, weights: Mapping[str, Mapping[str, Tensor]]) -> list[Tensor]:
        """The same with these weights, by encoder, put in by hand."""
        assert weights and all(weights.values())
        kept = {slot: {k: v.clone() for k, v in e.state_dict().items()} for slot, e in self.other_text.encoders.items()}
        try:
            for slot, changed in weights.items():
                self.other_text.encoders[slot].load_state_dict({**kept[slot], **changed})
            return self.embedded(self.clip_by_hand)
        finally:
            for slot, encoder in self.other_text.encoders.items():
                encoder.load_state_dict(kept[slot])

    def is_untouched(self) -> bool:
        """Bit for bit what was loaded, and the same output."""
        now = self.module.state_dict()
        same = all(torch.equal(_bits(now[name]), _bits(tensor)) for name, tensor in self.stored.items())
        return same and torch.equal(self.sampled(self.model), self.plain)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor


@cache
def loaded(family: str, dtype: torch.dtype = torch.float32) -> Loaded:
    """On the embedded host; all tests share it."""
    from opent2v.host import embedded

    return Loaded(embedded, family, dtype)


def largest(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors of one shape."""
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def apart(a: Tensor, b: Tensor) -> float:
    """How far two orders of one sum are apart: the largest difference, as a share of the largest value above 1.

    What rounding makes of them depends on the processor, and grows with the numbers.
    """
    return largest(a, b) / max(1.0, b.abs().max().item())
