"""A transformer whose blocks double their input, so that every sum can be done by hand."""

from __future__ import annotations

import torch
from torch import nn

from opent2v.sampling.caches import BatchItem, CacheRun, StepCache, cache_runs

POSITIVE, NEGATIVE = BatchItem("p", "positive"), BatchItem("n", "negative")


class Doubling(nn.Module):
    """hidden -> 2 hidden; `style` is how the block is called and what it returns."""

    def __init__(self, style: str):
        super().__init__()
        self.style, self.inner, self.runs = style, nn.Identity(), 0

    def forward(self, hidden, text=None, temb=None):
        self.runs += 1
        if self.style == "in place":
            hidden *= 2
            return hidden
        if self.style == "two streams":
            return self.inner(hidden) * 2, text + 1
        return self.inner(hidden) * 2


class Model(nn.Module):
    """Three blocks behind x; 8 x comes out, and `text` beside it in the style of two streams."""

    def __init__(self, style: str = "positional", blocks: int = 3):
        super().__init__()
        self.style = style
        self.embed, self.out = nn.Identity(), nn.Identity()
        self.blocks = nn.ModuleList(Doubling(style) for _ in range(blocks))

    def forward(self, x, hint: float = 0.0):
        x, text = self.embed(x).clone(), torch.zeros(len(x), 2, 3)
        for block in self.blocks:
            if self.style == "two streams":
                x, text = block(hidden=x, text=text)
            elif self.style == "keyword":
                x = block(hidden=x, text=text)
            else:
                x = block(x, text)
            x = x + hint
        return self.out(x)

    @property
    def runs(self) -> list[int]:
        return [block.runs for block in self.blocks]


def full(*values: float, tokens: int = 4) -> torch.Tensor:
    """[rows, tokens, 3]: one value for each row."""
    return torch.tensor([float(value) for value in values]).view(-1, 1, 1).expand(-1, tokens, 3).clone()


def cache(policy: str = "plan", plan: str = "2", **given) -> CacheRun:
    settings = StepCache(
        **(
            {"policy": policy, "plan": plan, "start": 0.0, "end": 1.0, "predictor": "last", "boundary": "blocks"}
            | given
        )
    )
    return cache_runs(settings, None)()


def walk(model, run, xs, parts=(POSITIVE,), **given):
    """What comes out of the model for each x, one step each."""
    steps = len(xs)
    sigmas = torch.linspace(1, 0, steps + 1)
    results = []
    with run.attached(model, sigmas) as stage:
        for x, sigma in zip(xs, sigmas.tolist(), strict=False):
            with stage.call(parts, sigma, x):
                results.append(model(x, **given))
    return results
