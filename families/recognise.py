"""What a single file is: found in its tensors' names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Shapes, Variant
from .keys import Rule

# Prefixes that tools put before a transformer's names; the longest match counts.
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.model.", "transformer.", "module.", "net.", "")


@dataclass(frozen=True)
class Recognised:
    """One part of a model inside a file.

    Attributes:
        part: "transformer" or "vae".
        layout: "diffusers", "original" or a further one the family tells apart, in the user's words.
        prefix: what every name of this part starts with in the file.
        class_name, config: the module to build.
        rules: file's names (without prefix) -> module's names.
        variant: of the model; for a VAE with the values that only a transformer tells at their family's own.
        remark: what the user should know (a distilled checkpoint's own values), or "".
        rope_layouts: rules by how the file may have stored its rotary positions, where the tensors cannot tell; `rules`
            are the likely ones.
    """

    part: str
    layout: str
    class_name: str
    config: Mapping[str, Any]
    variant: Variant
    rules: tuple[Rule, ...] = ()
    prefix: str = ""
    remark: str = ""
    rope_layouts: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)


def without_prefix(shapes: Shapes, marker: str) -> tuple[str, dict[str, tuple[int, ...]]] | None:
    """(prefix, names without it) where `marker` is a tensor's whole name behind one of `PREFIXES`; None elsewhere."""
    for prefix in PREFIXES:
        if prefix + marker in shapes:
            return prefix, {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return None


def layers(shapes: Shapes, stem: str) -> int:
    """How many numbered entries `stem.<n>.` has, counted from 0."""
    numbers = {n.split(".")[0] for n in (k[len(stem) + 1 :] for k in shapes if k.startswith(stem + ".")) if n}
    return len([n for n in numbers if n.isdecimal()])
