"""A network that a diffusers folder holds otherwise than the pack builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from .keys import Rule

Configs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FolderPart:
    """Which components of a folder a network is built from.

    Attributes:
        component: the one that tells of it: a name in model_index.json.
        classes: class names that model_index.json may give there for this network.
        config: (configs by component) -> the network's, with its "_class_name".
        beside: further components whose tensors belong to the network too.
        rules: tensor names in all these components -> the network's; none for what belongs to another network. Where
            they depend on its config: (configs by component and slot) -> the rules.
        folder: of its tensors, inside the component's.
        files: further JSON files of the component, which are among the configs as "component/file".
        extend: (configs by component) -> the `extend` argument of `loaders.weights.build`, for a network that is no
            denoiser. None: the library's class lacks nothing.
    """

    component: str
    classes: frozenset[str]
    config: Callable[[Configs], dict[str, Any]]
    beside: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | Callable[[Configs], tuple[Rule, ...]] = ()
    folder: str = ""
    files: tuple[str, ...] = ()
    extend: Callable[[Configs], Callable[[nn.Module], None]] | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """All that hold tensors of it."""
        return self.component, *self.beside
