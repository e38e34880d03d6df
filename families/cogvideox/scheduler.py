"""CogVideoX's DPM solver, whose step needs the clean latent and the timestep of the step before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...base.generators import Generators
from ...base.scheduler import OwnScheduler


class CogVideoXDPMScheduler(OwnScheduler):
    """diffusers' scheduler of this name, with its history.

    Attributes:
        inner: diffusers' own.
    """

    def __init__(self, config: Mapping[str, Any], predicts: Any = None):
        # Imported here: diffusers is heavy and only needed once a run starts.
        import diffusers

        scheduler: Any = getattr(diffusers, "CogVideoXDPMScheduler")  # noqa: B009  its name is not in the stubs
        self.inner = scheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")})
        self._clean: Tensor | None = None
        self._before: Any = None

    def set_timesteps(self, steps: int) -> None:
        self.inner.set_timesteps(steps)
        self.timesteps = self.inner.timesteps

    def step(self, output: Tensor, index: int, x: Tensor, generator: Generators) -> Tensor:
        t = self.timesteps[index]
        # The reference pipeline holds latents as [B, T, C, H, W], so noise drawn in that order equals its noise.
        moved, self._clean = self.inner.step(
            output.transpose(1, 2),
            self._clean,
            t,
            self._before,
            x.transpose(1, 2),
            generator=generator,
            return_dict=False,
        )
        self._before = t
        return moved.transpose(1, 2)
