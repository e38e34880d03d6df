"""Core's MODEL in our sampler, beside ours of the same file. For the `inside_*.py` scripts, in ComfyUI's Python."""

from __future__ import annotations

from typing import Any

import torch

from opent2v.base import Variant
from opent2v.host import comfyui as real
from opent2v.nodes import NODE_CLASS_MAPPINGS


def known(model: Any) -> Variant:
    variant = real.variant(model)
    assert variant is not None
    return variant


def sampled(model: Any, prompts: Any, latent: dict[str, Any], **given: Any) -> torch.Tensor:
    """What our sampler makes in three steps, as the transformer sees it."""
    settings = {"seed": 3, "steps": 3, "cfg": 3.0, "shift": 0.0, "solver": "reference", "denoise": 1.0, **given}
    with torch.inference_mode():  # as the executor runs it
        inputs = {"model": model, **dict(zip(("positive", "negative"), prompts, strict=True)), "latent": dict(latent)}
        result = NODE_CLASS_MAPPINGS["OpenT2VSampler"]().sample(**inputs, **settings)["result"]
        return known(model).normalise(result[0]["samples"].cpu())


def compared(core: Any, ours: Any, prompts: Any, latent: dict[str, Any], **given: Any) -> dict[str, Any]:
    """What is found about core's MODEL, and how far apart the two results are.

    The prompts are copied for each: the host changes some of their tensors in place.
    """
    results = []
    for model in (core, ours):
        copies = [[[c.clone(), {k: _copy(v) for k, v in more.items()}] for c, more in prompt] for prompt in prompts]
        results.append(sampled(model, copies, latent, **given))
    variant = known(core)
    return {
        "family": variant.family.id,
        "task": variant.task,
        "apart": (results[0] - results[1]).abs().max().item(),
        "scale": results[0].abs().max().item(),
        "same schedule": (variant.scheduler, variant.defaults) == (known(ours).scheduler, known(ours).defaults),
    }


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value
