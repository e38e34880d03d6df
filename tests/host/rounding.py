"""Inside ComfyUI's Python: how much of a difference is the rounding of layers' inputs to 8 bits, or to 4.

Two networks that agree to a last digit give some input of a layer on either side of a rounding step. The step is 1/127
of a row's largest input (of 4 bits 1/7), and all later layers differ by what it makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from boot import off

if TYPE_CHECKING:
    from cases_packed import Packed

# The formats whose layers round their inputs to 8 bits, the last one's to 4.
KINDS = ("int8", "int8_tensor", "int8_convrot", "asym_w4a8", "convrot_w4a4")
NOISE = 1e-6


@contextmanager
def unrounded() -> Iterator[None]:
    """ComfyUI's int8 and int4 layers, core's fused feed-forward ones among them, multiply their inputs as they are.

    Core's `linear_input_act` asks no layer whether it rounds, so a layer's `_full_precision_mm` alone leaves half of a
    feed-forward network rounded.
    """
    from comfy_kitchen.backends.eager import convrot_w4a4, quantization

    unpack = convrot_w4a4._unpack_int4_row_major
    with (
        mock.patch.object(quantization, "_round_int8", lambda scaled, *_, **__: scaled),
        mock.patch.object(quantization, "_int8_matmul_accumulate", lambda inputs, weight: inputs @ weight.to(inputs)),
        mock.patch.object(convrot_w4a4, "quantize_signed_int4_rowwise", lambda x, *_, **__: (x, x.new_ones(len(x)))),
        mock.patch.object(convrot_w4a4, "_unpack_int4_row_major", lambda x: x if x.is_floating_point() else unpack(x)),
    ):
        yield


def measured(subject: Packed, core: Any) -> dict[str, float]:
    """Core's own MODEL beside ours with no input rounded, and beside itself with a prompt that is a millionth off."""
    (prompt, entries), rounded = subject.prompt[0], subject.sampled(core)
    with unrounded():
        exact = subject.sampled(core)
        distances = {"unrounded": off(exact, subject.sampled(subject.model)), "rounding": off(rounded, exact)}
    itself = []
    for seed in range(3):
        noise = torch.randn(prompt.shape, generator=torch.Generator().manual_seed(seed))
        subject.prompt = [[prompt * (1 + NOISE * noise), entries]]
        itself.append(off(subject.sampled(core), rounded))
    subject.prompt = [[prompt, entries]]
    return {**distances, "core to itself": max(itself)}
