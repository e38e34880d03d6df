"""The stored tensors of one layer, found by their names and checked against what its format stores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ModelFileError
from ..header import TensorInfo
from .layer import PackedFormat, StoredLayer
from .marks import Mark, MarkedFile

# Endings of the tensors beside a weight -> the older ending that some files use.
ROLES = {
    "weight_scale": "scale_weight",
    "weight_scale_2": "",
    "input_scale": "scale_input",
    "pre_quant_scale": "",
    "weight_s_rel": "",
    "weight_s_channel": "",
    "weight_codebook": "",
    "weight_correction": "",
    "weight_zeros": "",
}
# Scales and factors.
FLOATS = ("F32", "BF16", "F16")
# Settings that say what else shows already.
_REPEATED = frozenset({"orig_dtype", "orig_shape", "per_row"})
_AGAIN = "The file is damaged or was converted wrongly: get it again, or its int8 convrot, fp8 or bf16 version."


class LayerParts:
    """Collects a layer's tensors and settings, and refuses the first that is missing, surplus or misshapen.

    Args:
        stem: the layer's name in the file.
        title: of its format, in the user's words.
    """

    def __init__(self, file: MarkedFile, stem: str, title: str):
        self._file, self._stem, self._title = file, stem, title
        self._mark = file.marks.get(stem, Mark("", {}))
        self._names: dict[str, str] = {}
        self._settings: set[str] = set(_REPEATED)

    def need(self, role: str, codes: Iterable[str], *shapes: tuple[int, ...]) -> TensorInfo:
        """The header's entry of a tensor.

        Args:
            codes: dtypes that it may have.
            shapes: that it may have; none for a matrix of any size.
        Raises:
            ModelFileError: it is missing, or of another dtype or shape.
        """
        if not self.has(role):
            raise ModelFileError(
                f"{self._file.path}: {self._stem}.{role} is missing, which belongs to a weight stored as "
                f"{self._title}. {_AGAIN}"
            )
        name = self._names[role] = self._name(role)
        info = self._file.header[name]
        if info.dtype not in codes or (info.shape not in shapes if shapes else len(info.shape) != 2):
            dtypes = " or ".join(codes)
            sizes = " or ".join(dict.fromkeys(str(list(shape)) for shape in shapes)) or "a matrix"
            raise ModelFileError(
                f"{self._file.path}: {name} is stored as {info.dtype} {list(info.shape)}, expected "
                f"{dtypes} as {sizes} for a weight stored as {self._title}. {_AGAIN}"
            )
        return info

    def has(self, role: str) -> bool:
        return self._name(role) in self._file.header

    def length(self, name: str, default: int) -> int:
        """The length of a vector of the layer, whatever its dtype; the default where there is none."""
        info = self._file.header.get(f"{self._stem}.{name}")
        return info.shape[0] if info is not None and len(info.shape) == 1 else default

    def stated_shape(self) -> tuple[int, int] | None:
        """(rows, columns) of the weight's numbers, where the mark states them."""
        match self._mark.settings.get("orig_shape"):
            case [int(rows), int(columns)]:
                return rows, columns
        return None

    def multiples(self, shape: tuple[int, ...], step: int) -> None:
        """
        Args:
            shape: of the weight's stored numbers.
        Raises:
            ModelFileError: they are no multiples of `step`.
        """
        if any(size % step for size in shape):
            raise ModelFileError(
                f"{self._file.path}: {self._names['weight']} holds {list(shape)} numbers, expected multiples of "
                f"{step} for a weight stored as {self._title}. {_AGAIN}"
            )

    def setting(self, key: str, default: Any, choices: Iterable[Any]) -> Any:
        """A setting of the layer's mark.

        Raises:
            ModelFileError: it is none of the choices.
        """
        choices = list(choices)
        self._settings.add(key)
        value = self._mark.settings.get(key, default)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise self.refused(key, value, f"expected {', '.join(map(str, choices[:-1]))} or {choices[-1]}")
        return value

    def refused(self, key: str, value: Any, expected: str) -> ModelFileError:
        """The error about a setting that does not fit the layer."""
        return ModelFileError(
            f"{self._file.path}: {self._stem}, stored as {self._title}, has {key} {value!r}; {expected}. {_AGAIN}"
        )

    def layer(self, packed_format: PackedFormat, shape: tuple[int, ...]) -> StoredLayer:
        """The layer, with all tensors that were asked for.

        Args:
            shape: of the weight's numbers.
        Raises:
            ModelFileError: the file has a further tensor for this layer, or a further setting.
        """
        # Where a GPU multiplies in fp8 or fp4, this scales the layer's input.
        if self.has("input_scale"):
            self.need("input_scale", FLOATS, (), (1,))
        self.setting("full_precision_matrix_mult", False, (False, True))
        surplus = [role for role in ROLES if role not in self._names and self.has(role)]
        if surplus:
            raise ModelFileError(
                f"{self._file.path}: {self._name(surplus[0])} is there, which a weight stored as {self._title} does "
                f"not have. {_AGAIN}"
            )
        unknown = [key for key in self._mark.settings if key not in self._settings]
        if unknown:
            raise ModelFileError(
                f"{self._file.path}: {self._stem}, stored as {self._title}, has the setting {unknown[0]!r} "
                f"({self._mark.settings[unknown[0]]!r}), which this version does not know. Update this pack, or get "
                "the model's int8 convrot, fp8 or bf16 version."
            )
        stated = self.stated_shape()
        if stated is not None and stated != shape:
            raise self.refused("orig_shape", list(stated), f"its weight has {list(shape)} numbers")
        parameters = {key: value for key, value in self._mark.settings.items() if key not in _REPEATED}
        return StoredLayer(packed_format, shape, self._names, parameters)

    def _name(self, role: str) -> str:
        older = f"{self._stem}.{ROLES.get(role)}"
        return older if older in self._file.header else f"{self._stem}.{role}"
