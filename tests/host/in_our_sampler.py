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


def clips_apart(model: Any, prompts: Any, latent: dict[str, Any], **given: Any) -> float:
    """How far clips of one run, each with a seed and a prompt, are from those sampled alone; the farthest.

    Where both prompts have one shape, the second clip's positive prompt is the negative one.
    """
    (positive, negative), seeds = prompts, (4, 11)
    alone = [positive, negative if _shapes(positive) == _shapes(negative) else positive]
    joined = [[_joined(*clips), {k: _joined(v, alone[1][n][1][k]) for k, v in positive[n][1].items()}]
              for n, clips in enumerate(zip(*([c for c, _ in prompt] for prompt in alone), strict=True))]  # fmt: skip
    start = {name: torch.cat([value] * 2) for name, value in latent.items()}
    whole = sampled(model, (joined, negative), start, seeds=", ".join(map(str, seeds)), **given)
    apart = 0.0
    for number, (seed, prompt) in enumerate(zip(seeds, alone, strict=True)):
        clip = sampled(model, (prompt, negative), latent, **given, seed=seed)
        apart = max(apart, (whole[number : number + 1] - clip).abs().max().item())
    return apart


def _shapes(prompt: Any) -> list[Any]:
    return [(c.shape, {k: getattr(v, "shape", v) for k, v in more.items()}) for c, more in prompt]


def _joined(first: Any, second: Any) -> Any:
    """One for each clip, where it is a tensor that differs."""
    is_one = not isinstance(first, torch.Tensor) or torch.equal(first, second)
    return first if is_one else torch.cat([first, second])


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
        "clips": None if "step_cache" in given else clips_apart(core, prompts, latent, **given),
        "same schedule": (variant.scheduler, variant.defaults) == (known(ours).scheduler, known(ours).defaults),
    }


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value
