"""What is known of LTX-Video's distilled LoRAs; its distilled checkpoints are variants of their own."""

from __future__ import annotations

from ...base.few_steps import LORA, FewSteps
from .versions import FIRST_PASS

FEW_STEPS = (
    FewSteps(
        "LTX-Video distilled LoRA", r"distil(?:l(?:ed|ation)?)?(?![a-z])",
        "Lightricks/LTX-Video, configs/ltxv-13b-0.9.8-distilled.yaml, first_pass", steps=7, most=8, sigmas=FIRST_PASS,
        solver="", kinds=(LORA,), models="13B",
    ),
)  # fmt: skip
