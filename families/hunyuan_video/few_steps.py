"""What is known of HunyuanVideo's distilled checkpoints and LoRAs. `cfg` is the guidance that the model is told."""

from __future__ import annotations

from ...base.few_steps import FewSteps

FEW_STEPS = (
    FewSteps(
        "FastHunyuan", r"fast ?(?:hunyuan|video)", "FastVideo, scripts/inference/inference_hunyuan.sh", steps=6, most=8,
        cfg=6.0, shift=(17.0,),
    ),
    FewSteps(
        "AccVideo", r"acc ?vid(?:eo)?(?![a-z])", "aejion/AccVideo @239ff40, README: 5 steps, embedded cfg 6, shift 7",
        steps=5, most=8, cfg=6.0, shift=(7.0,),
    ),
)  # fmt: skip
