"""Which input of a workflow a column of a table means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog import Catalog, Input
from ..graph import Graph, WorkflowError, is_link, label
from ..overrides import locate
from ..primitives import PRIMITIVES
from ..workflow import load_workflow

# Short name -> the inputs it may mean. The first group of which the workflow has a node decides.
_PICTURE_SIZES = ("OpenT2VEmptyLatent", "OpenT2VImageToVideo", "OpenT2VEncodeVideo")
SHORT: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "prompt": ((("OpenT2VEncodePrompt", "positive"),),),
    "negative": ((("OpenT2VEncodePrompt", "negative"),),),
    "seed": (
        (("OpenT2VSampler", "seed"),),
        (("KSampler", "seed"), ("KSamplerAdvanced", "noise_seed"), ("RandomNoise", "noise_seed")),
    ),
    "steps": ((("OpenT2VSampler", "steps"),), (("KSampler", "steps"), ("KSamplerAdvanced", "steps"))),
    "cfg": ((("OpenT2VSampler", "cfg"),), (("KSampler", "cfg"), ("KSamplerAdvanced", "cfg"), ("CFGGuider", "cfg"))),
    "width": (tuple((kind, "width") for kind in _PICTURE_SIZES),),
    "height": (tuple((kind, "height") for kind in _PICTURE_SIZES),),
    "frames": (tuple((kind, "frames") for kind in _PICTURE_SIZES),),
    "seconds": ((("OpenT2VEmptyLatent", "seconds"),),),
    "fps": ((("OpenT2VEmptyLatent", "fps"),), (("OpenT2VSaveVideo", "fps"), ("OpenT2VDecodeToVideo", "fps"))),
    "lora": ((("OpenT2VLoadLora", "lora"), ("LoraLoaderModelOnly", "lora_name")), (("OpenT2VLoraStack", "lora_1"),)),
    "strength": (
        (("OpenT2VLoadLora", "strength_model"), ("LoraLoaderModelOnly", "strength_model")),
        (("OpenT2VLoraStack", "strength_1"),),
    ),
    "picture": ((("LoadImage", "image"),),),
    "sound": ((("LoadAudio", "audio"),),),
    "video": ((("OpenT2VLoadVideo", "file"),),),
    "model": (
        (("OpenT2VLoadModel", "model"), ("OpenT2VLoadDiffusionModel", "file"), ("UNETLoader", "unet_name")),
        (("CheckpointLoaderSimple", "ckpt_name"),),
    ),
}


@dataclass(frozen=True, eq=False)
class Column:
    """A column that sets an input.

    Attributes:
        name: as the table has it.
        target: "NODE.INPUT", the node by its id.
        kind: the node's class.
    """

    name: str
    target: str
    kind: str
    item: Input

    @property
    def node_id(self) -> str:
        return self.target.rpartition(".")[0]

    @property
    def is_of_a_clip(self) -> bool:
        """Whether clips that differ in it may be made in one run: it is a text or a seed."""
        is_seed = self.item.type == "INT" and self.item.name.endswith("seed")
        return is_seed or (self.item.type == "STRING" and self.item.choices is None)


class Columns:
    """The columns of a workflow, each looked up once.

    Raises:
        WorkflowError: no workflow.
    """

    def __init__(self, flow: dict[str, Any], classes: Mapping[str, Any], titles: Mapping[str, str]) -> None:
        self.flow, self.classes, self.titles = flow, classes, titles
        self.graph: Graph = load_workflow(flow, classes, titles)
        self._columns: dict[str, Column | None] = {}

    def __getitem__(self, name: str) -> Column | None:
        """The input that a column means; None where its name is no short name and has no "NODE." in front.

        Raises:
            WorkflowError: the workflow has no such input, or several.
        """
        if name not in self._columns:
            target = short_target(name, self.graph) if name in SHORT else name if "." in name else ""
            if not target:
                self._columns[name] = None
            else:
                node_id, kind, item = locate(self.flow, target, self.classes, self.titles)
                self._columns[name] = Column(name, f"{node_id}.{item.name}", kind, item)
        return self._columns[name]

    def short_names(self) -> dict[str, Column]:
        """The short names that mean an input of this workflow."""
        columns: dict[str, Column] = {}
        for name in SHORT:
            try:
                column = self[name]
            except WorkflowError:
                continue
            if column is not None:
                columns[name] = column
        return columns

    def unlinked(self) -> Iterable[tuple[str, str, Input]]:
        """(node's id, class, input) of every value in the workflow that a column may set."""
        catalog = Catalog(self.classes, self.titles)
        for node_id, node in self.graph.items():
            if node["class_type"] in catalog:
                for name, item in catalog.inputs(node["class_type"]).items():
                    if item.is_widget and not is_link(node["inputs"].get(name)):
                        yield node_id, node["class_type"], item


def short_target(name: str, graph: Graph) -> str:
    """The "NODE.INPUT" that a short name means.

    An input that is fed by one of ComfyUI's value nodes means that node's value.

    Raises:
        WorkflowError: the workflow has none, or several.
    """
    linked: list[str] = []
    for group in SHORT[name]:
        targets: dict[str, str] = {}
        for node_id, node in graph.items():
            for kind, input_name in group:
                if node["class_type"] != kind:
                    continue
                value = node["inputs"].get(input_name)
                if not isinstance(value, list):
                    targets[f"{node_id}.{input_name}"] = label(node_id, node)
                elif graph.get(value[0], node)["class_type"] in PRIMITIVES:
                    targets[f"{value[0]}.value"] = label(value[0], graph[value[0]])
                else:
                    linked.append(f"{input_name} of {label(node_id, node)}")
        if len(targets) > 1:
            raise WorkflowError(
                f"column {name!r} may mean {len(targets)} inputs; call it by one of them: "
                + ", ".join(f"{target} ({named})" for target, named in targets.items())
            )
        if targets:
            return next(iter(targets))
    if linked:
        raise WorkflowError(
            f"column {name!r} means {', '.join(linked)}, which another node feeds; call the column by that node's "
            "input, as NODE.INPUT, or remove the link"
        )
    kinds = ", ".join(f"{kind}.{input_name}" for group in SHORT[name] for kind, input_name in group)
    raise WorkflowError(f"column {name!r} means {kinds}; the workflow has none of these nodes")
