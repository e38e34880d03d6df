"""Results kept in the output folder under a key of all that they were made from, so that nothing is made twice.

The key holds every value and tensor that goes into a run, the weights of the models, and every node behind them in the
graph with its settings. A result is read where the key is the same; else it is made. Nothing is kept where
something cannot be told to be the same, such as a number that another node gives to a model's patch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..host import host
from ..loaders.tensor_file import tensor_bytes, write_tensors
from ..media.naming import disk_errors
from ..sampling.streams import unbind
from .shared import files_state

FOLDER = "OpenT2V_kept"
_FORM = "1"
_PACK = Path(__file__).resolve().parent.parent
_ROOMS = ("base", "families", "host", "loaders", "media", "nodes", "sampling")
# Outputs that hand on an input, with another LoRA, which the fingerprint holds: the node's other values do not count.
_HANDED_ON = {("OpenT2VStoryboard", 3): "model", ("OpenT2VStoryboard", 4): "clip"}


class Untold(ValueError):
    """Something goes into a result of which it cannot be told whether it is the same; the message says what."""


def keep_input(what: str) -> tuple[str, dict[str, Any]]:
    return (
        "BOOLEAN",
        {
            "advanced": True,
            "default": False,
            "tooltip": f"Keep {what} in the output folder, and take it from there where all that it is made from is as "
            "it was: of a story only the shots that changed are made, and a stopped night goes on.",
        },
    )


def key_of(values: Mapping[str, Any], parts: Mapping[str, Any], prompt: Any, node: str | None) -> str:
    """The key of a result.

    Args:
        values: what goes into it besides models.
        parts: MODELs and VAEs by the names of the node's inputs; None where nothing is connected.
        prompt: the graph as ComfyUI runs it.
        node: that makes the result.
    Raises:
        Untold: a value of a kind that is not known here, a node that is not in the graph, or a node behind a model that
            takes another kind of value than a model from a further node.
    """
    if not isinstance(prompt, Mapping) or node not in prompt:
        raise Untold("this node is not in the graph that was sent")
    digest = sha256(f"{_FORM} {torch.__version__} {_code()} {prompt[node]['class_type']}".encode())
    _add(digest, {name: value for name, value in values.items() if value is not None})
    texts = dict[tuple[str, int], str]()
    for name, part in parts.items():
        if part is None:
            continue
        path = host.path(part)
        _add(digest, [name, *host.fingerprint(part), "" if path is None else files_state(path)])
        _add(digest, _behind(prompt, prompt[node]["inputs"].get(name), texts))
    return digest.hexdigest()[:20]


@cache
def _code() -> str:
    """A text that changes with the pack's own code: another version may compute something else."""
    digest = sha256()
    for room in _ROOMS:
        for file in sorted((_PACK / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _behind(prompt: Mapping[str, Any], link: Any, texts: dict[tuple[str, int], str]) -> str:
    """A text of all nodes behind a link, with their values and links.

    Args:
        texts: of the outputs that were met before; a node's model and clip often come from one further node.
    Raises:
        Untold: as `key_of`.
    """
    if not _is_link(link):
        return json.dumps(link, sort_keys=True)
    place = str(link[0]), int(link[1])
    if place not in texts:
        texts[place] = _source(prompt, *place, texts)
    return texts[place]


def _source(prompt: Mapping[str, Any], node: str, output: int, texts: dict[tuple[str, int], str]) -> str:
    if node not in prompt:
        raise Untold(f"node {node} behind it is not in the graph that was sent")
    source = prompt[node]
    handed_on = _HANDED_ON.get((source["class_type"], output))
    if handed_on is not None:
        return _behind(prompt, source["inputs"].get(handed_on), texts)
    for name, value in source["inputs"].items():
        # The weights of models are in the key; of another value only the nodes are known, not what they give.
        if _is_link(value) and not _gives_model(prompt, value):
            raise Untold(f"{source['class_type']} takes {name} from another node, whose value is not known here")
    inputs = {name: _behind(prompt, value, texts) for name, value in sorted(source["inputs"].items())}
    return sha256(json.dumps([source["class_type"], output, inputs]).encode()).hexdigest()


def _is_link(value: Any) -> bool:
    """As the host tells links from values."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) in (int, float)


def _gives_model(prompt: Mapping[str, Any], link: Any) -> bool:
    from . import NODE_CLASS_MAPPINGS

    if link[0] not in prompt:
        return False
    name = prompt[link[0]]["class_type"]
    node = NODE_CLASS_MAPPINGS.get(name)
    kinds = host.node_outputs(name) if node is None else node.RETURN_TYPES
    return int(link[1]) < len(kinds) and kinds[int(link[1])] in ("MODEL", "CLIP", "VAE")


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(tensor_bytes(value))
    elif getattr(value, "is_nested", False):
        _add(digest, list(unbind(value)))
    elif value is None or isinstance(value, (str, bool, int, float, Fraction, torch.dtype, Path)):
        digest.update(f"{type(value).__name__} {value!r}\n".encode())
    elif isinstance(value, Mapping):
        _add_all(digest, "mapping", (part for name in sorted(value, key=str) for part in (str(name), value[name])))
    elif isinstance(value, (list, tuple)):
        _add_all(digest, "list", value)
    elif is_dataclass(value) and not isinstance(value, type):
        _add_all(digest, type(value).__name__, (getattr(value, field.name) for field in fields(value)))
    else:
        raise Untold(f"it holds {type(value).__name__} data, of which that cannot be told")


def _add_all(digest: Any, kind: str, values: Iterable[Any]) -> None:
    entries = list(values)
    digest.update(f"{kind} {len(entries)}\n".encode())
    for entry in entries:
        _add(digest, entry)


def read_latent(key: str) -> tuple[dict[str, Any], list[str]] | None:
    """(LATENT, the lines that its run told) of a key; None where none is kept, or its file is damaged."""
    from safetensors import SafetensorError, safe_open

    path = _file(key)
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            kept = json.loads(file.metadata()["opent2v"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
    latent = dict(kept["plain"])
    for name, count in kept["streams"].items():
        latent[name] = host.nested([tensors[f"{name}.{n}"] for n in range(count)])
    return latent, kept["lines"]


def keep_latent(key: str, latent: Mapping[str, Any], lines: list[str]) -> None:
    """
    Raises:
        Untold: an entry of the LATENT that a file cannot hold.
        OutputError: the output folder cannot be used.
    """
    tensors, streams, plain = dict[str, Tensor](), dict[str, int](), dict[str, Any]()
    for name, value in latent.items():
        if isinstance(value, Tensor) or getattr(value, "is_nested", False):
            parts = unbind(value)
            streams[name] = len(parts)
            tensors |= {f"{name}.{n}": part for n, part in enumerate(parts)}
        else:
            plain[name] = value
    try:
        text = json.dumps({"plain": plain, "streams": streams, "lines": lines})
    except TypeError as error:
        raise Untold(f"its LATENT cannot be kept ({error})") from error
    if json.loads(text)["plain"] != plain:
        raise Untold("its LATENT holds data that would come back as another kind")
    path = _file(key)
    with disk_errors(path.parent):
        write_tensors(path, tensors, {"opent2v": text})


def _file(key: str) -> Path:
    return host.output_folder() / FOLDER / f"{key}.safetensors"
