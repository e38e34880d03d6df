"""What is known of Mochi's distilled checkpoints."""

from __future__ import annotations

from ...base.few_steps import CHECKPOINT, FewSteps

FEW_STEPS = (
    FewSteps(
        "FastMochi", r"fast ?mochi", "FastVideo, scripts/inference/inference_mochi_hf.sh", steps=8, cfg=1.5, solver="",
        kinds=(CHECKPOINT,),
    ),
)  # fmt: skip
