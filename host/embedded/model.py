"""MODEL of the embedded host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...base import Variant, VideoModel
from ...base.few_steps import FewStepsLora
from ...base.storage import BY_DTYPE
from ...base.strengths import Strengths
from ...sampling import prediction
from ...sampling.caches import CacheRun
from ...sampling.streams import Packing
from ...sampling.windows import Windows
from ..embedded.clip import Clip, late_or_part
from ..leaves import dtype_keeping_norms, switch_leaves
from . import machine
from .ops import LEAVES
from .patches import Patches, changed


@dataclass(frozen=True)
class Model:
    """
    Attributes:
        windows: over time, resolved; None: the whole latent is computed at once.
    """

    part: VideoModel
    device: torch.device
    dtype: torch.dtype
    step_cache: Callable[[], CacheRun] | None = None
    patches: Patches = ()
    windows: Windows | None = None
    few_steps: tuple[FewStepsLora, ...] = ()
    # Of each LoRA whose strength changes over the steps: its place in `patches`, its strength, the factors.
    strengths: tuple[tuple[int, float, Strengths], ...] = ()

    def changed(self) -> AbstractContextManager[None]:
        """Run with the LoRAs that were applied."""
        return changed({"": self.part.transformer}, self.patches, self.dtype)

    def at_shift(self, shift: float) -> Model:
        """With this shift of the video's noise levels, see `Variant.at_shift`; 0: as it is."""
        return replace(self, part=replace(self.part, variant=self.part.variant.at_shift(shift)))

    def denoised(
        self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor], packing: Packing | None = None
    ) -> Tensor:
        """Expected clean latent for x [B, C, T, H, W] at sigma [B], both float32.

        Args:
            packing: how a joint model's streams lie in x.
        """
        predicts = prediction(self.part.variant.prediction, self.part.variant.scheduler)
        inputs = predicts.model_input(x, sigma).to(self.dtype)
        t = predicts.timestep(sigma)
        if packing is None:
            output = self.part.predict(inputs, t, conditions)
        else:
            output = packing.pack(self.part.predict(packing.unpack(inputs), t, conditions))
        return predicts.clean(x, output.float(), sigma)

    def conditions(self, entry: Mapping[str, Any], shape: Any) -> dict[str, Tensor]:
        """The family's conditions, on the device, tensors of three and more dimensions in the computing dtype."""
        return self.part.prepare(
            {
                name: value.to(self.device, self.dtype if value.ndim > 2 and value.is_floating_point() else None)
                for name, value in self.part.conditions(entry, shape).items()
            }
        )


def device_dtypes(
    asked: torch.dtype | None, stored: torch.dtype | None, numbers: int = 0
) -> dict[str, torch.dtype | None]:
    """A CPU computes half precision slowly, so automatic means fp32 there and bf16 on a GPU."""
    automatic = torch.float32 if machine.device().type == "cpu" else torch.bfloat16
    return {"model_dtype": asked or automatic, "text_dtype": automatic, "vae_dtype": automatic}


def model(part: VideoModel) -> Model:
    switch_leaves(part.transformer, LEAVES | dtype_keeping_norms()).to(machine.device())
    # The dtype of the largest weight is the storage dtype: small layers may be kept in fp32. A CPU computes in fp32
    # only.
    stored = max(part.transformer.parameters(), key=Tensor.numel).dtype
    computes = torch.float32 if machine.device().type == "cpu" else BY_DTYPE[stored].computes
    return Model(part, machine.device(), computes or stored)


def variant(thing: Any) -> Variant | None:
    return getattr(_part(thing), "variant", None)


def path(thing: Any) -> Path | None:
    return getattr(_part(thing), "path", None)


def _part(thing: Any) -> Any:
    return late_or_part(thing) if isinstance(thing, Clip) else getattr(thing, "part", None)


def title(thing: Any) -> str:
    """There are none of the host's own here."""
    return ""
