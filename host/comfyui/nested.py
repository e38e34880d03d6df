"""LATENTs of several streams."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.nested_tensor
from torch import Tensor


def nested(streams: Sequence[Tensor]) -> comfy.nested_tensor.NestedTensor:
    return comfy.nested_tensor.NestedTensor(streams)
