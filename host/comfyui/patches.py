"""LoRAs in ComfyUI: weight changes as the host's patches."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import comfy.weight_adapter
from torch import Tensor, nn

from ...base import FamilyError, NotWhole, Target, WeightChange
from ...base.few_steps import FewStepsLora
from ...base.keys import rename
from ...base.strengths import Strengths
from ...base.weight_changes import apply_change, storage_of
from ...families import recognised
from .finish_loading import finish_each_load
from .known import tensor_shapes
from .quantised import HoldsPacked


class Changes(comfy.weight_adapter.WeightAdapterBase):
    """Changes of one weight that the host's adapters do not compute, or compute differently from the trainers."""

    name = "opent2v"

    def __init__(self, loaded_keys: set[str], weights: Sequence[tuple[Any, ...]]):
        """The signature of the host's adapters: dynamic loading builds a new adapter around the tensors it has moved.

        Args:
            weights: for each change (kind, key, scale, roles, one tensor for each role, pick), see `WeightChange`.
        """
        self.loaded_keys = loaded_keys
        self.weights = weights

    @classmethod
    def of(cls, patches: Iterable[WeightChange]) -> Changes:
        """The changes of one weight, or of some of its rows, to which the host narrows the weight by itself."""
        return cls(
            set(), [(p.kind, p.key, p.scale, tuple(p.tensors), tuple(p.tensors.values()), p.pick) for p in patches]
        )

    @property
    def patches(self) -> Iterator[WeightChange]:
        for kind, key, scale, roles, tensors, pick in self.weights:
            yield WeightChange(key, kind, dict(zip(roles, tensors, strict=True)), scale, pick=pick)

    def calculate_weight(self, weight: Tensor, key: str, strength: float, *args: Any, **kwargs: Any) -> Tensor:
        """Change the weight in place, as the host's adapters do: it may be a slice of a larger one."""
        new = weight
        for patch in self.patches:
            new = apply_change(new, patch, strength)
        return weight.copy_(new)

    def h(self, *_: Any) -> Tensor:
        """Called by newer hosts' bypass loaders, which add it to a layer's output; the base class returns zeros.

        Raises:
            FamilyError: always, these changes exist as weights only.
        """
        kind, key = self.weights[0][:2]
        raise FamilyError(
            f"A bypass LoRA loader cannot apply this LoRA ({kind} on {key}). Use Load Video LoRA, or ComfyUI's LoRA "
            "loader without bypass."
        )


def patch_target(thing: Any) -> Target:
    if hasattr(thing, "cond_stage_model"):
        return text_target(thing.cond_stage_model)
    return model_target(thing.model)


def model_target(base: Any) -> Target:
    weights = dict(base.diffusion_model.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    storage, prefix = _storage(base.diffusion_model), "diffusion_model."
    tensor = {**weights, **dict(base.diffusion_model.named_buffers())}.get
    part = getattr(base, "opent2v", None)
    if part is not None:
        return Target(part.variant.title, part.variant, shapes, (), prefix, *storage, tensor=tensor)
    title = type(base).__name__
    try:
        outcome = recognised(tensor_shapes(base.diffusion_model))
    except NotWhole as error:
        return Target(title, error.recognised.variant, shapes, error.recognised.rules, prefix, *storage, tensor=tensor)
    except FamilyError:
        outcome = None  # a variant that our sampler refuses may still take a LoRA by the model's own names
    if outcome is None:
        return Target(title, None, shapes, (), prefix, *storage, tensor=tensor)
    return Target(outcome.variant.title, outcome.variant, shapes, outcome.rules, prefix, *storage, tensor=tensor)


def text_target(encoders: Any) -> Target:
    weights = dict(encoders.named_parameters())
    part = getattr(encoders, "opent2v", None)
    if part is not None:
        stems = {slot: slot.replace("text_encoder", "transformer") for slot in part.encoders}
    else:
        # Names of the host's text encoders: "umt5xxl.transformer.<name>", in the order of the slots.
        holders = dict.fromkeys(name.split(".transformer.")[0] for name in weights if ".transformer." in name)
        slots = ["text_encoder", *(f"text_encoder_{n + 2}" for n in range(len(holders)))]
        stems = {slot: f"{holder}.transformer" for slot, holder in zip(slots, holders, strict=False)}
    rules = tuple(rename(f"^{stem}", slot, is_last=True) for slot, stem in stems.items())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    title = f"the text encoder of {part.variant.title}" if part else f"the text encoder {type(encoders).__name__}"
    return Target(title, part.variant if part else None, shapes, rules, "", *_storage(encoders), is_text_encoder=True)


def _storage(module: nn.Module) -> tuple[str, bool]:
    """As `storage_of`; for the host's quantised tensors their format, or the storage of their packed data."""
    packed = [layer for layer in module.modules() if isinstance(layer, HoldsPacked)]
    if packed:
        return max(packed, key=lambda layer: layer.weight.numel()).packed_as, False  # pyright: ignore[reportAttributeAccessIssue]
    return storage_of(getattr(weight, "_qdata", weight) for weight in module.parameters())


# Key of a MODEL's or CLIP's attachments under which core keeps the last LoRA's metadata, which its IC-LoRA node reads.
_METADATA = "lora_metadata"


def apply_patches(
    thing: Any,
    patches: Sequence[WeightChange],
    strength: float,
    strengths: Strengths | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """A clone with the host's own patches; weights change when it is loaded for a run."""
    clone, added = thing.clone(), host_patches(patches)
    clone.add_patches(added, strength if strengths is None else strength * strengths.parts[0][1])
    if strengths is not None:
        kept = clone.get_attachment(_STRENGTHS) or ()
        clone.set_attachments(_STRENGTHS, (*kept, (strengths, strength, tuple(added.values()))))
    patcher = getattr(clone, "patcher", clone)
    if metadata:
        patcher.set_attachments(_METADATA, dict(metadata))
    finish_each_load(patcher)
    return clone


# Key of a MODEL's attachments: of each LoRA whose strength changes (factors, strength, the host's patches).
_STRENGTHS = "opent2v_strengths"


def strengths_of(model: Any) -> tuple[Strengths, ...]:
    return tuple(strengths for strengths, _, _ in model.get_attachment(_STRENGTHS) or ())


def at_strengths(model: Any, factors: Sequence[float]) -> Any:
    """A clone with the LoRAs whose strength changes at these factors; the others stay as they are."""
    if not factors:
        return model
    changing = model.get_attachment(_STRENGTHS)
    now = {
        id(patch): strength * factor
        for (_, strength, patches), factor in zip(changing, factors, strict=True)
        for patch in patches
    }
    clone = model.clone()
    for key, entries in clone.patches.items():
        clone.patches[key] = [(now.get(id(patch), strength), patch, *rest) for strength, patch, *rest in entries]
    clone.patches_uuid = uuid.uuid4()
    return clone


# Key of a MODEL's attachments, which the host hands on to every clone.
_FEW_STEPS = "opent2v_few_steps"


def with_few_steps(model: Any, lora: FewStepsLora) -> Any:
    clone = model.clone()
    clone.set_attachments(_FEW_STEPS, (*few_steps(model), lora))
    return clone


def few_steps(model: Any) -> tuple[FewStepsLora, ...]:
    return model.get_attachment(_FEW_STEPS) or ()


def host_patches(patches: Sequence[WeightChange]) -> dict[Any, Any]:
    """Patches in the form of `add_patches`: weight, or (weight, (axis, first, count)) -> the host's patch."""
    grouped: dict[Any, list[WeightChange]] = {}
    for patch in patches:
        grouped.setdefault((patch.key, (0, *patch.rows)) if patch.rows else patch.key, []).append(patch)
    of_host = {key: _hosts_own(group[0]) if len(group) == 1 else None for key, group in grouped.items()}
    return {key: of_host[key] or Changes.of(group) for key, group in grouped.items()}


_PLAIN = {"up": "x.lora_up.weight", "down": "x.lora_down.weight"}
# Kinds that the host computes correctly for 2D weights -> (its adapter, role -> name that the adapter reads).
_ADAPTERS: dict[str, tuple[Any, Callable[[str], str]]] = {
    "lora": (comfy.weight_adapter.LoRAAdapter, lambda role: _PLAIN[role]),
    "loha": (comfy.weight_adapter.LoHaAdapter, lambda role: f"x.hada_{role}"),
    "lokr": (comfy.weight_adapter.LoKrAdapter, lambda role: f"x.lokr_{role}"),
    "glora": (comfy.weight_adapter.GLoRAAdapter, lambda role: f"x.{role}.weight"),
}


def _hosts_own(patch: WeightChange) -> Any:
    """The host's own patch for a change; None where it has none, or computes differently from the trainers.

    Its OFT ignores `rescale`, BOFT needs an alpha, DoRA takes the norm of the unchanged weight, and factors that are no
    matrices (tucker, three-dimensional convolutions) fail with a line in the log.
    """
    if patch.kind == "diff" and patch.scale == 1.0:
        return "diff", (patch.tensors["diff"],)
    if patch.kind not in _ADAPTERS or patch.pick is not None or not patch.tensors.keys() <= _ROLES[patch.kind]:
        return None
    if any(tensor.ndim != 2 for tensor in patch.tensors.values()):
        return None
    adapter, named = _ADAPTERS[patch.kind]
    rank = next((len(patch.tensors[role]) for role in ("down", "w1_b", "w2_b", "a2") if role in patch.tensors), 1)
    tensors = {named(role): tensor for role, tensor in patch.tensors.items()}
    return adapter.load("x", tensors, patch.scale * rank, None, set())


_ROLES = {
    "lora": {"up", "down"},
    "loha": {"w1_a", "w1_b", "w2_a", "w2_b"},
    "lokr": {"w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b"},
    "glora": {"a1", "a2", "b1", "b2"},
}
