"""LoRAs of a full model on a pruned one, whose layers read their inputs off a table of a few coordinates.

A pruned model holds the layers' inputs x as mean + basis @ coordinates. A low-rank change up @ down of such a layer,
which adds up @ down @ x, is up @ (down @ basis) for the coordinates and up @ (down @ mean) for the layer's bias: as
exact as the pruning. Neither file knows basis and mean; they follow from the inputs at the rows of the table, which
stand in a file beside the LoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ...base import Target
from ..containers import open_container
from ..errors import ModelFileError
from .file import Adapter, LoraFile

# Largest share of the inputs' spread that basis and mean may miss.
_MOST = 0.01
_MEAN = "@mean"


@dataclass(frozen=True)
class Inputs:
    """
    Attributes:
        basis: [inputs, coordinates]; mean: [inputs].
        file: where the inputs stand.
        error: the share of their spread that basis and mean miss, beyond what their dtype rounds.
        key: changes with the numbers.
    """

    basis: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    file: Path
    error: float
    key: str

    def reader(self, read: Callable[[str], Tensor], adapters: tuple[Adapter, ...]) -> Callable[[str], Tensor]:
        """A function (name -> tensor) as `read`, which gives the factors of `rebased` layers too."""
        keys = [(adapter.keys.get("diff", ""), adapter.follows) for adapter in adapters]
        pairs = {key: pair for key, pair in keys if key.endswith(_MEAN)}
        downs = {pair.keys["down"] for pair in pairs.values() if pair is not None}

        def rebased(name: str) -> Tensor:
            pair = pairs.get(name)
            if pair is not None:
                down = read(pair.keys["down"]).float()
                return read(pair.keys["up"]).float() @ (down @ self.mean)
            return read(name).float() @ self.basis if name in downs else read(name)

        return rebased


def rebased(file: LoraFile, target: Target) -> LoraFile:
    """The file as it changes this MODEL: layers of the full model's inputs in the coordinates of a pruned one.

    The same file where nothing is to be turned, or where the inputs are not there.

    Raises:
        ModelFileError: the file of the inputs is of another model.
    """
    names = target.variant.family.lora if target.variant else None
    if names is None or names.table is None or target.is_text_encoder:
        return file
    path = file.path.with_name(names.table.file)
    table = next((known for name in names.table.names if (known := target.tensor(name)) is not None), None)
    if table is None or not path.is_file():
        return file
    container = open_container(path)
    shape = container.header[names.table.tensor].shape if names.table.tensor in container.header else ()
    if len(shape) != 2 or shape[0] != len(table):
        raise ModelFileError(
            f"{path}: expected {names.table.tensor} with {len(table)} rows, those of this MODEL's table; found "
            f"{list(shape) or 'no such tensor'}. Get the file again, or take it out of the folder of the LoRA."
        )
    wide = [adapter for adapter in file.adapters if _is_plain(adapter) and adapter.shapes["down"][1] == shape[1]]
    if not wide:
        return file
    with container.tensors() as read:
        inputs = _fitted(table, read(names.table.tensor), path)
    if inputs.error > _MOST:
        raise ModelFileError(
            f"{path}: its timesteps are not those of this MODEL's table ({inputs.error:.1%} of them are left over). "
            "The MODEL was pruned from another one: take the file out of the LoRA's folder first."
        )
    adapters: list[Adapter] = []
    for adapter in file.adapters:
        if adapter not in wide:
            adapters.append(adapter)
            continue
        rank = adapter.shapes["down"][0]
        turned = replace(adapter, shapes={**adapter.shapes, "down": (rank, inputs.basis.shape[1])})
        keys, shapes = {"diff": adapter.keys["down"] + _MEAN}, {"diff": adapter.shapes["up"][:1]}
        of_bias = Adapter(adapter.stem, "bias", "diff", keys, shapes, turned)
        adapters += [turned, of_bias]
    return replace(file, adapters=tuple(adapters), inputs=inputs)


def _is_plain(adapter: Adapter) -> bool:
    return adapter.kind == "lora" and adapter.end == "weight" and {"up", "down"} <= set(adapter.shapes) <= _PLAIN


_PLAIN = {"up", "down", "alpha"}


def _fitted(table: Tensor, inputs: Tensor, path: Path) -> Inputs:
    """Basis and mean that give the inputs [rows, inputs] from the table [rows, coordinates], by least squares."""
    rounding = inputs.double().norm() * torch.finfo(inputs.dtype).eps / 2
    coordinates, inputs = table.detach().cpu().double(), inputs.double()
    columns = torch.cat([torch.ones(len(coordinates), 1, dtype=torch.float64), coordinates], 1)
    solution = torch.linalg.lstsq(columns, inputs).solution
    missed = ((columns @ solution - inputs).norm() - rounding).clamp(min=0)
    error = float(missed / (inputs - inputs.mean(0)).norm().clamp(min=1e-12))
    digest = sha256(solution.float().numpy().tobytes()).hexdigest()[:16]
    return Inputs(solution[1:].T.float().contiguous(), solution[0].float(), path, error, digest)
