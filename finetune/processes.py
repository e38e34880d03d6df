"""The processes of one training: this one alone, or several that `accelerate launch` has started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import trainer_library


@dataclass(frozen=True)
class Processes:
    """
    Attributes:
        rank: number of this process, from 0.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def launched(cls, cpu: bool) -> Processes:
        """Those that accelerate's launcher has started; this one alone without it."""
        state = trainer_library("accelerate").PartialState(cpu=cpu)
        return cls(state.process_index, state.num_processes)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            trainer_library("accelerate").PartialState().wait_for_everyone()

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Add up each tensor over all processes, in place."""
        if self.count > 1:
            flat = list(tensors)
            joined = torch.cat([tensor.flatten() for tensor in flat])
            torch.distributed.all_reduce(joined)
            for tensor, piece in zip(flat, joined.split([tensor.numel() for tensor in flat]), strict=True):
                tensor.copy_(piece.view_as(tensor))

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes."""
        if self.count == 1:
            return items
        gathered: list[Any] = trainer_library("accelerate.utils").gather_object(items)
        return gathered
