"""Changes values of a workflow from outside ("Sampler.steps=20").

They change in the file's own format, so that the workflow stored in a saved video is the one that ran.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from .catalog import Catalog, Input
from .graph import Graph, WorkflowError, is_link, label
from .page import VIRTUAL, Page, PageNode, widget_layout, widget_values
from .values import parsed
from .workflow import api_graph, is_page, load_workflow, read_json


def load_changed(
    text: str, changes: Iterable[str], classes: Mapping[str, Any], titles: Mapping[str, str] | None = None
) -> Graph:
    """The graph of a workflow file's text, with some values changed; arguments and errors as of `override`."""
    return load_workflow(override(read_json(text), changes, classes, titles), classes, titles)


def keep_prompts(graph: Graph) -> None:
    """Switch the prompt cache of every Encode Video Prompt on; the workflow of ComfyUI's page stays as it was."""
    for node in graph.values():
        if node["class_type"] == "OpenT2VEncodePrompt":
            node["inputs"]["prompt_cache"] = True


def override(
    data: dict[str, Any], changes: Iterable[str], classes: Mapping[str, Any], titles: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A copy of a workflow with some values changed.

    Args:
        data: a workflow in the page's or the API's format.
        changes: each "NODE.INPUT=VALUE"; NODE is an id, a title or a class name.
    Raises:
        WorkflowError: no such node or input, two nodes of that name, a linked input, or a value that does not fit.
    """
    data = copy.deepcopy(data)
    catalog = Catalog(classes, titles or {})
    for change in changes:
        target, equals, text = change.partition("=")
        name, input_name = _split(target if equals else "", change)
        try:
            if is_page(data):
                _set_on_page(data, name, input_name, text, catalog)
            else:
                _set_in_api(data, name, input_name, text, catalog)
        except ValueError as error:
            raise WorkflowError(f"cannot set {target}: {error}") from error
    return data


def locate(
    data: dict[str, Any], target: str, classes: Mapping[str, Any], titles: Mapping[str, str] | None = None
) -> tuple[str, str, Input]:
    """The input that "NODE.INPUT" means: (the node's id, its class, the input).

    Raises:
        WorkflowError: as of `override`, for everything but the value.
    """
    catalog = Catalog(classes, titles or {})
    name, input_name = _split(target)
    try:
        if is_page(data):
            node, item = _on_page(Page(data, catalog), name, input_name, catalog)
            return node.id, node.type, item
        graph = api_graph(data, catalog)
        node_id, item = _in_api(graph, name, input_name, catalog)
        return node_id, graph[node_id]["class_type"], item
    except ValueError as error:
        raise WorkflowError(f"cannot set {target}: {error}") from error


def _split(target: str, change: str = "") -> tuple[str, str]:
    name, dot, input_name = target.rpartition(".")
    if dot and name and input_name:
        return name, input_name
    if change:
        raise WorkflowError(f"cannot read {change!r}; expected NODE.INPUT=VALUE, for example OpenT2VSampler.steps=20")
    raise WorkflowError(f"cannot read {target!r}; expected NODE.INPUT, for example OpenT2VSampler.steps")


def _set_on_page(data: dict[str, Any], name: str, input_name: str, text: str, catalog: Catalog) -> None:
    page = Page(data, catalog)
    node, item = _on_page(page, name, input_name, catalog)
    raw, value = page.saved[node.id], parsed(item, text)
    if node.type == "PrimitiveNode":
        raw["widgets_values"] = [value, *_list(raw.get("widgets_values"))[1:]]
        return
    if input_name in node.promoted:
        node.promoted[input_name].set(value)
        return
    saved, inputs = raw.get("widgets_values"), catalog.inputs(node.type)
    if isinstance(saved, dict):
        saved[input_name] = value
    else:
        values = widget_values(saved, inputs)
        values[[entry[0] for entry in widget_layout(inputs)].index(input_name)] = value
        raw["widgets_values"] = values


def _on_page(page: Page, name: str, input_name: str, catalog: Catalog) -> tuple[PageNode, Input]:
    settable = {
        node.id: node for node in page.nodes.values() if node.type not in VIRTUAL or node.type == "PrimitiveNode"
    }
    node = settable[_find(name, {node.id: (node.title, node.type) for node in settable.values()}, catalog)]
    if node.type == "PrimitiveNode":
        return node, _primitive_input(node)
    item = _settable(catalog, node.type, node.label, input_name)
    slot = next(slot for slot in node.slots if slot.name == input_name)
    source = page.primitive(slot) or page.nodes.get((page.origin(node, slot) or ("",))[0])
    if source is not None:
        raise ValueError(_linked(input_name, node.label, source.label))
    uses = [way for way, saved in page.saved.items() if saved is page.saved[node.id]]
    if len(uses) > 1 and input_name not in node.promoted:
        raise ValueError(
            f"{node.label} lies in a subgraph that is used {len(uses)} times ({', '.join(uses)}), and the file has one "
            "value for all; on ComfyUI's page, make the value an input of the subgraph, or unpack it"
        )
    return node, item


def _set_in_api(data: dict[str, Any], name: str, input_name: str, text: str, catalog: Catalog) -> None:
    node_id, item = _in_api(api_graph(data, catalog), name, input_name, catalog)
    data[node_id].setdefault("inputs", {})[input_name] = parsed(item, text)


def _in_api(graph: Graph, name: str, input_name: str, catalog: Catalog) -> tuple[str, Input]:
    node_id = _find(name, {key: (node["title"], node["class_type"]) for key, node in graph.items()}, catalog)
    node = graph[node_id]
    named = label(node_id, node)
    item = _settable(catalog, node["class_type"], named, input_name)
    current = node["inputs"].get(input_name)
    if is_link(current):
        source = str(current[0]) if current else ""
        raise ValueError(
            _linked(input_name, named, label(source, graph[source]) if source in graph else f"node {source}")
        )
    return node_id, item


def _find(name: str, nodes: dict[str, tuple[str, str]], catalog: Catalog) -> str:
    """The id of the node that is meant: an id first, then a title, a class or the class's display name."""
    if name in nodes:
        return name
    keys = [key for key, (title, kind) in nodes.items() if name in (title, kind, catalog.title(kind))]
    if len(keys) == 1:
        return keys[0]
    known = [f'{key} "{title}" ({kind})' for key, (title, kind) in nodes.items() if key in keys or not keys]
    if keys:
        raise ValueError(f"{len(keys)} nodes are called {name!r}; use the id of one of them: {', '.join(known)}")
    raise ValueError(f"no node has the id, title or class {name!r}; the workflow has {', '.join(known) or 'no nodes'}")


def _settable(catalog: Catalog, kind: str, named: str, input_name: str) -> Input:
    if kind not in catalog:
        raise ValueError(f"{named} is of an unknown class, so its inputs are not known")
    inputs = catalog.inputs(kind)
    widgets = [key for key, item in inputs.items() if item.is_widget]
    if input_name in widgets:
        return inputs[input_name]
    if input_name in inputs:
        raise ValueError(
            f"it takes a link ({inputs[input_name].type}), not a value; the values of {named} are "
            f"{', '.join(widgets) or 'none'}"
        )
    close = get_close_matches(input_name, widgets, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"{named} has no input {input_name!r}{hint}; its values are {', '.join(widgets) or 'none'}")


def _primitive_input(node: PageNode) -> Input:
    kind = node.outputs[0] if node.outputs else "STRING"
    return Input("value", kind if kind in ("INT", "FLOAT", "BOOLEAN") else "STRING", {}, None, True)


def _linked(input_name: str, named: str, source: str) -> str:
    return f"input {input_name!r} of {named} is fed by {source}; set the value there, or remove the link"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
