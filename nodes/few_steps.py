"""LoRAs of few steps on the MODELs of a run: whose values count, and where they disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..base import Variant
from ..base.few_steps import FewSteps, FewStepsLora, with_few_steps
from ..host import host


def with_loras(variant: Variant, model: Any, low_noise_model: Any = None) -> tuple[Variant, list[str]]:
    """(the variant with the values of the LoRA of few steps on its MODEL, remarks where two disagree).

    A distilled checkpoint's own values go before those of a LoRA, and a LoRA's before those of the ones before it.

    Args:
        variant: of the first MODEL.
        low_noise_model: the second expert of two.
    """
    loras, checkpoint = host.few_steps(model), variant.few_steps
    others = () if low_noise_model is None else host.few_steps(low_noise_model)
    remarks = [*_disagreement(checkpoint, loras), *_strengths((*loras, *others))]
    chosen = loras or others
    if low_noise_model is not None and checkpoint is None and chosen and not (loras and others):
        has, lacks = ("high", "low") if loras else ("low", "high")
        remarks.append(
            f"Only the {has}-noise model has a LoRA of few steps ({chosen[-1].file}). The {lacks}-noise one "
            "makes its few steps as a full model and leaves noise: put the LoRA's other file of the two on it."
        )
    remarks += [] if checkpoint is not None else _pair_disagreement(loras, others)
    if checkpoint is not None or not chosen:
        return variant, remarks
    last = chosen[-1]
    return with_few_steps(variant, replace(last.few, title=f"{last.few.title} ({last.file})")), remarks


def _values(few: FewSteps) -> tuple[Any, ...]:
    return few.steps, few.cfg, few.shift, few.sigmas, few.solver


def _disagreement(checkpoint: FewSteps | None, loras: tuple[FewStepsLora, ...]) -> list[str]:
    if checkpoint is not None and loras:
        return [
            f"This checkpoint is distilled already ({checkpoint.title}: {checkpoint.values}), and {loras[-1].file} "
            f"({loras[-1].few.values}) distils it once more: both together burn. Take the LoRA out."
        ]
    if len({_values(lora.few) for lora in loras}) < 2:
        return []
    listed = "; ".join(f"{lora.file}: {lora.few.values}" for lora in loras)
    return [f"The LoRAs of few steps disagree ({listed}). The last one's values are used: keep one of them."]


def _pair_disagreement(loras: tuple[FewStepsLora, ...], others: tuple[FewStepsLora, ...]) -> list[str]:
    if not loras or not others or _values(loras[-1].few) == _values(others[-1].few):
        return []
    first, second = loras[-1], others[-1]
    return [
        f"The two experts' LoRAs disagree ({first.file}: {first.few.values}; {second.file}: {second.few.values}). The "
        "high-noise one's values are used."
    ]


def _strengths(loras: tuple[FewStepsLora, ...]) -> list[str]:
    """Remarks on strengths below half of the lowest or above one and a half times the highest that makers name."""
    remarks = []
    for lora in loras:
        low, high = lora.few.strength
        if not 0.5 * low <= lora.strength <= 1.5 * high:
            named = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            outcome = "unfinished" if lora.strength < low else "burnt"
            remarks.append(
                f"{lora.file} is made for strength {named}, found {lora.strength:g}: its few steps come out {outcome}."
            )
    return remarks
