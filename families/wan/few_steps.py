"""What is known of Wan's distilled checkpoints and LoRAs. The first row that a name belongs to counts."""

from __future__ import annotations

import math

from ...base.few_steps import CHECKPOINT, LORA, RENOISED, FewSteps

# The levels 1, 3/4, 1/2, 1/4 with a shift of 5 (LightX2V, denoising_step_list 1000, 750, 500, 250).
FOUR_SIGMAS = (1.0, 0.9375, 5 / 6, 0.625)
# FastVideo and CausVid, dmd_denoising_steps.
DMD_SIGMAS = (1.0, 0.757, 0.522)


def trig_flow(largest: float) -> tuple[float, ...]:
    """rCM's four levels, from its angles to shares of noise.

    Args:
        largest: sigma_max of the model.
    Source: NVlabs/rcm, rcm/inference/wan2pt1_t2v_rcm_infer.py.
    """
    angles = (math.atan(largest), 1.5, 1.4, 1.0)
    return tuple(math.sin(angle) / (math.sin(angle) + math.cos(angle)) for angle in angles)


_X2V = "lightx2v: denoising_step_list 1000, 750, 500, 250, shift 5, no cfg; ModelTC/LightX2V-Wan2.2-Lightning#3"
_STEPS = r"(?<![0-9])(?:4|8) ?steps?(?![a-z0-9])"

FEW_STEPS = (
    FewSteps(
        "FastWan", r"(?<![a-z])fast ?wan(?:fullattn)?(?![a-z])", "FastVideo, FastWan2_1_T2V_480P_Config and 5B",
        steps=3, sigmas=DMD_SIGMAS, solver=RENOISED,
    ),
    FewSteps(
        "rCM, two experts",
        r"turbowan ?2 ?2|turbodiffusion.*2 2|(?<![a-z])rcm(?![a-z]).*2 2|2 2.*(?<![a-z])rcm(?![a-z])",
        "thu-ml/TurboDiffusion, sigma_max 200", sigmas=trig_flow(200), solver=RENOISED,
    ),
    FewSteps(
        "rCM", r"(?<![a-z])rcm(?![a-z])|turbowan|turbodiffusion", "NVlabs/rcm, sigma_max 80",
        sigmas=trig_flow(80), solver=RENOISED,
    ),
    FewSteps(
        "Wan2.2-Lightning",
        rf"wan ?2 ?2 lightn?ing(?= (?:t2v|i2v|ti2v|v ?1|{_STEPS}))|lightn?ing (?:4|8)steps?|(?<![a-z])seko(?![a-z])"
        r"|a14b 4steps lora",
        _X2V, most=8, shift=(5.0,), sigmas=FOUR_SIGMAS,
    ),
    FewSteps(
        "LightX2V step distillation", r"lightx2v|step ?distill|cfg ?step ?distill|cfg ?distill .*step", _X2V, most=8,
        shift=(5.0,), sigmas=FOUR_SIGMAS,
    ),
    FewSteps(
        "Self-Forcing", r"self ?forcing",
        "guandeh17/Self-Forcing, configs/self_forcing_dmd.yaml: 1000, 750, 500, 250, shift 5",
        shift=(5.0,), sigmas=FOUR_SIGMAS, solver=RENOISED,
    ),
    FewSteps(
        "CausVid LoRA", r"caus ?vid",
        "civitai.com/models/1585622 (its maker's page): weight 0.3 to 0.5, 4 to 12 steps, cfg 1",
        steps=8, fewest=4, most=12, shift=(8.0,), solver="", strength=(0.3, 1.0), kinds=(LORA,),
    ),
    FewSteps(
        "CausVid", r"caus ?vid", "tianweiy/CausVid: 1000, 757, 522, shift 8", steps=3, most=9, shift=(8.0,),
        sigmas=DMD_SIGMAS, solver=RENOISED, kinds=(CHECKPOINT,),
    ),
    FewSteps(
        "FusioniX", r"fusioni?x(?![a-z])",
        "by its users: 8 to 10 steps, cfg 1, shift 1, uni_pc; MeiGen-AI/InfiniteTalk, README: 8 steps, shift 2, no cfg",
        steps=8, most=10, shift=(1.0,), solver="",
    ),
    FewSteps(
        "Rapid AllInOne", r"rapid (?:\w+ )?(?:aio|all ?in ?one)",
        "its maker's announcement (reddit.com/comments/1mddzji): 4 steps, cfg 1; the shift by its users",
        shift=(5.0,), kinds=(CHECKPOINT,),
    ),
    FewSteps(
        "AccVideo", r"acc ?vid(?:eo)?(?![a-z])",
        "aejion/AccVideo @5172700, README and sample_wanx_t2v.py: 10 steps, unipc, shift 5, no cfg",
        steps=10, shift=(5.0,), solver="",
    ),
    FewSteps(
        "Wan2.2-TI2V-5B-Turbo", r"5b (?:\w+ )?turbo(?![a-z])|turbo .*ti2v 5b",
        "quanhaol/Wan2.2-TI2V-5B-Turbo @22af21f, README: 4 steps, no cfg, by Self-Forcing, whose levels these are",
        shift=(5.0,), sigmas=FOUR_SIGMAS, solver=RENOISED, models="5B",
    ),
    FewSteps(
        "DMD", r"(?<![a-z])dmd2?(?![a-z])", "1000, 750, 500, 250 as Self-Forcing's DMD", shift=(5.0,),
        sigmas=FOUR_SIGMAS, solver=RENOISED,
    ),
    # Checkpoints into which others have merged a LightX2V LoRA name it by a word; LoRAs of such a name are mostly
    # effects (bolts of lightning).
    FewSteps(
        "a merged Lightning LoRA", rf"lightn?ing|lightspeed|{_STEPS.replace('|8', '')}", _X2V, most=8, shift=(5.0,),
        sigmas=FOUR_SIGMAS, kinds=(CHECKPOINT,),
    ),
    FewSteps(
        "a distilled model",
        r"distil(?:l(?:ed|ation)?)?(?![a-z])|(?<![a-z])(?:rapid|turbo)(?![a-z])|(?<![0-9])[1-8] ?steps?(?![a-z])",
        "its name alone", steps=8, fewest=1, solver="", kinds=(CHECKPOINT,), is_guess=True,
    ),
)  # fmt: skip
