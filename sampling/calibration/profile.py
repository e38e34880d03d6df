"""Profiles: measurements of a run with every step computed, saved as JSON for the plans of later runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import SamplingError
from .recorded import Recorded

FORMAT = 1
AGAIN = "Run Calibrate Step Cache with this model and these settings, and use its profile."


@dataclass(frozen=True)
class ModelSetup:
    """The models and settings that a profile is valid for; the curves of others differ.

    Attributes:
        model: its title, for people.
        weights, loras: fingerprints of each expert, in the order of a run; "" without LoRAs.
        scheduler: class of the solver; "" where it is not known (samplers of other packs and of the host).
        shift: of the noise levels; 0 where it is not known.
    """

    model: str
    weights: tuple[str, ...]
    loras: tuple[str, ...]
    scheduler: str = ""
    shift: float = 0.0

    def __str__(self) -> str:
        known = [self.scheduler] if self.scheduler else []
        known += [f"shift {self.shift:g}"] if self.shift else []
        weights, loras = (
            " and ".join(fingerprint or "none" for fingerprint in prints) for prints in (self.weights, self.loras)
        )
        return ", ".join([f"{self.model} (weights {weights})", f"LoRAs {loras}", *known])


@dataclass(frozen=True)
class Profile:
    """
    Attributes:
        rows: one for each step, expert and condition.
        about: steps, cfg, size and the like, for people.
    """

    setup: ModelSetup
    rows: tuple[Recorded, ...]
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> str:
        whole = {"opent2v_step_cache_profile": FORMAT, "made_for": asdict(self.setup), "about": dict(self.about)}
        lines = ",\n".join(json.dumps(asdict(row)) for row in self.rows)  # one line per row, for readers
        return json.dumps(whole, indent=1)[:-2] + f',\n "rows": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str, name: str) -> Profile:
        """
        Args:
            name: of the file, for the message.
        Raises:
            SamplingError: it is not a profile, or one of another format.
        """
        try:
            whole = json.loads(text)
            version = whole["opent2v_step_cache_profile"]
            if version != FORMAT:
                raise SamplingError(f"{name} is a profile of format {version}; this version reads {FORMAT}. {AGAIN}")
            origin = whole["made_for"]
            setup = ModelSetup(**{**origin, "weights": tuple(origin["weights"]), "loras": tuple(origin["loras"])})
            rows = [
                Recorded(**{**row, "replay": tuple(row["replay"]), "replay_linear": tuple(row["replay_linear"])})
                for row in whole["rows"]
            ]
        except (ValueError, TypeError, KeyError) as error:
            raise SamplingError(f"{name} is not a profile of a step cache ({error!r}). {AGAIN}") from error
        if not rows:
            raise SamplingError(f"{name} is a profile without a single step. {AGAIN}")
        return cls(setup, tuple(rows), whole.get("about", {}))

    def rows_for(self, now: ModelSetup) -> tuple[Recorded, ...]:
        """The rows for a run; a MODEL that is one of the profile's two experts gets the rows of that expert.

        Raises:
            SamplingError: it was made for something else.
        """
        origin, expert = self.setup, 0
        if len(now.weights) < len(origin.weights) and now.weights[0] in origin.weights:
            expert = origin.weights.index(now.weights[0])
            origin = replace(origin, weights=(origin.weights[expert],), loras=(origin.loras[expert],))
        differs = {
            "other weights": origin.weights != now.weights,
            "other LoRAs": origin.loras != now.loras,
            "another scheduler": now.scheduler not in ("", origin.scheduler),
            "another shift": now.shift not in (0, origin.shift),
        }
        for what, differs_here in differs.items():
            if differs_here:
                raise SamplingError(
                    f"The step cache's profile was made with {what}. Found: {now}; the profile is of: {origin}. {AGAIN}"
                )
        if origin is self.setup:
            return self.rows
        return tuple(replace(row, expert=0) for row in self.rows if row.expert == expert)
