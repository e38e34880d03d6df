"""Metadata of a saved file: ComfyUI's graph, and a summary of how the video was made; the same on both sides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parent.parent
# Key in a CONDITIONING's dictionary for the family whose text encoder made it.
PROMPT_FAMILY = "opent2v_family"

# Names of inputs that hold models, seeds and LoRAs, in this pack's nodes and in core's.
_MODELS = ("model", "unet_name", "ckpt_name")
_SEEDS = ("seed", "noise_seed")
_LORAS = ("lora", "lora_name")
_STRENGTHS = ("strength", "strength_model")


def graph_tags(
    prompt: Any, extra_pnginfo: Any, node: str | None = None, info: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Tag -> JSON: "prompt", whatever the page adds ("workflow" above all), and "opent2v", see `summary`.

    "is_changed", the host's note on the state of the files that nodes read, is left out: it is of this machine only.
    """
    tags = {}
    if isinstance(prompt, dict):
        asked = {i: {k: v for k, v in entry.items() if k != "is_changed"} for i, entry in prompt.items()}
        tags["prompt"] = json.dumps(asked)
    tags |= {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}
    info_tag = summary(prompt, node, info)
    return tags | ({"opent2v": json.dumps(info_tag)} if info_tag else {})


def summary(prompt: Any, node: str | None = None, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How a video was made, for people and programs that do not read graphs.

    Args:
        prompt: the graph in API format, id -> {"class_type", "inputs"}.
        node: the id of the node that saves; only nodes upstream of it count. None: the whole graph.
        info: values known only to the run, such as {"family": "wan", "cache": "12 of 20 steps computed"}; a LATENT may
            carry it from node to node under the key "opent2v".
    Returns:
        {"version": of this pack, "models": names, "seeds": numbers, "loras": [{"name", "strength"}], **info}, without
        empty entries; empty where no node of this pack takes part.
    """
    graph = prompt if isinstance(prompt, dict) else {}
    nodes = list(_upstream(graph, node)) if node is not None and node in graph else list(graph.values())
    if not any(str(entry.get("class_type", "")).startswith("OpenT2V") for entry in nodes):
        return {}
    used: dict[str, Any] = {"models": [], "seeds": [], "loras": []}
    for entry in nodes:
        values = {name: _value(graph, value) for name, value in entry.get("inputs", {}).items()}
        used["models"] += [values[name] for name in _MODELS if isinstance(values.get(name), str)]
        used["seeds"] += [values[name] for name in _SEEDS if isinstance(values.get(name), int)]
        used["loras"] += _loras(values)
    return {"version": version(), **{key: value for key, value in used.items() if value}, **(info or {})}


def _loras(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The LoRA files that a node's inputs name, with their strengths."""
    strengths = [values[name] for name in _STRENGTHS if name in values]
    for name in _LORAS:
        if isinstance(values.get(name), str):
            yield {"name": values[name], **({"strength": strengths[0]} if strengths else {})}
    # A LoRA stack numbers its files and their strengths.
    for name, value in values.items():
        number = name.removeprefix("lora_")
        if number != name and number.isdecimal() and value != "none":
            yield {"name": value, "strength": values.get(f"strength_{number}")}


@lru_cache
def version() -> str:
    """This pack's version, from the only place that states it."""
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert match is not None
    return match[1]


def _upstream(graph: Mapping[str, Any], node: str) -> Iterator[dict[str, Any]]:
    """A node and all nodes upstream of it, each once, in breadth-first order."""
    waiting, seen = [node], {node}
    while waiting:
        entry = graph[waiting.pop(0)]
        yield entry
        for value in entry.get("inputs", {}).values():
            source = str(value[0]) if _is_link(value) else ""
            if source in graph and source not in seen:
                seen.add(source)
                waiting.append(source)


def _value(graph: Mapping[str, Any], value: Any) -> Any:
    """An input's value; one that comes from a plain value node is looked up there."""
    if not _is_link(value):
        return value
    return graph.get(str(value[0]), {}).get("inputs", {}).get("value")


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], int)
