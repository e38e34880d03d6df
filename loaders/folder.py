"""A diffusers folder: which family it is, and the files of its components. Nothing is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..base import Family, Files, FolderPart, Variant
from ..base.few_steps import CHECKPOINT, known, with_few_steps
from ..base.keys import Rule, is_read
from ..base.text import tokenizer_slot
from ..families import families
from .containers import open_container
from .errors import ModelFileError
from .header import TensorInfo
from .quantised import Quantisation, split_headers
from .shards import read_json, weight_files

INDEX = "model_index.json"
# What quanto writes beside the weights that it packs.
_QUANTO = "quanto_qmap.json"
_PROCESSORS = ("image_processor", "feature_extractor")


@dataclass(frozen=True)
class Folder:
    """A checked diffusers folder.

    Attributes:
        configs: component, and slot of each network -> its config, always with `_class_name`; "index" is
            model_index.json, "folder" holds the folder's own "name", "opent2v" is the optional opent2v.json with the
            folder's own defaults (width, height, frames, fps, steps, guidance, negative, max_tokens, title, preview).
        weights: slot -> the files of its network, in order.
        parts: slot -> how this folder holds the network, where that is otherwise than it is built.
    """

    path: Path
    family: Family
    variant: Variant
    configs: dict[str, dict[str, Any]]
    weights: dict[str, tuple[Path, ...]]
    parts: Mapping[str, FolderPart]

    @property
    def layout(self) -> Files:
        assert self.family.files is not None, "only a family with files is looked for in folders"
        return self.family.files

    def rules(self, component: str) -> tuple[Rule, ...]:
        """Names in the network's files -> the module's, where folders hold the network otherwise than it is built."""
        part = self.parts.get(component)
        rules = part.rules if part else ()
        return rules(self.configs) if callable(rules) else rules

    def tokenizer(self, slot: str) -> Path:
        """Folder of a text encoder's tokenizer."""
        return self.path / tokenizer_slot(self.layout.component(slot))

    def headers(self, component: str) -> dict[str, TensorInfo]:
        """The weights of a network, with the shapes of their numbers, over all its files."""
        return self.stored(component)[0]

    def stored(self, component: str) -> tuple[dict[str, TensorInfo], Quantisation]:
        """(as `headers`; how they are stored); errors as `split_headers`."""
        weights, quantisation = split_headers(open_container(path) for path in self.weights[component])
        rules = self.rules(component)
        if rules:
            kept = {name for name in weights if is_read(name, rules)}
            weights = {name: info for name, info in weights.items() if name in kept}
            layers = {name: layer for name, layer in quantisation.layers.items() if name in kept}
            quantisation = replace(quantisation, layers=layers)
        return weights, quantisation


def is_model_folder(path: Path) -> bool:
    return (path / INDEX).is_file()


def open_folder(path: Path) -> Folder:
    """Read and check a diffusers folder.

    Raises:
        ModelFileError: no such folder, a missing component, a class the family does not allow, a file that is
            not safetensors, missing shards.
        families.FamilyError: the parts do not fit each other.
    """
    if not path.is_dir():
        raise ModelFileError(f"{path}: no such folder. Expected a diffusers folder (with {INDEX} in it).")
    index = read_json(path / INDEX)
    family, layout = _family_of(path, index)
    configs: dict[str, dict[str, Any]] = {"index": index, "folder": {"name": path.name}}
    weights: dict[str, tuple[Path, ...]] = {}
    for component, allowed in family.components.items():
        name = component if index.get(component) else layout.other_names.get(component, component)
        named, folder = _named_class(index, name), path / name
        if not named and component in layout.optional:
            continue
        if not named:
            raise ModelFileError(
                f"{path / INDEX}: names no {component}. A {family.title} folder has: {_needed(family, layout)}."
            )
        if named not in allowed:
            raise ModelFileError(_foreign_class(path / INDEX, component, named, family.title, allowed))
        if not folder.is_dir():
            raise ModelFileError(
                f"{path}: the folder {name}/ is missing. Expected: {_needed(family, layout)}. "
                "The download is not complete: get the missing folder too."
            )
        configs[component] = _read_component(folder, component)
        stated = str(configs[component].get("_class_name") or named)
        if stated not in allowed:
            raise ModelFileError(_foreign_class(folder, component, stated, family.title, allowed))
        configs[component]["_class_name"] = stated
        for part in layout.parts.values():
            if part.component == component and stated in part.classes:
                configs |= {f"{component}/{file}": read_json(folder / file) for file in part.files}
                folder = folder / part.folder
        if has_weights(component):
            weights[component] = weight_files(folder)
    if (path / "opent2v.json").is_file():
        configs["opent2v"] = read_json(path / "opent2v.json")
    try:
        variant = layout.read(configs)
        parts = {
            slot: part
            for slot, part in layout.parts.items()
            if configs.get(part.component, {}).get("_class_name") in part.classes
        }
        configs, weights = _networks(parts, configs, weights)
    except KeyError as error:
        raise ModelFileError(
            f"{path}: a config.json lacks the entry {error}. The folder is damaged or made for another version."
        ) from error
    except (TypeError, IndexError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: a config.json holds a value of the wrong kind ({error}). Get the config files again."
        ) from error
    variant = _with_few_steps(variant, path.name, configs.get("opent2v", {}))
    folder = Folder(path, family, variant, configs, weights, parts)
    if layout.inspect is None:
        return folder
    return replace(folder, variant=layout.inspect(variant, folder.headers(family.network.slot)))


def _networks(
    parts: Mapping[str, FolderPart], configs: dict[str, dict[str, Any]], weights: dict[str, tuple[Path, ...]]
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[Path, ...]]]:
    """(configs by component and by slot, files by slot) of the networks that a folder's components hold."""
    held = {name for part in parts.values() for name in part.components}
    files = {slot: paths for slot, paths in weights.items() if slot not in held}
    files |= {slot: tuple(path for name in part.components for path in weights[name]) for slot, part in parts.items()}
    return {**configs, **{slot: part.config(configs) for slot, part in parts.items()}}, files


def _with_few_steps(variant: Variant, name: str, overrides: dict[str, Any]) -> Variant:
    """A model that is distilled by its folder's name, with its makers' values; what opent2v.json states goes first."""
    few = (
        None
        if variant.sigmas or "steps" in overrides
        else known(variant.family.sampling.few_steps, name, CHECKPOINT, variant.name)
    )
    if few is None or few.is_guess:
        return variant
    remarks = variant.remark, few.remark("the folder's name")
    return replace(with_few_steps(variant, few), remark=" ".join(filter(None, remarks)))


def has_weights(component: str) -> bool:
    return (
        not component.endswith("scheduler") and component not in _PROCESSORS and not component.startswith("tokenizer")
    )


def _needed(family: Family, layout: Files) -> str:
    return ", ".join(c for c in family.components if c not in layout.optional)


def _family_of(path: Path, index: dict[str, Any]) -> tuple[Family, Files]:
    pipeline = index.get("_class_name")
    layouts = [(family, family.files) for family in families().values() if family.files is not None]
    for family, layout in layouts:
        if isinstance(pipeline, str) and pipeline in layout.pipelines:
            return family, layout
    known = "; ".join(f"{family.title}: {', '.join(sorted(layout.pipelines))}" for family, layout in layouts)
    raise ModelFileError(
        f"{path / INDEX}: the pipeline {pipeline!r} belongs to no family this pack knows. Known: {known}."
    )


def _named_class(index: dict[str, Any], component: str) -> str:
    """The class model_index.json names for a component, "" where it names none."""
    named = index.get(component)
    # A modular pipeline's index has a dictionary behind the class.
    names = [entry for entry in named if isinstance(entry, str)] if isinstance(named, list) else []
    return names[-1] if names else ""


def _foreign_class(where: Path, component: str, class_name: str, title: str, allowed: frozenset[str]) -> str:
    names = " or ".join(sorted(allowed))
    return (
        f"{where}: names the class {class_name!r} for {component}. A {title} folder may only name {names}; "
        "nothing else is loaded, so that a model folder can never run code."
    )


def _read_component(folder: Path, component: str) -> dict[str, Any]:
    if component.endswith("scheduler"):
        return read_json(folder / "scheduler_config.json")
    if component in _PROCESSORS:
        return read_json(folder / "preprocessor_config.json")
    if component.startswith("tokenizer"):
        if not any((folder / n).is_file() for n in ("tokenizer.json", "spiece.model", "vocab.json")):
            raise ModelFileError(f"{folder}: no tokenizer.json and no spiece.model in it. Get the folder again.")
        stated = folder / "tokenizer_config.json"
        config = read_json(stated) if stated.is_file() else {}
        return {"_class_name": config["tokenizer_class"]} if "tokenizer_class" in config else {}
    config = read_json(folder / "config.json")
    _refuse_quantised(folder, config)
    return config


def _refuse_quantised(folder: Path, config: dict[str, Any]) -> None:
    stated = config.get("quantization_config")
    if stated:
        method = stated.get("quant_method") if isinstance(stated, dict) else None
        title, sign = str(method or "another library"), "quantization_config in its config.json"
    elif (folder / _QUANTO).is_file():
        title, sign = "quanto", _QUANTO
    else:
        return
    raise ModelFileError(
        f"{folder}: its weights are stored in few bits by {title} ({sign}), which this pack does not read. Get the "
        "model's bf16 folder, or load its int8 convrot, nvfp4 or scaled fp8 file with Load Video Diffusion Model."
    )
