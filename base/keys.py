"""Translate tensor names from one layout to another, by ordered rules on whole path segments."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .types import Shapes

# A function that splits one tensor into as many tensors as its rule has targets. It works on the rows of weights and
# biases alike.
Split = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Rule:
    """One rename, for the first matching run of segments in a name.

    Attributes:
        source: path segments, "{}" for a number: "blocks.{}.self_attn.q". Whole segments are compared, so "norm1" never
            matches "norm10". Unless it starts with "^", it may stand anywhere in the name; with "$" at its end it must
            reach the end of the name.
        targets: what stands there afterwards; "{}" takes the numbers in their order. Several for a tensor that is
            split, none for a tensor that is left out.
        split: how the tensor becomes as many tensors as there are targets; None passes it on as it is.
        is_last: no later rule touches the name; for names that would otherwise be renamed back.
        place: the tensor is one of several that are joined to the target, see `joined`; this is its place among them.
    """

    source: str
    targets: tuple[str, ...]
    split: Split | None = None
    is_last: bool = False
    place: int | None = None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        text = re.escape(self.source.strip("^$")).replace(r"\{\}", "([0-9]+)")
        start = "" if self.source.startswith("^") else r"(?:^|(?<=\.))"
        return re.compile(f"{start}{text}" + ("$" if self.source.endswith("$") else r"(?=\.|$)"))

    @cached_property
    def _beginning(self) -> str:
        """A text that every matching name contains: most names are ruled out by it, without the regular expression."""
        return self.source.strip("^$").partition("{}")[0]

    def apply(self, name: str) -> tuple[str, ...] | None:
        """The new names, or None where the rule does not match."""
        if self._beginning not in name:
            return None
        match = self._pattern.match(name) if self.source.startswith("^") else self._pattern.search(name)
        if match is None:
            return None
        before, after = name[: match.start()], name[match.end() :]
        filled = [target.format(*match.groups()) for target in self.targets]
        return tuple(f"{before}{t}{after}" if t else f"{before[:-1]}{after}".lstrip(".") for t in filled)


def rename(
    source: str, *targets: str, split: Split | None = None, is_last: bool = False, place: int | None = None
) -> Rule:
    """A `Rule`, written in one line."""
    return Rule(source, targets, split, is_last, place)


@dataclass(frozen=True)
class Renamed:
    """Where one tensor of a file goes: the new names, how it is split on the way, and its place in a joined one."""

    names: tuple[str, ...]
    splits: tuple[Split, ...] = ()
    place: int | None = None

    def tensors(self, tensor: Tensor) -> list[Tensor]:
        """The tensor's parts, one for each name."""
        parts: list[Tensor] = [tensor]
        for split in self.splits:
            (parts,) = [list(split(part)) for part in parts]
        return parts if self.names else []

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The parts' shapes, from the whole tensor's."""
        if not self.splits:
            return [shape] * len(self.names)
        return [tuple(part.shape) for part in self.tensors(torch.empty(shape, device="meta"))]


# Levels that torch.compile, FSDP and activation checkpointing put into names, before the whole or before a block.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")


def unwrapped(name: str) -> str:
    """The name without the levels of training wrappers.

    >>> unwrapped("model._fsdp_wrapped_module.blocks.0._orig_mod.ffn.0.weight")
    'model.blocks.0.ffn.0.weight'
    """
    if "_mod" in name:  # few names have a wrapper
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")
    return name


def translate(name: str, rules: Sequence[Rule], prefix: str = "") -> Renamed | None:
    """Walk the rules in their order; every one that matches changes the name once, without its wrappers' levels.

    A rule that splits ends the walk with its targets, each walked on through the rules behind it.

    Returns:
        None for a name outside `prefix`.
    """
    name = unwrapped(name)
    if not name.startswith(prefix):
        return None
    name = name[len(prefix) :]
    for n, rule in enumerate(rules):
        targets = rule.apply(name)
        if targets is None:
            continue
        if rule.place is not None:
            return Renamed(targets, place=rule.place)
        if rule.split is None and len(targets) == 1 and not rule.is_last:
            name = targets[0]
            continue
        names, behind = [], [] if rule.is_last else rules[n + 1 :]
        for target in targets:
            renamed = translate(target, behind)
            assert renamed is not None and len(renamed.names) == 1, f"{rule.source}: a split tensor is split again"
            names += renamed.names
        return Renamed(tuple(names), (rule.split,) if rule.split else ())
    return Renamed((name,))


def is_read(name: str, rules: Sequence[Rule], prefix: str = "") -> bool:
    """Whether the rules lead a tensor of a file anywhere; arguments as `translate`."""
    renamed = translate(name, rules, prefix)
    return renamed is not None and bool(renamed.names)


def renamed_shapes(shapes: Shapes, rules: Sequence[Rule]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors that are not joined, by their new names."""
    named: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        renamed = translate(name, rules)
        assert renamed is not None, "without a prefix no name is outside it"
        named.update(zip(renamed.names, renamed.shapes(shape), strict=True))
    return named


def joined(parts: Mapping[int, Tensor]) -> Tensor:
    """Join several tensors, in the order of their places: matrices side by side, vectors added.

    The result is one layer that computes the sum of several: W1 x1 + b1 + W2 x2 + b2. Kernels over height and width
    become one over time as well, for the sum over several frames.
    """
    tensors = [parts[place] for place in sorted(parts)]
    if tensors[0].ndim == 4:
        return torch.stack(tensors, dim=2)
    if tensors[0].ndim > 1:
        return torch.cat(tensors, dim=1)
    return torch.stack([tensor.float() for tensor in tensors]).sum(0).to(tensors[0].dtype)


def chunk(count: int) -> Split:
    """Equal parts along the first axis: a fused q, k, v."""
    return lambda tensor: tensor.chunk(count)


def pieces(*sizes: int) -> Split:
    """Parts of stated lengths along the first axis; -1 takes the rest."""

    def split(tensor: Tensor) -> Sequence[Tensor]:
        rest = tensor.shape[0] - sum(size for size in sizes if size != -1)
        return tensor.split([rest if size == -1 else size for size in sizes])

    return split


def swap_halves(tensor: Tensor) -> Sequence[Tensor]:
    """(shift, scale) <-> (scale, shift) along the first axis."""
    first, second = tensor.chunk(2)
    return (torch.cat([second, first]),)


def squeeze_last(tensor: Tensor) -> Sequence[Tensor]:
    """A convolution over one position [out, in, 1] as a linear layer [out, in]; vectors stay."""
    return (tensor.squeeze(-1) if tensor.ndim == 3 else tensor,)
