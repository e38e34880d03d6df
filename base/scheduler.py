"""Schedulers that diffusers lacks, or whose step takes arguments that no other scheduler has."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from .generators import Generators


class OwnScheduler(ABC):
    """Made for one run from a model's scheduler config; it may keep what it needs between the steps.

    Attributes:
        timesteps: [steps] falling, after `set_timesteps`.
    """

    timesteps: Tensor

    @abstractmethod
    def set_timesteps(self, steps: int) -> None: ...

    @abstractmethod
    def step(self, output: Tensor, index: int, x: Tensor, generator: Generators) -> Tensor:
        """One step, from `timesteps[index]` to the next timestep; the last step ends at noise level 0.

        Args:
            output: the model's own, like x.
            x: the latent as the model sees it, [B, C, T, h, w].
            generator: source of the noise that the step adds; a list has one for each clip of the batch.
        """
