"""Checkpoints and LoRAs that were distilled to few steps: what their makers say of how they are sampled.

A distilled file has the tensors of the plain model, and hardly any states its schedule. What is known stands in the
families' own tables (`Sampling.few_steps`), by words of the files' names; a file may state it itself (`stated`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .noise_levels import shifted, straight

if TYPE_CHECKING:
    from .variant import Variant

CHECKPOINT, LORA = "checkpoint", "lora"
# Key of a file's metadata under which it states its own values, as a JSON object with the names of `FewSteps`.
METADATA = "opent2v.few_steps"
# How the makers walk from one noise level to the next: a straight step, or fresh noise on the expected clean latent.
EULER, RENOISED = "euler", "renoised"
# A file's texts that name it, as trainers write them.
_TITLES = ("title", "modelspec.title", "ss_output_name")


@dataclass(frozen=True)
class FewSteps:
    """How a checkpoint or LoRA of few steps is sampled.

    Attributes:
        title: what users call it.
        words: regular expression that finds it in a name, as `spelled` gives it. A group "steps" tells the number.
        source: where the values come from.
        steps: their number; 0 where only the name tells it.
        most: the highest number of steps the makers name; 0: as `steps`.
        fewest: the lowest; 0: as `steps`.
        cfg: scale of classifier-free guidance; 1 is off. Where the model is told its guidance, that.
        shift: of the noise levels, one for each stream of the LATENT, the video's first; empty: the model's own.
        sigmas: the noise levels, falling, without the final 0; empty: straight ones with that shift.
        solver: `EULER`, `RENOISED`, or "" for the model's own.
        strength: (lowest, highest) that the makers name, of a LoRA.
        kinds: `CHECKPOINT`, `LORA` or both.
        models: regular expression that finds the model it is for in `Variant.name`; "" for all of the family.
        is_guess: nothing but a general word in the name tells it.
    """

    title: str
    words: str
    source: str
    steps: int = 4
    most: int = 0
    fewest: int = 0
    cfg: float = 1.0
    shift: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()
    solver: str = EULER
    strength: tuple[float, float] = (1.0, 1.0)
    kinds: tuple[str, ...] = (CHECKPOINT, LORA)
    models: str = ""
    is_guess: bool = False

    @property
    def values(self) -> str:
        """ "4 steps, cfg 1, shift 5"."""
        words = [f"{self.steps} steps", f"cfg {self.cfg:g}"]
        words += [f"shift {' / '.join(f'{shift:g}' for shift in self.shift)}"] if self.shift else []
        words += ["its own noise levels"] if self.sigmas and not self.shift else []
        return ", ".join(words)

    @property
    def step_range(self) -> tuple[int, int]:
        """The lowest and the highest number of steps that the makers name."""
        return self.fewest or self.steps, self.most or self.steps

    @property
    def range_text(self) -> str:
        """ "4 to 8 steps at cfg 1"."""
        low, high = self.step_range
        return f"{low if low == high else f'{low} to {high}'} steps at cfg {self.cfg:g}"

    def remark(self, teller: str) -> str:
        """What the user should know of a checkpoint.

        Args:
            teller: that it is one: "its name".
        """
        return f"Distilled to few steps, by {teller} ({self.title}): {self.values}. Video Sampler takes these at 0."

    def levels(self, steps: int, shift: float | None) -> tuple[float, ...] | None:
        """[steps] noise levels, falling, without the final 0; None leaves them to the model's family.

        Args:
            shift: of the user, None for its own.
        """
        if shift is None and steps == len(self.sigmas):
            return self.sigmas
        if shift is None and not self.shift:
            return None
        return tuple(shifted(straight(steps), shift or self.shift[0]))


@dataclass(frozen=True)
class FewStepsLora:
    """A LoRA of few steps on a MODEL.

    Attributes:
        file: its name.
    """

    few: FewSteps
    file: str
    strength: float


def spelled(name: str) -> str:
    """A name in small letters and digits, with single spaces between its words.

    >>> spelled("Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16.safetensors")
    'wan2 2 lightning t2v a14b 4steps lora high fp16'
    """
    return re.sub(r"[^a-z0-9]+", " ", name.lower().removesuffix(".safetensors").removesuffix(".gguf")).strip()


def known(rows: Iterable[FewSteps], name: str, kind: str, model: str = "") -> FewSteps | None:
    """The first row that a name belongs to, with the number of steps that the name tells; None where there is none.

    Args:
        name: of the file, with that of its folder where that may tell it.
        kind: `CHECKPOINT` or `LORA`.
        model: `Variant.name` of the model; "" where nothing tells it.
    """
    words = spelled(name)
    for row in rows:
        if kind not in row.kinds or (row.models and model and not re.search(row.models, model)):
            continue
        match = re.search(row.words, words)
        if match is None:
            continue
        steps = match.groupdict().get("steps")
        return replace(row, steps=int(steps)) if steps else row
    return None


def stated(metadata: Mapping[str, str], name: str) -> FewSteps | None:
    """What a file's metadata state under `METADATA`; None where they state nothing that can be read.

    Args:
        name: of the file.
    """
    try:
        values = json.loads(metadata.get(METADATA, "null"))
        steps, cfg = int(values["steps"]), float(values.get("cfg", 1))
        shift = tuple(float(number) for number in values.get("shift", ()))
        sigmas = tuple(float(number) for number in values.get("sigmas", ()))
        solver = str(values.get("solver", EULER))
        title = str(values.get("title") or name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    is_falling = list(sigmas) == sorted(set(sigmas), reverse=True) and all(0 < sigma <= 1 for sigma in sigmas)
    if not (0 < steps <= 1000 and 0 < cfg < 100 and all(0 < number < 1000 for number in shift) and is_falling):
        return None
    if (sigmas and len(sigmas) != steps) or solver not in (EULER, RENOISED, ""):
        return None
    return FewSteps(title, "", "the file's own metadata", steps, cfg=cfg, shift=shift, sigmas=sigmas, solver=solver)


def of_file(
    rows: Sequence[FewSteps], names: Sequence[str], metadata: Mapping[str, str], kind: str, model: str = ""
) -> FewSteps | None:
    """What is known of a file: what it states itself, else the row of its name, its folder's, or its titles.

    Args:
        names: of the file and of its folder.
    """
    few = stated(metadata, names[0])
    if few is not None:
        return few
    tried = (names[0], " ".join(reversed(names)), *(metadata.get(key, "") for key in _TITLES))
    return next((row for name in tried if (row := known(rows, name, kind, model)) is not None), None)


def with_few_steps(variant: Variant, few: FewSteps) -> Variant:
    """The variant with these values as its own."""
    defaults = replace(
        variant.defaults, steps=few.steps, guidance=few.cfg, low_noise_guidance=None, sound_guidance=None
    )
    scheduler: dict[str, Any] = dict(variant.scheduler)
    if few.solver and variant.prediction == "flow":
        kept = {name: scheduler[name] for name in ("num_train_timesteps", "shift") if name in scheduler}
        scheduler = {"num_train_timesteps": 1000, **kept, "_class_name": "FlowMatchEulerDiscreteScheduler"}
        if few.solver == RENOISED:
            scheduler["stochastic_sampling"] = True
    if few.shift:
        named = "shift" if scheduler["_class_name"] == "FlowMatchEulerDiscreteScheduler" else "flow_shift"
        scheduler[named] = few.shift[0]
    return replace(variant, defaults=defaults, scheduler=scheduler, sigmas=few.sigmas, few_steps=few)
