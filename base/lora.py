"""LoRA files of a family: other names of its transformer's layers, and which model a LoRA was trained for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .keys import Rule
from .types import Shapes

if TYPE_CHECKING:
    from .variant import Variant

# Layer, with "{}" for its number: "blocks.{}.attn1.to_q" -> (outputs, inputs) of the weight that a LoRA changes.
LayerSizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class InputTable:
    """The table that a pruned model reads the inputs of some layers off, in a few coordinates.

    Attributes:
        names: of the table [rows, coordinates] in a MODEL, ours and the host's.
        file, tensor: where the inputs [rows, inputs] themselves stand: the name of a file beside the LoRA, and of its
            tensor.
    """

    names: tuple[str, ...]
    file: str
    tensor: str


@dataclass(frozen=True)
class LoraNames:
    """
    Attributes:
        layouts: (shapes of the transformer in diffusers' names, empty where there is none) -> name of each further
            layout -> its rules, as for single files.
        signs: layers, in diffusers' names with "{}" for their number, that tell the family's LoRAs from others.
        title: (the signs that are in a file, 1 + the highest number of a block) -> the published model with layers
            of these sizes, in the user's words; "" where no model of this family has them.
        alpha: where the makers' own trainer leaves alpha out of the tensors: (entry of the file's metadata, which is
            JSON; (layer in the file's names) -> key of its alpha there).
        layout_of: (names of the file's tensors) -> one of `layouts` that they show where shapes do not, or "".
        remark: (variant of the MODEL, layers that are there in another shape) -> what the user should know, or "".
        other_version: (variant of the model, the file's name and texts of its metadata) -> the version that the LoRA
            was made for, where they say one that is not the model's and no layer's size tells; "" otherwise.
        readers: inputs of the layer that reads the latents -> the models that have so many, in the user's words.
        table: of pruned models, on which LoRAs of full ones can be turned. None: the family has none.
    """

    layouts: Callable[[Shapes], Mapping[str, tuple[Rule, ...]]]
    signs: tuple[str, ...]
    title: Callable[[LayerSizes, int], str]
    alpha: tuple[str, Callable[[str], str]] | None = None
    layout_of: Callable[[Iterable[str]], str] = lambda _: ""
    remark: Callable[[Variant, Iterable[str]], str] = lambda *_: ""
    other_version: Callable[[Variant, Sequence[str]], str] = lambda *_: ""
    readers: Mapping[int, str] = field(default_factory=dict)
    table: InputTable | None = None


def width(sizes: LayerSizes, *signs: str) -> int:
    """Number of inputs of the first of these layers that the LoRA has; 0 where it has none of them."""
    return next((sizes[sign][1] for sign in signs if sign in sizes), 0)
