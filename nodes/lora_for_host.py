"""What the host's own LoRA loaders apply to this pack's MODELs and CLIPs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..base import FamilyError, Target, WeightChange
from ..loaders.lora import held_lora, match, patches_of


def read_for_host(target: Target, tensors: Mapping[str, Tensor], must_fit: bool) -> Sequence[WeightChange]:
    """What the host's own LoRA loaders apply to our MODELs and CLIPs; what does not fit is in the log.

    Args:
        must_fit: nothing of the file has found a place in a model of the host's own.
    Raises:
        FamilyError: the file changes the video model, and next to nothing of it fits this one.
        ModelFileError: no LoRA is in the file.
    """
    file = held_lora(tensors)
    verdict = match(file, target)
    if must_fit and not target.is_text_encoder:
        file.check()
        try:
            if file.adapters:
                verdict.check()
        except FamilyError as error:
            raise FamilyError(f"{error} Load Video LoRA says more of it, by the file's name and metadata.") from error
    for line in verdict.lines() if verdict.total else ():
        (logging.warning if line.startswith("WARNING") else logging.info)(line)
    return patches_of(verdict, lambda name: tensors[name])
