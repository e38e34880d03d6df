"""What is known of LTX-2's distilled LoRAs; its distilled checkpoints are told by `versions`."""

from __future__ import annotations

from ...base.few_steps import LORA, FewSteps
from .versions import DISTILLED

FEW_STEPS = (
    FewSteps(
        "LTX-2 distilled LoRA", r"distil(?:l(?:ed|ation)?)?(?![a-z])",
        "Lightricks/LTX-2, DISTILLED_SIGMA_VALUES; ComfyUI's templates of 2.0, 2.3 and 2.5", steps=8, sigmas=DISTILLED,
        solver="", strength=(0.5, 1.0), kinds=(LORA,),
    ),
)  # fmt: skip
