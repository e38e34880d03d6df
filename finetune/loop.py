"""The training itself: steps, validation, checkpoints, the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..host.training import TrainingModel
from . import checkpoint
from .adapter import Adapter, trained_layers
from .errors import TrainingError
from .objective import NoiseLevels, Sample, can_join, draw_noise, losses
from .optimizer import optimizer_of, resolved
from .order import Order, generator_of
from .prepare import Item, Prepared
from .processes import Processes
from .settings import Settings

# Gradients are scaled down to this norm.
_LARGEST_NORM = 1.0
# A data set of fewer clips is learned whole.
_LEAST_FOR_VALIDATION = 10
_MOST_FOR_VALIDATION = 32
# Noise levels at which the validation clips are measured, as shares of the distribution that training draws from.
_MEASURES = 2


@dataclass
class Record:
    """What a step measured.

    Attributes:
        step: how many steps are done.
        loss: mean over the step's clips.
        levels: for each clip of this process, (its timestep's share of 1000, its loss).
        validation: loss of the validation clips, where they were measured behind this step.
    """

    step: int
    loss: float
    levels: list[tuple[float, float]] = field(default_factory=list)
    validation: float | None = None


class Training:
    """One training, from its first step or from its checkpoint.

    Args:
        folder: for the checkpoint; one that is there is gone on with.
    Raises:
        TrainingError: the checkpoint is of another training; nothing can be trained.
    Attributes:
        step: how many steps are done.
        optimizer_name: the optimiser that the setting comes to.
        best: weights with the lowest validation loss; empty where none was measured.
        history: a record of each step since the start of this process, and of the checkpoint's before.
    """

    @torch.inference_mode(False)  # hosts run their nodes in inference mode
    def __init__(
        self,
        model: TrainingModel,
        prepared: Prepared,
        settings: Settings,
        folder: Path,
        processes: Processes = Processes(),  # noqa: B008 - frozen
    ):
        settings.check()
        self.model, self.prepared, self.settings, self.processes = model, prepared, settings, processes
        self.path = folder / checkpoint.NAME
        learned, self.validation = split(prepared.items, settings)
        buckets: dict[Any, list[int]] = {}
        for n, item in enumerate(learned):
            buckets.setdefault(item.bucket, []).append(n)
        self.learned = learned
        self.optimizer_name = resolved(settings.optimizer, model.device)
        self.order = Order([buckets[bucket] for bucket in sorted(buckets)], settings.batch, settings.seed)
        transformer: Any = model.part.transformer
        layers = trained_layers(transformer, settings.layers)
        self._levels: dict[tuple[int, ...], NoiseLevels] = {}
        self.adapter = Adapter(transformer, layers, settings.rank, settings.scale, settings.seed)
        self._checkpoints = settings.checkpointing and getattr(transformer, "_supports_gradient_checkpointing", False)
        if self._checkpoints:
            transformer.enable_gradient_checkpointing()
        self.optimizer = optimizer_of(self.optimizer_name, self.adapter.weights.values(), self.rate)
        self.step, self.best, self.lowest, self.worse = 0, dict[str, Tensor](), math.inf, 0
        self.history: list[Record] = []
        try:
            if self.path.is_file():
                state, self.best = checkpoint.load(self.path, self.adapter, self.optimizer, self.numbers)
                self.step, self.worse = state["step"], state["worse"]
                self.lowest = math.inf if state["lowest"] is None else state["lowest"]
                self.history = [Record(*record) for record in state["history"]]
        except BaseException:
            self.close()
            raise

    @property
    def numbers(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to go on: settings, clips and model."""
        clips = sha256(" ".join(item.latents + item.prompt for item in self.prepared.items).encode()).hexdigest()[:16]
        numbers = {**self.settings.numbers(), "optimizer": self.optimizer_name}
        return {**numbers, "clips": clips, "model": self.model.fingerprint}

    @property
    def rate(self) -> float:
        """The learning rate behind the warmup."""
        return self.settings.highest_rate(self.adapter.width)

    @property
    def is_over(self) -> bool:
        """Whether the last step is done, or the validation loss has not fallen for `patience` measurements."""
        stopped = self.settings.patience and self.worse >= self.settings.patience
        return self.step >= self.settings.steps or bool(stopped)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is saved: the weights with the lowest validation loss, or the last ones."""
        return self.best or self.adapter.state()

    @property
    def ended_early(self) -> bool:
        return self.is_over and self.step < self.settings.steps

    def run(self, on_step: Callable[[Record], None] = lambda record: None) -> None:
        """Train to the end. Whatever ends it, the checkpoint holds the last whole step."""
        try:
            while not self.is_over:
                record = self.take_step()
                on_step(record)
                if self.step % self.settings.save_every == 0 and not self.is_over:
                    self.save()
        finally:
            self.save()

    @torch.inference_mode(False)
    @torch.enable_grad()
    def take_step(self) -> Record:
        """One step of the optimiser.

        Raises:
            TrainingError: the loss is no number any more.
        """
        settings, weights = self.settings, list(self.adapter.weights.values())
        numbers = self.order.clips(self.step)
        places = list(range(len(numbers)))[self.processes.rank :: self.processes.count]
        drawn = [self._drawn(self.learned[numbers[place]], "train", self.step, place) for place in places]
        total = torch.zeros(1, device=self.model.device)
        levels: list[tuple[float, float]] = []
        for group in _groups(drawn, settings.together):
            loss = self._losses(group)
            (loss.sum() / len(numbers)).backward()
            total += loss.detach().sum() / len(numbers)
            shares = [self._share(sigma) for _, sigma, _ in group]
            levels += list(zip(shares, loss.detach().tolist(), strict=True))
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.processes.sum([weight.grad for weight in weights if weight.grad is not None])
        self.processes.sum([total])
        if not math.isfinite(total.item()):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(f"The loss of step {self.step + 1} is {total.item()}. Choose a smaller rate.")
        torch.nn.utils.clip_grad_norm_(weights, _LARGEST_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * settings.share_at(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        record = Record(self.step, total.item(), levels)
        if self.validation and (self.step % settings.validate_every == 0 or self.step == settings.steps):
            record.validation = self.measure()
            self._compare(record.validation)
        self.history.append(record)
        return record

    @torch.no_grad()
    def measure(self) -> float:
        """Loss of the validation clips, with the same noise at each measurement."""
        total = torch.zeros(1, device=self.model.device)
        jobs = [(item, n) for item in self.validation for n in range(_MEASURES)]
        for number in range(self.processes.rank, len(jobs), self.processes.count):
            item, n = jobs[number]
            total += self._losses([self._drawn(item, "validation", number, n)]).sum()
        self.processes.sum([total])
        return total.item() / len(jobs)

    @torch.no_grad()
    def loss_of(self, item: Item, number: int, tries: int, prompt: str) -> float:
        """Mean loss of a clip with a caption under the same few noises each time.

        Args:
            number: tells the noises of one clip from those of another.
            prompt: key of the caption in the store.
        """
        captioned = replace(item, prompt=prompt)
        drawn = [self._drawn(captioned, "effect", number, n) for n in range(tries)]
        return sum(self._losses([sample]).item() for sample in drawn) / tries

    @torch.enable_grad()
    def try_step(self) -> None:
        """A step's first call of the model, forward and backward, that changes nothing: to measure its time."""
        with torch.inference_mode(False):
            longest = max(self.learned, key=lambda item: item.bucket.width * item.bucket.height * item.bucket.frames)
            self._losses([self._drawn(longest, "train", 0, 0)]).sum().backward()
        self.optimizer.zero_grad(set_to_none=True)

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.processes.is_first:
            return
        history = [[r.step, r.loss, r.levels, r.validation] for r in self.history]
        lowest = None if math.isinf(self.lowest) else self.lowest
        state = {"step": self.step, "worse": self.worse, "lowest": lowest, "history": history, "numbers": self.numbers}
        checkpoint.save(self.path, self.adapter, self.optimizer, self.best, state)

    def close(self) -> None:
        """Give the model its plain layers back."""
        transformer: Any = self.model.part.transformer
        self.adapter.remove()
        if self._checkpoints:
            transformer.disable_gradient_checkpointing()

    def _compare(self, loss: float) -> None:
        if loss < self.lowest:
            self.lowest, self.worse, self.best = loss, 0, self.adapter.state()
        else:
            self.worse += 1

    def _drawn(self, item: Item, use: str, step: int, place: int) -> tuple[Sample, Tensor, tuple[Tensor, ...]]:
        """(the clip, its sigma [1], its noise) for one call of the model."""
        generator = generator_of(self.settings.seed, use, step, place)
        lot = torch.rand((), generator=generator).item()
        sample = self.prepared.sample(item, lot < self.prepared.pictures and item.bucket.frames > 1)
        shape = tuple(sample.streams[0].shape)
        if shape not in self._levels:
            self._levels[shape] = NoiseLevels(self.model.part.variant, shape, self.settings.shift)
        return sample, self._levels[shape].draw(1, generator), draw_noise(sample, generator)

    def _losses(self, drawn: Sequence[tuple[Sample, Tensor, tuple[Tensor, ...]]]) -> Tensor:
        samples, sigmas, noises = zip(*drawn, strict=True)
        return losses(self.model, samples, torch.cat(sigmas), noises)

    def _share(self, sigma: Tensor) -> float:
        predicts = next(iter(self._levels.values())).predicts
        return predicts.timestep(sigma).item() / 1000


def split(items: Sequence[Item], settings: Settings) -> tuple[list[Item], list[Item]]:
    """(the clips to learn, those that only measure), chosen by the clips alone."""
    count = min(round(len(items) * settings.validation), _MOST_FOR_VALIDATION)
    if len(items) < _LEAST_FOR_VALIDATION or not count:
        return list(items), []
    ordered = sorted(items, key=lambda item: sha256(f"{settings.seed} {item.latents}".encode()).hexdigest())
    kept = {id(item) for item in ordered[:count]}
    return [item for item in items if id(item) not in kept], [item for item in items if id(item) in kept]


def _groups(drawn: Sequence[Any], together: int) -> list[list[Any]]:
    """Clips that go through the model in one call."""
    groups: list[list[Any]] = []
    for clip in drawn:
        if groups and len(groups[-1]) < together and can_join(groups[-1][0][0], clip[0]):
            groups[-1].append(clip)
        else:
            groups.append([clip])
    return groups
