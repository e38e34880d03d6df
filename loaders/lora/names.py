"""Find the model's weights for a layer's name in a LoRA file, through the family's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ...base import Target
from ...base.keys import Renamed, Rule, translate

DIFFUSERS = "diffusers"
# Placeholder for a block's number while the rules are applied; no model has so many blocks.
_ANY = "987654321"


@dataclass(frozen=True)
class WeightSlice:
    """The rows of one weight that a change is applied to.

    Attributes:
        name: the weight's own name in the model.
        rows: (first, count) of the weight's rows; None: all.
        pick: which rows of the change go there, in order; None: all as they are.
    """

    name: str
    rows: tuple[int, int] | None = None
    pick: Tensor | None = None


class Layout:
    """One set of rules. It caches renamed layers, once for all blocks."""

    def __init__(self, rules: Sequence[Rule], flat: bool = False):
        if flat:
            rules = [replace(r, source=_flat(r.source), targets=tuple(map(_flat, r.targets))) for r in rules]
        self.rules = tuple(rules)
        self._numbers = {part for rule in rules for part in rule.source.split(".") if part.isdecimal()}
        self._known: dict[str, Renamed] = {}

    def translate(self, name: str) -> Renamed:
        segments = name.split(".")
        at = next((n for n, segment in enumerate(segments) if segment.isdecimal()), -1)
        # Where a rule names a number, that block may be renamed differently.
        if at < 0 or segments[at] in self._numbers:
            return self._walk(name)
        renamed = self._walk(".".join([*segments[:at], _ANY, *segments[at + 1 :]]))
        return Renamed(tuple(new.replace(_ANY, segments[at]) for new in renamed.names), renamed.splits)

    def _walk(self, name: str) -> Renamed:
        if name not in self._known:
            renamed = translate(name, self.rules)
            assert renamed is not None  # there is no prefix
            self._known[name] = renamed
        return self._known[name]


class Names:
    """A target's weights by every name that LoRA files use."""

    def __init__(self, target: Target):
        self.target = target
        own_layout = Layout(target.rules)
        # Family's name -> (the model's name, its rows in the model's weight; None: all)
        self._held: dict[str, tuple[str, Tensor | None]] = {}
        for name, shape in target.shapes.items():
            renamed = own_layout.translate(name)
            if len(renamed.names) == 1 and not renamed.splits:
                self._held[renamed.names[0]] = name, None
            elif renamed.names:
                rows = renamed.tensors(torch.arange(shape[0]))
                self._held |= {new: (name, kept_rows) for new, kept_rows in zip(renamed.names, rows, strict=True)}
        self._layouts: dict[tuple[str, bool], Layout] = {}

    @property
    def families_names(self) -> Iterable[str]:
        """The weights in the family's names."""
        return self._held

    @cached_property
    def _flat_names(self) -> dict[str, str]:
        return {_flat(name): name for name in self._held}

    @cached_property
    def _rules(self) -> Mapping[str, Sequence[Rule]]:
        variant = self.target.variant
        names = variant.family.lora if variant else None
        shapes = {
            name: (len(rows), *self.target.shapes[own_name][1:]) if rows is not None else self.target.shapes[own_name]
            for name, (own_name, rows) in self._held.items()
        }
        return {DIFFUSERS: (), **(names.layouts(shapes) if names else {})}

    @property
    def layouts(self) -> Iterable[str]:
        """Layouts of files; "own" means the model's own names, where they differ from the family's."""
        return [*self._rules, *(["own"] if self.target.rules else [])]

    def places(self, form: str, end: str, flat: bool, layout: str, outputs: int) -> list[WeightSlice] | None:
        """The places of a change with this many output rows; None: the model has no such layer.

        Args:
            form: the layer's name without its prefix; with `flat` its underscores are points.
            end: "weight" or "bias".
        """
        # A bare parameter, such as a modulation table, has no ".weight" at its end.
        is_table = end == "weight" and not form.endswith((".weight", ".bias"))
        for whole in (f"{form}.{end}", form) if is_table else (f"{form}.{end}",):
            if layout == "own":
                if whole in self.target.shapes:
                    return [WeightSlice(whole)]
                continue
            renamed = self._layout(layout, flat).translate(whole)
            names = [self._flat_names.get(name, "") if flat else name for name in renamed.names]
            if names and all(name in self._held for name in names):
                return self._joined(renamed, names, outputs)
        return None

    def _layout(self, layout: str, flat: bool) -> Layout:
        key = layout, flat
        if key not in self._layouts:
            self._layouts[key] = Layout(self._rules[layout], flat)
        return self._layouts[key]

    def _joined(self, renamed: Renamed, names: Sequence[str], outputs: int) -> list[WeightSlice]:
        """Map the file's rows, through the family's weights, to the model's rows."""
        if len(names) == 1 and not renamed.splits and self._held[names[0]][1] is None:
            return [WeightSlice(self._held[names[0]][0])]
        sources = renamed.tensors(torch.arange(outputs)) if renamed.splits else [torch.arange(outputs)] * len(names)
        rows: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, source in zip(names, sources, strict=True):
            own_name, held = self._held[name]
            held = torch.arange(self.target.shapes[own_name][0]) if held is None else held
            # The counts differ where a LoRA is for another model size; the later comparison of shapes reports it.
            count = min(len(held), len(source))
            rows.setdefault(own_name, []).append((held[:count], source[:count]))
        return [place for own_name, pairs in rows.items() for place in self._runs(own_name, pairs, outputs)]

    def _runs(self, own_name: str, pairs: Sequence[tuple[Tensor, Tensor]], outputs: int) -> list[WeightSlice]:
        """Split rows of one weight into runs of consecutive rows."""
        to, source = (torch.cat([pair[n] for pair in pairs]) for n in (0, 1))
        order = to.argsort()
        to, source = to[order], source[order]
        breaks = (torch.nonzero(to[1:] != to[:-1] + 1).flatten() + 1).tolist()
        places = []
        for first, last in zip([0, *breaks], [*breaks, len(to)], strict=True):
            start, pick = int(to[first]), source[first:last]
            is_whole = last - first == self.target.shapes[own_name][0]
            in_order = len(pick) == outputs and bool((pick == torch.arange(outputs)).all())
            places.append(
                WeightSlice(own_name, None if is_whole else (start, last - first), None if in_order else pick)
            )
        return places

    def size(self, place: WeightSlice) -> tuple[int, int]:
        """(number of rows, values per row) of a place."""
        shape = self.target.shapes[place.name]
        return (place.rows[1] if place.rows else shape[0] if shape else 1), prod(shape[1:])


def _flat(name: str) -> str:
    return name.replace("_", ".")
