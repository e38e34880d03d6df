"""What is known of MiniMax H3's turbo LoRAs: the steps stand in their names, the shifts of picture and sound nowhere.

Source: ModelTC/Minimax-H3-Turbo, model specs and issue 15; dkackman/diffusers-workflow, issues 147 and 148.
"""

from __future__ import annotations

from ...base.few_steps import LORA, FewSteps

_STEPS = r"(?<![0-9])(?P<steps>[1-9]) ?steps?(?![a-z])"
_IS_TURBO = r"^(?=.*(?<![a-z])(?:turbo|lightx2v)(?![a-z]))"
_SPECS = "ModelTC/Minimax-H3-Turbo, model specs"

FEW_STEPS = (
    FewSteps(
        "MiniMax H3 Turbo 768p", rf"{_IS_TURBO}(?=.*(?<![0-9])768p?(?![0-9]))(?:(?=.*?{_STEPS})|)", _SPECS, steps=8,
        most=8, fewest=4, shift=(6.0, 3.0), solver="", kinds=(LORA,),
    ),
    FewSteps(
        "MiniMax H3 Turbo 544p", rf"{_IS_TURBO}(?:(?=.*?{_STEPS})|(?=.*(?<![0-9])544p?(?![0-9])))", _SPECS, steps=8,
        most=9, fewest=4, shift=(12.0, 3.0), solver="", kinds=(LORA,),
    ),
    FewSteps(
        "FastH3", r"fast ?h3", "sgl-project/sglang#37139: 8 steps, shift 10, sound 3", steps=8, shift=(10.0, 3.0),
        solver="",
    ),
    FewSteps(
        "a turbo LoRA for MiniMax H3",
        rf"(?:taomate|turbo|distil(?:led)?)(?![a-z]).*{_STEPS}|taomate|turbo(?![a-z])",
        "its name alone", steps=4, most=8, solver="", kinds=(LORA,), is_guess=True,
    ),
)  # fmt: skip
