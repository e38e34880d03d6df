"""A LoRA file, read from its header alone: which layers it changes, and how the changes are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...base.storage import is_float
from ..containers import open_container
from ..errors import ModelFileError
from ..header import TensorInfo
from .keys import Role, is_text_encoder, parse
from .shapes import are_sound, rank_of, size_of

if TYPE_CHECKING:
    from .rebase import Inputs

# The largest published LoRA has some 5,000 tensors (HunyuanVideo, every layer, with alpha).
MAX_TENSORS = 50_000
_SIDECAR = ("adapter_model.safetensors", "adapter_config.json")  # peft's file names in a folder
_LOW_RANK = ("lora", "loha", "lokr", "glora", "oft")
# Required roles of each kind, one of each group; a lokr factor is stored whole or as a product.
_NEEDED = {
    "lora": (("up",), ("down",)),
    "loha": (("w1_a",), ("w1_b",), ("w2_a",), ("w2_b",)),
    "lokr": (("w1", "w1_a"), ("w1", "w1_b"), ("w2", "w2_a"), ("w2", "w2_b")),
    "glora": (("a1",), ("a2",), ("b1",), ("b2",)),
    "oft": (("blocks",),),
    "diff": (("diff",),),
}


@dataclass(frozen=True)
class Adapter:
    """The change of one weight.

    Attributes:
        stem: the layer's name in the file, with its prefix.
        end: which of the layer's parameters it changes: "weight" or "bias".
        kind: as `WeightChange.kind`.
        keys, shapes: by role ("alpha" and "dora" among them): the tensor's name in the file, and its shape.
        follows: a bias that is scaled as the layer's low-rank product is.
    """

    stem: str
    end: str
    kind: str
    keys: Mapping[str, str] = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    follows: Adapter | None = field(default=None, repr=False)

    @cached_property
    def is_sound(self) -> bool:
        """Whether the factors' shapes go together."""
        return are_sound(self.kind, self.shapes) and (self.follows is None or self.follows.is_sound)

    @cached_property
    def size(self) -> tuple[int, int]:
        """As `size_of`; two zeros where the factors do not go together."""
        return size_of(self.kind, self.shapes) if self.is_sound else (0, 0)

    @cached_property
    def rank(self) -> int:
        """As `rank_of`; 0 where the factors do not go together."""
        return rank_of(self.kind, self.shapes) if self.is_sound else 0


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file; no tensor is read yet.

    Attributes:
        adapters: changes of the transformer's weights; `text_adapters`: of text encoders'.
        leftovers: names that no format knows, or that lack their counterpart.
        metadata: the header's own texts.
        inputs: how layers of a full model are read for a pruned one, see `rebase.rebased`; None: as they are.
    """

    path: Path
    header: Mapping[str, TensorInfo] = field(repr=False)
    adapters: tuple[Adapter, ...] = field(repr=False)
    text_adapters: tuple[Adapter, ...] = field(repr=False)
    leftovers: tuple[str, ...] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    inputs: Inputs | None = None

    def check(self) -> None:
        """
        Raises:
            ModelFileError: no name is one of a LoRA.
        """
        if not self.adapters and not self.text_adapters:
            raise ModelFileError(
                f"{self.path}: no LoRA is in this file ({len(self.header)} tensors, first "
                f"{next(iter(self.header), 'none')}). Expected names that end in lora_A and lora_B, lora_down and "
                "lora_up, hada_, lokr_, oft_blocks or diff. Inspect Model File says what it is."
            )

    @property
    def ranks(self) -> tuple[int, ...]:
        """All ranks in the file, the most frequent first."""
        ranks = [adapter.rank for adapter in (*self.adapters, *self.text_adapters) if adapter.rank]
        return tuple(sorted(set(ranks), key=lambda rank: -ranks.count(rank)))

    @property
    def ranks_text(self) -> str:
        """The most frequent ranks, as text for the user."""
        return ", ".join(map(str, self.ranks[:4])) or "none (whole differences)"


def read_lora(path: Path) -> LoraFile:
    """Read the changes in a LoRA file from its header.

    Raises:
        ModelFileError: missing, cut short, a pickle, empty, more tensors than a LoRA has, numbers that are no floats,
            or no LoRA at all.
    """
    container = open_container(path)
    header = container.header
    if len(header) > MAX_TENSORS:
        raise ModelFileError(
            f"{path}: {len(header):,} tensors. A LoRA has some thousands, at most {MAX_TENSORS:,} are read. The file "
            "is damaged or no LoRA: get it again."
        )
    if not header:
        raise ModelFileError(f"{path}: no tensor is in the file. The training or the download failed: get it again.")
    adapters, text_adapters, leftovers = _sorted(header)
    file = LoraFile(path, header, adapters, text_adapters, leftovers, _with_sidecar(path, container.metadata))
    file.check()
    for adapter in (*adapters, *text_adapters):
        for role, key in adapter.keys.items():
            if role != "alpha" and not is_float(header[key].dtype):
                raise ModelFileError(
                    f"{path}: {key} is stored as {header[key].dtype}. Expected floating point (F32, F16, BF16). Get "
                    "another version of this LoRA."
                )
    return file


def held_lora(tensors: Mapping[str, Any]) -> LoraFile:
    """A `LoraFile` of tensors that another loader has read; it may be no LoRA, see `LoraFile.check`."""
    header = {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in tensors.items()}
    return LoraFile(Path("The LoRA"), header, *_sorted(header), {})


def _sorted(
    header: Mapping[str, TensorInfo],
) -> tuple[tuple[Adapter, ...], tuple[Adapter, ...], tuple[str, ...]]:
    """(the transformer's changes, the text encoders', names left over)."""
    stems: dict[str, dict[Role, str]] = {}
    leftovers = []
    for key in header:
        parsed = parse(key)
        if parsed is None or parsed[1] in stems.get(parsed[0], {}):
            leftovers.append(key)
        else:
            stems.setdefault(parsed[0], {})[parsed[1]] = key
    transformer, text = [], []
    for stem, roles in stems.items():
        adapters = list(_adapters(stem, roles, header))
        used = {key for adapter in adapters for key in adapter.keys.values()}
        leftovers += [key for key in roles.values() if key not in used]
        (text if is_text_encoder(stem) else transformer).extend(adapters)
    return tuple(transformer), tuple(text), tuple(leftovers)


def _low_rank(roles: Mapping[Role, str]) -> tuple[str, dict[str, str]]:
    """(kind of the change of a layer's matrix, its tensors by role); "" where every kind lacks a tensor."""
    for kind in _LOW_RANK:
        keys = {role: key for (of, role), key in roles.items() if of == kind and role != "up_bias"}
        if keys and all(any(role in keys for role in either) for either in _NEEDED[kind]):
            return kind, keys | {role: key for (of, role), key in roles.items() if not of}
    return "", {}


def _adapters(stem: str, roles: Mapping[Role, str], header: Mapping[str, TensorInfo]) -> list[Adapter]:
    """The changes that one layer's tensors make."""

    def adapter(stem: str, end: str, kind: str, keys: dict[str, str], follows: Adapter | None = None) -> Adapter:
        return Adapter(stem, end, kind, keys, {role: header[key].shape for role, key in keys.items()}, follows)

    adapters: list[Adapter] = []
    kind, keys = _low_rank(roles)
    if kind:
        is_boft = kind == "oft" and len(header[keys["blocks"]].shape) == 4
        adapters.append(adapter(stem, "weight", "boft" if is_boft else kind, keys))
    for (kind, role), key in roles.items():
        if role == "up_bias" and adapters:
            adapters.append(adapter(stem, "bias", "diff", {"diff": key}, adapters[0]))
        elif kind == "diff":
            # Modulation tables are bare parameters without ".weight", stored as diff_m; the family's rules map that
            # suffix.
            named = f"{stem}.diff_m" if role == "diff_m" else stem
            adapters.append(adapter(named, "bias" if role == "diff_b" else "weight", "diff", {"diff": key}))
    return adapters


def sidecars(path: Path) -> tuple[Path, ...]:
    """peft's adapter_config.json, where it lies beside a file of peft's."""
    sidecar = path.parent / _SIDECAR[1]
    return (sidecar,) if path.name == _SIDECAR[0] and sidecar.is_file() else ()


def _with_sidecar(path: Path, metadata: dict[str, str]) -> dict[str, str]:
    """The header's metadata, with peft's adapter_config.json where that file lies beside it."""
    for sidecar in sidecars(path):
        try:
            metadata.setdefault("lora_config", sidecar.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise ModelFileError(f"{sidecar}: cannot be read ({error.strerror or error}).") from error
    return metadata
