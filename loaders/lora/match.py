"""Match a LoRA file with a model: the changes that fit, those that do not, and a verdict for the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ...base import FamilyError, Target
from ...base.few_steps import FewSteps
from ...base.file_names import expert_in
from ...base.remarks import fits, look
from .blocks import block_filter
from .control import is_narrower, narrower_remark, refuse_widened
from .file import Adapter, LoraFile
from .keys import expert, forms, is_flat, is_of_a_pair
from .names import Names, WeightSlice
from .origin import few_steps_of, format_of, origin, origin_text, step_remark
from .shapes import fits_magnitudes

_EXAMPLES = 2
# A smaller share of matches is chance: families share a few names, such as that of the last layer.
_CHANCE = 0.05
_TRIGGER = 200  # characters of trigger words that a verdict shows


@dataclass(frozen=True)
class Misfit:
    """A layer that is there in another shape: [outputs, inputs] of the LoRA and of the model."""

    adapter: Adapter
    trained: tuple[int, int]
    expected: tuple[int, int]
    reason: str = ""

    @property
    def why(self) -> str:
        return self.reason or f"is for {list(self.trained)}, the model has {list(self.expected)}"


@dataclass(frozen=True)
class Verdict:
    """
    Attributes:
        layout: the naming convention of the file.
        places: the changes that fit, and where they go.
        unmatched: the model has no such layer; `misshapen`: in another shape; `filtered`: left out by the block filter;
            `for_other_expert`: for the other one of two experts.
    """

    file: LoraFile
    target: Target
    layout: str
    places: tuple[tuple[Adapter, tuple[WeightSlice, ...]], ...] = field(repr=False)
    unmatched: tuple[Adapter, ...] = field(repr=False)
    misshapen: tuple[Misfit, ...] = field(repr=False)
    filtered: int = 0
    for_other_expert: int = 0

    @property
    def matched(self) -> int:
        return len(self.places)

    @property
    def total(self) -> int:
        """All changes that are meant for this model."""
        return len(self.places) + len(self.unmatched) + len(self.misshapen)

    @property
    def is_partial(self) -> bool:
        """Whether less than half fits."""
        return 2 * self.matched < self.total

    @cached_property
    def _origin(self) -> tuple[str, str]:
        """As `origin`; a node that remembers its verdicts asks again in each run."""
        return origin(self.file)

    @property
    def _families_remark(self) -> str:
        variant = self.target.variant
        names = variant.family.lora if variant else None
        if variant is None or names is None:
            return ""
        return names.remark(variant, [misfit.adapter.stem for misfit in self.misshapen])

    def check(self) -> None:
        """
        Raises:
            FamilyError: nothing or next to nothing fits, with both names; or the block filter leaves nothing; or all is
                for the other expert; or it is a control LoRA.
        """
        name = self.file.path.name
        if self.filtered and not self.total:
            raise FamilyError(
                f"{name}: the block filter leaves out all {self.filtered} changes. Leave it empty, or name blocks that "
                "the LoRA has."
            )
        if self.for_other_expert and not self.total:
            raise FamilyError(
                f"{name}: all {self.for_other_expert} changes are for the other expert of the two, not for this MODEL. "
                "Apply the file to the other MODEL."
            )
        if self.matched > _CHANCE * self.total:
            shapes = self._shapes
            whole = [adapter for adapter, _ in self.places if not is_narrower(adapter, shapes[adapter.stem])]
            names = self.target.variant.family.lora if self.target.variant else None
            refuse_widened(self.file, self.target.title, self.misshapen, whole, names.readers if names else {})
            return
        trained_for = origin_text(self.file, self._origin[1]) or "made for an unknown model"
        raise FamilyError(
            f"{name}: {trained_for}, this model is {self.target.title}: {self.matched} of {self.total} match."
            f"{self._example()} Use a LoRA that was trained for this model."
        )

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Stem of a change -> shape of the first weight that it goes to."""
        return {adapter.stem: self.target.shapes[places[0].name] for adapter, places in self.places}

    def lines(self) -> list[str]:
        """The verdict, line by line."""
        file, name = self.file, self.file.path.name
        family, title = self._origin
        trained_for = origin_text(file, title)
        lines = [f"{name}: {format_of(file)}, {self.layout} layout; rank {file.ranks_text}"]
        if trained_for:
            lines.append(f"{trained_for[0].upper()}{trained_for[1:]}; this model is {self.target.title}")
        counts = f"{self.matched} of {self.total} match"
        counts += f", {len(self.misshapen)} in another shape" if self.misshapen else ""
        counts += f", {len(self.unmatched)} unmatched" if self.unmatched else ""
        counts += f", {self.filtered} left out by the block filter" if self.filtered else ""
        if self.is_partial:
            lines.append(
                look(f"WARNING: only {counts}. This LoRA was most likely made for another model.{self._example()}")
            )
        elif family and self.target.variant and family != self.target.variant.family.id:
            lines.append(
                look(f"WARNING: {counts}, by names and shapes that two families share. Use a LoRA for this model.")
            )
        else:
            verdict = fits if self.matched == self.total else look
            lines.append(verdict(f"{counts}.{self._example()}"))
        if version := self._other_version():
            lines.append(
                look(
                    f"It fits by shape; by its name it was made for {version}, and this model is {self.target.title}: "
                    "the effect may be weaker or another"
                )
            )
        if file.inputs is not None:
            lines.append(
                f"Layers of the full model are turned into this pruned one's by {file.inputs.file.name} beside the "
                f"LoRA ({file.inputs.error:.1%} of their inputs are missed)"
            )
        if self.for_other_expert:
            lines.append(
                f"{self.for_other_expert} changes are for the other expert: apply the same file to that MODEL too"
            )
        if file.leftovers:
            first = ", ".join(file.leftovers[:_EXAMPLES])
            lines.append(f"{len(file.leftovers)} further names that change nothing were skipped (first: {first})")
        expert = self.target.variant.expert if self.target.variant else ""
        named = expert_in(name) or expert_in(f"{file.path.parent.name} {name}")
        if expert and named not in ("", expert):
            lines.append(
                look(
                    f"WARNING: by its name the file is for the {named}-noise model, this MODEL is the {expert}-noise "
                    "one. Apply it to the other MODEL of the two."
                )
            )
        trigger = file.metadata.get("modelspec.trigger_phrase", "").strip()[:_TRIGGER]
        lines += [f"Trigger words: {trigger}"] if trigger else []
        narrower = narrower_remark([adapter for adapter, _ in self.places], self._shapes)
        return [*lines, *filter(None, (narrower, step_remark(file, self.target.variant), self._families_remark))]

    @property
    def few_steps(self) -> FewSteps | None:
        """How the model is sampled with this LoRA, where it was distilled to few steps and that is known."""
        return few_steps_of(self.file, self.target.variant)

    def _other_version(self) -> str:
        variant, file = self.target.variant, self.file
        names = variant.family.lora if variant else None
        if variant is None or names is None or self.target.is_text_encoder:
            return ""
        return names.other_version(variant, (file.path.name, file.path.parent.name, *file.metadata.values()))

    def unplaced(self) -> list[str]:
        """Every change that has no place in the model, and every name that changes nothing, a line each."""
        name = self.file.path.name
        missing = [f"  {adapter.stem}: the model has no such layer" for adapter in self.unmatched]
        misshapen = [f"  {misfit.adapter.stem}: {misfit.why}" for misfit in self.misshapen]
        skipped = [f"  {leftover}: changes nothing" for leftover in self.file.leftovers]
        listed = [*misshapen, *missing, *skipped]
        return [f"{name}, what was left out:", *listed] if listed else []

    def _example(self) -> str:
        parts = []
        if self.misshapen:
            misfit = self.misshapen[0]
            parts.append(f"{misfit.adapter.stem} {misfit.why}")
        if self.unmatched:
            names = ", ".join(adapter.stem for adapter in self.unmatched[:_EXAMPLES])
            parts.append(f"the model has no {names}")
        return f" For example {'; '.join(parts)}." if parts else ""


def match(file: LoraFile, target: Target, blocks: str = "") -> Verdict:
    """Find every change's place in the model.

    Args:
        blocks: which blocks to change, see `block_filter`; "" for all.
    Raises:
        FamilyError: the filter cannot be read.
    """
    adapters = file.text_adapters if target.is_text_encoder else file.adapters
    is_selected, for_other_expert = block_filter(blocks), 0
    side = target.variant.expert if target.variant else ""
    experts = {expert(adapter.stem) for adapter in adapters} - {""}
    # DiffSynth trains one expert at a time: its name for the low one says nothing about a MODEL of unknown side.
    is_pair = any(is_of_a_pair(adapter.stem) for adapter in adapters)
    if experts and (side or is_pair or len(experts) > 1):
        mine = [adapter for adapter in adapters if expert(adapter.stem) in ("", side or "high")]
        for_other_expert, adapters = len(adapters) - len(mine), tuple(mine)
    kept = [adapter for adapter in adapters if is_selected(adapter.stem)]
    names = Names(target)
    tried = [_tried(layout, kept, names) for layout in names.layouts]
    shown = _layout_of(kept, target)
    layout, places, unmatched, misshapen = max(
        tried, key=lambda attempt: (len(attempt[1]), len(attempt[3]), attempt[0] == shown)
    )
    filtered = len(adapters) - len(kept)
    if layout == "own":
        layout = "the model's own"
    return Verdict(file, target, layout, tuple(places), tuple(unmatched), tuple(misshapen), filtered, for_other_expert)


def _layout_of(adapters: Sequence[Adapter], target: Target) -> str:
    """The layout that the names of the file's tensors show where shapes do not; "" where none does."""
    names = target.variant.family.lora if target.variant else None
    return "" if names is None else names.layout_of([key for adapter in adapters for key in adapter.keys.values()])


Tried = tuple[str, list[tuple[Adapter, tuple[WeightSlice, ...]]], list[Adapter], list[Misfit]]


def _tried(layout: str, adapters: Sequence[Adapter], names: Names) -> Tried:
    """(layout, changes that fit, changes without a layer, changes of another shape), read in this layout."""
    fits, unmatched, misshapen = [], [], []
    slots = (
        tuple(dict.fromkeys(name.split(".")[0] for name in names.families_names))
        if names.target.is_text_encoder
        else ()
    )
    for adapter in adapters:
        if not adapter.is_sound:
            misshapen.append(Misfit(adapter, adapter.size, (0, 0), "has factors of shapes that do not go together"))
            continue
        try:
            places = _places(adapter, slots, names, layout)
        except (ValueError, RuntimeError):  # the rows cannot be split as those of a fused layer
            misshapen.append(Misfit(adapter, adapter.size, (0, 0), f"has {adapter.size[0]} rows for several layers"))
            continue
        if places is None:
            unmatched.append(adapter)
            continue
        misfit = _misfit(adapter, places, names)
        if misfit:
            misshapen.append(misfit)
        else:
            fits.append((adapter, tuple(places)))
    return layout, fits, unmatched, misshapen


def _places(adapter: Adapter, slots: tuple[str, ...], names: Names, layout: str) -> list[WeightSlice] | None:
    for form in forms(adapter.stem, slots):
        places = names.places(form, adapter.end, is_flat(adapter.stem), layout, adapter.size[0])
        if places is not None:
            return places
    return None


def _misfit(adapter: Adapter, places: Sequence[WeightSlice], names: Names) -> Misfit | None:
    rows, columns = sum(names.size(p)[0] for p in places), names.size(places[0])[1]
    size = adapter.size[0], adapter.size[1] or columns
    if size != (rows, columns):
        is_known = len(places) == 1 and is_narrower(adapter, names.target.shapes[places[0].name])
        return None if is_known else Misfit(adapter, size, (rows, columns))
    dora, channels = adapter.shapes.get("dora"), names.target.shapes[places[0].name][1:2]
    if dora is not None and not fits_magnitudes(dora, rows, *channels):
        return Misfit(adapter, size, (rows, columns), f"has magnitudes {list(dora)} for {[rows, *channels]}")
    picks = [p.pick for p in places if p.pick is not None]
    if picks:
        whole = adapter.kind == "oft" and all(_whole_blocks(pick, adapter.rank) for pick in picks)
        if adapter.kind in ("oft", "boft") and not whole:
            return Misfit(adapter, size, (rows, columns), "turns rows of several layers into each other")
        if dora and dora[0] != rows:
            return Misfit(adapter, size, (rows, columns), "has one magnitude for the columns of several layers")
    return None


def _whole_blocks(pick: Tensor, size: int) -> bool:
    """Whether the rows are whole blocks of `size` consecutive rows."""
    if len(pick) % size or bool((pick[::size] % size).any()):
        return False
    return bool((pick.reshape(-1, size) - pick[::size, None] == torch.arange(size)).all())
