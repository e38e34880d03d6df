"""Recognition of single files by the names and shapes of their tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .errors import FamilyError
from .few_steps import CHECKPOINT, FewSteps, of_file, with_few_steps
from .file_names import is_distilled
from .keys import Rule, joined, translate, unwrapped
from .types import Shapes
from .variant import Variant

# Levels that trainers and tools put before a transformer's names, in any order; the longest match counts.
LEVELS = frozenset(
    {"model", "diffusion_model", "transformer", "module", "net", "generator", "generator_ema", "pipe", "dit", "dit2"}
)
# Suffixes of the tensors beside a packed weight: the scale of `<layer>.weight`, and the helpers that only a hardware
# matrix product needs.
SCALES = (".scale_weight", ".weight_scale")
HELPERS = (
    ".scale_input", ".input_scale", ".comfy_quant", ".pre_quant_scale", ".weight_scale_2", ".scaled_fp8",
    ".weight_s_rel", ".weight_s_channel", ".weight_codebook",
)  # fmt: skip


@dataclass(frozen=True)
class Recognised:
    """One part of a model inside a file.

    Attributes:
        part: "transformer", "vae", or "audio_vae" for that of a joint model's sound.
        layout: "diffusers", "original" or a further one the family tells apart, in the user's words.
        prefix: what every name of this part starts with in the file.
        class_name, config: the module to build.
        rules: file's names (without prefix) -> module's names.
        variant: of the model; for a VAE with the values that only a transformer tells at their family's own.
        remark: what the user should know (a distilled checkpoint's own values), or "".
        rope_layouts: rules by how the file may have stored its rotary positions, where the tensors cannot tell; `rules`
            are the likely ones.
        extend: adds to the module the layers that its library's class lacks. None: none; a transformer's are added by
            `Network.extend`.
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
    extend: Callable[[nn.Module], None] | None = None


def without_prefix(shapes: Shapes, marker: str) -> tuple[str, dict[str, tuple[int, ...]]] | None:
    """(prefix, names without it) where `marker` is a tensor's whole name behind some of `LEVELS`; None elsewhere."""
    prefixes = [name.removesuffix(marker) for name in shapes if f".{name}".endswith(f".{marker}")]
    for prefix in sorted(prefixes, key=len, reverse=True):
        if LEVELS.issuperset(prefix.split(".")[:-1]):
            return prefix, {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return None


def layers(shapes: Shapes, stem: str) -> int:
    """Number of entries `stem.<n>.`, counted from 0."""
    numbers = {n.split(".")[0] for n in (k[len(stem) + 1 :] for k in shapes if k.startswith(stem + ".")) if n}
    return len([n for n in numbers if n.isdecimal()])


class Near(str):
    """The reason why tensors with a family's markers are not a model of that family, from all names and shapes.

    Attributes:
        recognised: what it was taken for.
        wrong: what differs, see `differences_text`.
    """

    recognised: Recognised
    wrong: str


class NotWhole(FamilyError):
    """A MODEL that is near to one of ours.

    Attributes:
        recognised: what it was taken for, whose names it has.
    """

    def __init__(self, near: Near):
        super().__init__(
            f"This MODEL {near}. It is a variant that this version does not know: sample it with ComfyUI's own "
            "KSampler."
        )
        self.recognised = near.recognised


@dataclass(frozen=True)
class Recognition:
    """How a family knows its parts by the names and shapes of tensors.

    Attributes:
        find: (shapes of a file, its name) -> Recognised, or the reason why it is none of this family's. The name counts
            only where tensors cannot tell. Raises FamilyError for a variant that is refused; other errors, from a
            header that only begins like the family's, count as a reason.
        tensors: (variant, config of the denoiser, both as `find` gives them) -> name and shape of every tensor of that
            denoiser, in its library's names. None: they are not compared.
        rope_layouts: the names that `Recognised.rope_layouts` may have, for the user to choose from.
        stated: (what `find` returns, metadata of the file, its name) -> the same with what the metadata state, which
            counts more than the name. None: the makers' files state nothing.
        complete: (transformer as `find` gives it, shapes of a second file or None) -> the transformer with the parts
            that lie in the second file, by rules that read both files without a prefix. Raises FamilyError where a part
            is in neither. None: every file holds all of it.
        beside: (shapes, name) -> a part that lies beside what `find` knows in the same file. None: there is none.
    """

    find: Callable[[Shapes, str], Recognised | str]
    tensors: Callable[[Variant, Mapping[str, Any]], Shapes] | None = None
    rope_layouts: tuple[str, ...] = ()
    stated: Callable[[Recognised, Mapping[str, str], str], Recognised] | None = None
    complete: Callable[[Recognised, Shapes | None], Recognised] | None = None
    beside: Callable[[Shapes, str], Recognised | None] = lambda *_: None


def recognise(
    recognition: Recognition, title: str, shapes: Shapes, name: str, metadata: Mapping[str, str]
) -> Recognised | str:
    """See `Family.recognise`.

    Args:
        title: of the family.
    """
    shapes = {unwrapped(stored): shape for stored, shape in shapes.items()}
    try:
        recognised = recognition.find(shapes, name)
        if isinstance(recognised, Recognised) and recognition.stated is not None and metadata:
            recognised = recognition.stated(recognised, metadata, name)
        if isinstance(recognised, Recognised) and recognised.part == "transformer":
            recognised = _with_few_steps(recognised, name, metadata)
        if isinstance(recognised, str) or recognised.part != "transformer" or recognition.tensors is None:
            return recognised
        wrong = difference(shapes, recognised, recognition.tensors(recognised.variant, recognised.config))
    except FamilyError:
        raise
    except KeyError as error:
        return f"{error} is missing"
    except (ValueError, IndexError, TypeError, ArithmeticError, RuntimeError, StopIteration):
        return f"its tensors do not have the shapes of {title}'s"
    if not wrong:
        return recognised
    near = Near(f"looks like {recognised.variant.title}, and is not that model whole. {wrong}")
    near.recognised, near.wrong = recognised, wrong
    return near


def _with_few_steps(recognised: Recognised, name: str, metadata: Mapping[str, str]) -> Recognised:
    """A model that is distilled by its name or metadata, with the values of its makers, as far as they are known."""
    variant, remarks = recognised.variant, [recognised.remark]
    if not variant.sigmas:
        rows = variant.family.sampling.few_steps
        few = of_file(rows, _names(name), metadata, CHECKPOINT, variant.name)
        if few is not None:
            recognised = replace(recognised, variant=with_few_steps(variant, few))
            remarks.append(_few_steps_remark(few))
        elif is_distilled(name) and "istilled" not in recognised.remark:
            remarks.append(
                "Distilled to few steps, by its name: set steps and cfg in the sampler as its maker says (often 4 to "
                "8, cfg 1)."
            )
    return replace(recognised, remark=" ".join(filter(None, remarks)))


def _names(name: str) -> tuple[str, str]:
    """(file, folder) of a name that may have its folder before it."""
    folder, _, file = name.replace("\\", "/").rpartition("/")
    return file, folder.rpartition("/")[2]


def _few_steps_remark(few: FewSteps) -> str:
    if few.is_guess:
        return f"Distilled, by its name: {few.values}. Its maker may name other steps; set them in the sampler."
    return few.remark("its name")


# Networks with the same tensors as a plain model; only ComfyUI's "model_type" in the file's metadata distinguishes
# them.
_PLAIN_TYPES = frozenset({"", "t2v", "i2v", "ti2v", "flf2v"})
_OTHER_TYPES = {"animate2": "Wan Animate 2", "flow_rvs": "FlowRVS"}


def stated(metadata: Mapping[str, str]) -> str:
    """The network that a file's metadata name, where its tensors are those of a plain model: "Wan Animate 2"; or "".

    Source: ComfyUI 0.33.0, comfy/model_detection.py: {"config": {"transformer": {"model_type", "causal_ar"}}}.
    """
    try:
        config = json_object(metadata.get("config"))["transformer"]
        kind, is_causal = str(config.get("model_type") or ""), bool(config.get("causal_ar"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    if is_causal:
        return "a causal model (Self-Forcing and others)"
    return "" if kind in _PLAIN_TYPES else _OTHER_TYPES.get(kind, f"a model of the type {kind!r}")


def json_object(text: str | None) -> Mapping[str, Any]:
    """A metadata entry that should hold a JSON object; empty where it does not."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def difference(shapes: Shapes, recognised: Recognised, expected: Shapes) -> str:
    """How tensors differ, by name, from those of the module they were recognised as; "" where they do not differ.

    Args:
        shapes: the file's or the MODEL's; what goes with weights in few bits is not looked at.
        expected: all names and shapes of the module.
    """
    have: dict[str, tuple[int, ...]] = {}
    stored: dict[str, str] = {}
    joins: dict[str, dict[int, Tensor]] = {}
    for name, shape in shapes.items():
        if f".{name}".endswith((*SCALES, *HELPERS)):
            continue
        renamed = translate(name, recognised.rules, recognised.prefix)
        if renamed is None:
            continue
        if renamed.place is not None:
            joins.setdefault(renamed.names[0], {})[renamed.place] = torch.empty(shape, device="meta")
        have.update(zip(renamed.names, renamed.shapes(shape), strict=True))
        stored.update(dict.fromkeys(renamed.names, name))
    places = {place for pieces in joins.values() for place in pieces}
    for name, pieces in joins.items():
        del have[name]
        if pieces.keys() == places:  # otherwise a piece of the joined tensor is missing, which its shape would not show
            have[name] = tuple(joined(pieces).shape)
    return differences_text(have, expected, stored)


def differences_text(have: Shapes, expected: Shapes, stored: Mapping[str, str]) -> str:
    """ "Of 3 tensors: 1 missing, first x": what `have` lacks, has besides, or has in another shape; "" for nothing.

    Args:
        stored: what a name of `have` is called where the user sees it.
    """
    missing = [name for name in expected if name not in have]
    unexpected = [name for name in have if name not in expected]
    misshapen = [name for name in have if name in expected and have[name] != expected[name]]
    differences = []
    if misshapen:
        name = misshapen[0]
        differences.append(
            f"{len(misshapen)} of the wrong shape, first {stored.get(name, name)}: found {list(have[name])}, "
            f"expected {list(expected[name])}"
        )
    if missing:
        differences.append(f"{len(missing)} missing, first {missing[0]}")
    if unexpected:
        differences.append(f"{len(unexpected)} unexpected, first {stored.get(unexpected[0], unexpected[0])}")
    return f"Of {len(expected)} tensors: {'; '.join(differences)}" if differences else ""
