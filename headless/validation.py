"""Everything that can be known to be wrong with a workflow before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ..host.refused import InputRefused
from .catalog import Catalog, Input, types_fit
from .counterparts import COUNTERPARTS
from .graph import Graph, GraphNode, WorkflowError, is_link, label
from .values import checked

# ComfyUI's own nodes that occur beside video nodes. The page's files name a node's pack, API files do not.
CORE_NODES = frozenset(
    {
        "CheckpointLoaderSimple",
        "CLIPLoader",
        "CLIPTextEncode",
        "ConditioningZeroOut",
        "CreateVideo",
        "EasyCache",
        "EmptyHunyuanLatentVideo",
        "EmptyLatentImage",
        "KSampler",
        "KSamplerAdvanced",
        "LoadVideo",
        "LoraLoader",
        "LoraLoaderModelOnly",
        "ModelSamplingSD3",
        "PreviewAny",
        "SamplerCustom",
        "SamplerCustomAdvanced",
        "SaveAnimatedWEBP",
        "SaveAudio",
        "SaveVideo",
        "SaveWEBM",
        "UNETLoader",
        "VAEDecode",
        "VAEDecodeTiled",
        "VAEEncode",
        "VAELoader",
    }
)


def validate(graph: Graph, classes: Mapping[str, Any]) -> None:
    """Check a workflow as ComfyUI's server does, and a little more strictly.

    Raises:
        WorkflowError: with every problem found, one a line.
    """
    catalog = Catalog(classes)
    problems = list(graph.problems)
    problems += [
        _unknown(node_id, node, graph, catalog) for node_id, node in graph.items() if node["class_type"] not in catalog
    ]
    outputs = output_nodes(graph, catalog)
    if not outputs and not problems:
        problems.append(_no_output(graph))
    try:
        needed = execution_order(graph, outputs)
    except WorkflowError as error:
        needed = list(graph)
        problems.append(str(error))
    for node_id in needed:
        if graph[node_id]["class_type"] in catalog:
            problems += [
                f"{label(node_id, graph[node_id])}: {problem}" for problem in _node_problems(node_id, graph, catalog)
            ]
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise WorkflowError(
            f"this workflow cannot run ({count} found, nothing was run):\n"
            + "\n".join(f"  {line}" for line in problems)
        )


def output_nodes(graph: Graph, catalog: Catalog) -> list[str]:
    """The nodes that make something to keep; only what they need is run."""
    return [
        node_id
        for node_id, node in graph.items()
        if node["class_type"] in catalog and catalog.is_output(node["class_type"])
    ]


def execution_order(graph: Graph, outputs: list[str]) -> list[str]:
    """The nodes that `outputs` need, each after those that feed it.

    Raises:
        WorkflowError: the links form a circle.
    """
    order: dict[str, None] = {}
    for output in outputs:
        path: dict[str, Iterator[str]] = {output: _sources(graph, output)}
        while path:
            node_id = next(reversed(path))
            source = next((key for key in path[node_id] if key not in order), None)
            if source is None:
                order.setdefault(node_id)
                del path[node_id]
            elif source in path:
                circle = [*path][[*path].index(source) :]
                named = " -> ".join(label(key, graph[key]) for key in [*circle[::-1], circle[-1]])
                raise WorkflowError(f"these nodes feed each other in a circle: {named}; remove one of the links")
            else:
                path[source] = _sources(graph, source)
    return list(order)


def _sources(graph: Graph, node_id: str) -> Iterator[str]:
    values = graph[node_id]["inputs"].values()
    return (str(value[0]) for value in values if is_link(value) and len(value) == 2 and str(value[0]) in graph)


def _node_problems(node_id: str, graph: Graph, catalog: Catalog) -> list[str]:
    node = graph[node_id]
    kind = node["class_type"]
    inputs, sent = catalog.inputs(kind), node["inputs"]
    own_check = getattr(catalog.classes[kind], "VALIDATE_INPUTS", None)
    own_names, takes_all = _parameters(own_check)
    values: dict[str, Any] = {}
    received: dict[str, str] = {}
    problems = [
        f"has no input '{name}'; its inputs are {', '.join(inputs) or 'none'}" for name in sent if name not in inputs
    ]
    for name, item in inputs.items():
        if name not in sent:
            if item.is_required:
                problems.append(f"required input '{name}' ({item.type}) is missing; {_supply(item)}")
            continue
        value = sent[name]
        try:
            if is_link(value):
                received[name], values[name] = _arriving(value, graph, catalog), None
                if "input_types" not in own_names:
                    _check_link(item, value, received[name], graph)
            else:
                values[name] = _typed(item, value, limits=not (name in own_names or takes_all))
        except ValueError as error:
            problems.append(f"input '{name}' {error}")
    if own_check is not None and not problems:
        passed = {name: value for name, value in values.items() if takes_all or name in own_names}
        if "input_types" in own_names:
            passed["input_types"] = received
        problems += _own_problem(own_check, passed)
    return problems


def _check_link(item: Input, link: Any, received: str, graph: Graph) -> None:
    if not types_fit(received, item.type):
        raise ValueError(f"takes {item.type}, but is linked to {_source(link, graph)}, which gives {received}")


def _typed(item: Input, value: Any, limits: bool) -> Any:
    """The value of an input that is not linked."""
    if not (item.is_widget or item.is_forced or item.type == "*"):
        raise ValueError(f"is {str(value)[:40]!r}; expected a link from a node that gives {item.type}")
    return checked(item, value, limits=limits)


def _own_problem(own_check: Any, passed: dict[str, Any]) -> Iterator[str]:
    """What the class's own VALIDATE_INPUTS says: True, False or a message, or InputRefused."""
    try:
        verdict = own_check(**passed)
    except InputRefused as error:
        yield str(error)
        return
    except Exception as error:
        yield f"its own check of the inputs failed: {type(error).__name__}: {error}"
        return
    if verdict is not True:
        yield (
            str(verdict)
            if verdict
            else f"its own check refuses {', '.join(f'{name}={value!r}' for name, value in passed.items())}"
        )


def _parameters(function: Any) -> tuple[set[str], bool]:
    if function is None:
        return set(), False
    spec = inspect.getfullargspec(function)
    return {*spec.args, *spec.kwonlyargs}, spec.varkw is not None


def _arriving(link: list[Any], graph: Graph, catalog: Catalog) -> str:
    """The type that a link brings ("*" when its node is unknown).

    Raises:
        ValueError: the link leads nowhere.
    """
    if len(link) != 2 or not isinstance(link[1], int):
        raise ValueError(f"is {str(link)[:60]}; a list means a link and must be [node id, output number]")
    source = str(link[0])
    if source not in graph:
        raise ValueError(f"is linked to node {source}, which the workflow does not have; link it to another")
    if graph[source]["class_type"] not in catalog:
        return "*"
    returns = catalog.returns(graph[source]["class_type"])
    if not 0 <= link[1] < len(returns):
        has = f"{len(returns)} outputs, counted from 0" if returns else "no outputs"
        raise ValueError(f"is linked to output {link[1]} of {label(source, graph[source])}, which has {has}")
    return returns[link[1]]


def _source(link: list[Any], graph: Graph) -> str:
    return f"output {link[1]} of {label(str(link[0]), graph[str(link[0])])}"


def _supply(item: Input) -> str:
    return "give it a value or a link" if item.is_widget else f"link it to a node that gives {item.type}"


def _no_output(graph: Graph) -> str:
    if not graph:
        return "it holds no node that could run (notes, muted and bypassed nodes do not count)"
    return "no node saves or shows anything, so nothing would run; add an output node such as OpenT2VSaveVideo"


def _unknown(node_id: str, node: GraphNode, graph: Graph, catalog: Catalog) -> str:
    kind, pack = node["class_type"], graph.packs.get(node_id, "")
    text = f"{label(node_id, node)}: "
    if pack == "comfy-core" or kind in CORE_NODES:
        instead = _counterpart(kind, catalog) or "this pack's nodes"
        return text + f"{kind} is a node of ComfyUI itself and needs ComfyUI; run it there, or use {instead}"
    counterpart, close = _counterpart(kind, catalog), get_close_matches(kind, catalog.classes, 1)
    hint = f"; use {counterpart} instead." if counterpart else f"; did you mean {close[0]}?" if close else "."
    origin = f" (from the pack {pack})" if pack else ""
    return (
        text + f"unknown node class {kind}{origin}{hint} Headless, only this pack's nodes and ComfyUI's value nodes run"
    )


def _counterpart(kind: str, catalog: Catalog) -> str:
    """The node of this pack that does what another one does, "" where there is none."""
    ours = COUNTERPARTS.get(kind, "")
    return ours if ours in catalog else ""
