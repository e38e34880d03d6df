"""Control LoRAs: they widen the layer that reads the latents, for a control video beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .file import LoraFile

if TYPE_CHECKING:
    from .match import Misfit

# The layer that reads the latents, in the makers' names and in diffusers'.
_INPUT = re.compile(r"(?:^|[._])(?:patch_embedding|patch_embed|proj_in|patchify_proj|img_in|x_embedder)(?:[._]|$)")
# The shape that a trainer wants the layer to have.
_RESHAPED = ".reshape_weight"


def widened(file: LoraFile, misshapen: Sequence[Misfit]) -> str:
    """What a LoRA widens the input layer from and to, in words; "" for all others.

    Args:
        misshapen: its changes of layers that the model has in another shape.
    """
    for misfit in misshapen:
        (_, trained), (_, expected) = misfit.trained, misfit.expected
        if _INPUT.search(misfit.adapter.stem) and trained > expected > 0:
            return f"{misfit.adapter.stem} from {expected} to {trained} inputs"
    for name in file.leftovers:
        if name.endswith(_RESHAPED) and _INPUT.search(name):
            return name.removesuffix(_RESHAPED)
    return ""
