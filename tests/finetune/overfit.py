"""One clip and one noise, learned by heart: then a sampling run with that noise leads to the clip.

Whatever differs between training and sampling shows here: levels, timesteps, scale of latents, sign of a target.
A tiny random network cannot tell one noise from another, so the noise is the sampler's own, and the levels are those of
its steps. For the same reason the adapter is on all linear layers: the last one maps few channels to more numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from opent2v.finetune.adapter import Adapter, trained_layers
from opent2v.finetune.objective import Sample, losses
from opent2v.host import embedded
from opent2v.sampling import SamplerRequest, plan_run
from opent2v.sampling.streams import seeded_noise, unbind
from opent2v.tests.finetune import families

SEED, STEPS, RANK, LEVELS = 5, 200, 32, 4


@dataclass(frozen=True)
class Overfit:
    """
    Attributes:
        first, last: mean loss over the levels before the first and behind the last step.
        before, after: of the base's and of the adapted model's sample against the clip's latents, dB.
    """

    first: float
    last: float
    before: float
    after: float


def overfit(name: str, rate: float = 1e-2) -> Overfit:
    """
    Args:
        name: in `families.MODELS`.
    """
    model, sample = families.training_model(name), families.sample_of(name)
    variant = model.part.variant
    noise = tuple(seeded_noise([tuple(stream.shape) for stream in sample.streams], SEED))
    # A solver without noise of its own: the run stays on the line of this one noise.
    request = SamplerRequest(seed=SEED, steps=LEVELS, cfg=1.0, solver="euler")
    shape = tuple(sample.streams[0].shape)
    sigmas = torch.tensor([step.sigma for step in plan_run(variant, request, shape, None, sample.entry).steps])
    before = _distance(name, sample, request)
    adapter = Adapter(model.part.transformer, trained_layers(model.part.transformer, "all linear"), RANK, 1.0, 0)
    try:
        first = _measured(model, sample, sigmas, noise)
        optimizer = torch.optim.AdamW(adapter.weights.values(), lr=rate, weight_decay=0.0)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 10) * (1 - step / STEPS)
            level = step % len(sigmas)
            losses(model, [sample], sigmas[level : level + 1], [noise]).sum().backward()
            torch.nn.utils.clip_grad_norm_(adapter.weights.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        last = _measured(model, sample, sigmas, noise)
        return Overfit(first, last, before, _distance(name, sample, request))
    finally:
        adapter.remove()


@torch.no_grad()
def _measured(model: Any, sample: Sample, sigmas: torch.Tensor, noise: tuple[torch.Tensor, ...]) -> float:
    return sum(losses(model, [sample], sigma[None], [noise]).item() for sigma in sigmas) / len(sigmas)


def _distance(name: str, sample: Sample, request: SamplerRequest) -> float:
    """How near a sample comes to the clip: the peak signal to noise of the video's latents, dB."""
    model, shapes = families.hosted(name), families.shapes_of(name)
    variant = model.part.variant
    run = plan_run(variant, request, tuple(sample.streams[0].shape), None, sample.entry)
    context, entry = sample.entry["cross_attn"], {k: v for k, v in sample.entry.items() if k != "cross_attn"}
    empty = {"samples": embedded.nested([torch.zeros(shape) for shape in shapes])}
    drawn = embedded.sample(model, [[context, entry]], [[context, entry]], empty, run)
    clean = sample.streams[0][:, :, -shapes[0][2] :]
    video = variant.streams[0].normalise(unbind(drawn)[0])
    peak = (clean.max() - clean.min()).item()
    return 10 * math.log10(peak**2 / (video - clean).square().mean().item())
