"""LATENTs of several streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.nested_tensor
from torch import Tensor


def nested(streams: Sequence[Tensor]) -> Any:
    return streams[0] if len(streams) == 1 else comfy.nested_tensor.NestedTensor(streams)
