"""Headers of every family's files in every layout: the names and shapes of networks with one or two blocks.

Each family has a file here, which is found by being there. It has `FAMILY` and, as far as the family has them:

    networks() -> title -> what the library's class holds; titles begin with the family's
    layouts()  -> "title, layout" -> names and shapes of a file, beside those of the library
    vaes()     -> "VAE, layout" -> names and shapes of a VAE's file
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

import torch

from opent2v.base import Family

Shapes = dict[str, tuple[int, ...]]
PREFIX = "model.diffusion_model."


def shapes_of(module: torch.nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def renamed_norms(shapes: Shapes) -> Shapes:
    """As ComfyUI 0.14 and newer have them."""
    return {name.replace("_norm.scale", "_norm.weight"): shape for name, shape in shapes.items()}


@cache
def modules() -> tuple[ModuleType, ...]:
    """The families' files."""
    return tuple(importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__))


def _all(name: str) -> dict[str, tuple[Family, Shapes]]:
    return {
        title: (module.FAMILY, shapes)
        for module in modules()
        for title, shapes in getattr(module, name, dict)().items()
    }


@cache
def networks() -> dict[str, tuple[Family, Shapes]]:
    """Title -> (family, what the library's class holds, two blocks of each kind)."""
    return _all("networks")


@cache
def layouts() -> dict[str, tuple[Family, Shapes]]:
    """ "title, layout" -> (family, the file's names and shapes)."""
    in_the_librarys = {f"{title}, diffusers": network for title, network in networks().items()}
    return in_the_librarys | _all("layouts")


@cache
def vaes() -> dict[str, tuple[Family, Shapes]]:
    """ "VAE, layout" -> (family, the file's names and shapes)."""
    return _all("vaes")
