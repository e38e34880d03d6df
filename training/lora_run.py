"""The training of a LoRA step by step, whatever it learns: rate, optimiser, log, and the checkpoint to go on from."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .machine import write_checkpoint


class LoraRun:
    """One training, from its first step or from its checkpoint.

    Args:
        weights: of the adapter, by name; they become the checkpoint's where there is one.
        checkpoint: the file.
        options: of the command: steps, stop, rate and save_every.
        carried: tensors that a step leaves to the next one beside the weights, by name.
    Attributes:
        carried: the same, or the checkpoint's; a step puts its new ones there.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        checkpoint: Path,
        options: argparse.Namespace,
        **carried: dict[str, Tensor],
    ):
        self.carried = carried
        self._weights, self._checkpoint, self._options = weights, checkpoint, options
        self._solver = torch.optim.AdamW(weights.values(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self._first, self._last = 0, min(options.steps, options.stop or options.steps)
        self._began, self._losses = 0.0, list[float]()
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            for name, weight in weights.items():
                weight.data.copy_(state["weights"][name])
            self._solver.load_state_dict(state["solver"])
            self._first = state["step"]
            self.carried = {name: state[name] for name in carried}

    def steps(self, data: str) -> Iterator[int]:
        """The numbers of the steps that are left; the rate is set for each.

        Args:
            data: what is learned from, for the first line of the log.
        """
        size = sum(weight.numel() for weight in self._weights.values())
        print(f"{size:,} parameters, {data}, from step {self._first}", flush=True)
        self._began = time.time()
        for step in range(self._first, self._last):
            # Warm up over 50 steps, hold, then fall linearly over the last half.
            factor = min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (1 - step / self._options.steps) / 0.5))
            self._solver.param_groups[0]["lr"] = self._options.rate * factor
            yield step

    def learn(self, step: int, loss: Tensor) -> None:
        """A step of the optimiser.

        Raises:
            SystemExit: the loss is no number any more.
        """
        self._losses.append(loss.item())
        if not math.isfinite(self._losses[-1]):
            raise SystemExit(f"step {step}: the loss is {self._losses[-1]}; try a smaller --rate")
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
        self._solver.step()
        self._solver.zero_grad(set_to_none=True)

    def end(self, step: int) -> bool:
        """Write the log and the checkpoint where this step is their turn; whether it was the checkpoint's."""
        if (step + 1) % 50 == 0:
            loss, seconds = sum(self._losses) / len(self._losses), time.time() - self._began
            print(json.dumps({"step": step + 1, "loss": round(loss, 5), "s": round(seconds, 1)}), flush=True)
            self._losses = []
        is_saved = (step + 1) % self._options.save_every == 0 or step + 1 == self._last
        if is_saved:
            weights = {name: weight.detach() for name, weight in self._weights.items()}
            state = {"weights": weights, "solver": self._solver.state_dict(), "step": step + 1, **self.carried}
            write_checkpoint(state, self._checkpoint)
        return is_saved
