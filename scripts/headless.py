"""Runs a workflow on the embedded host and keeps what a terminal wants to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import console
import pack


@dataclass
class Outcome:
    """What a run left behind.

    Attributes:
        remarks: what nodes had to say, "title: text".
        files: what was saved; the folder of numbered pictures.
        values: the inputs of every node that have values, by class: {"OpenT2VSampler": {"seed": 7, ...}}.
    """

    remarks: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, graph: dict[str, Any], results: dict[str, dict[str, Any]], folder: Path) -> Outcome:
        """Collect from `graph` (nodes by id) and the "ui" part of every node's result; files lie below `folder`."""
        for node_id, node in graph.items():
            self.values.setdefault(node["class_type"], node["inputs"])
            ui = results.get(node_id, {})
            self.remarks += [f"{node['title']}: {text}" for text in ui.get("opent2v_remarks", ())]
            saved = [
                folder / one["subfolder"] / one["filename"]
                for one in (*ui.get("images", ()), *ui.get("video", ()))
                if one.get("type") == "output"
            ]
            self.files += saved if len(saved) < 2 else [saved[0].parent]  # numbered pictures have a folder of their own
        return self


def read(path: Path) -> str:
    """The text of a workflow file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist; expected a workflow file, for example workflows/quickstart.json"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text file; expected a workflow saved by ComfyUI (.json)") from None


def run(
    text: str,
    changes: Sequence[str],
    *,
    models: Path | None,
    output: Path | None,
    stages: console.Stages,
    stage_of: Callable[[str, str], str | None] = lambda title, kind: title,
) -> Outcome:
    """Run a workflow.

    Args:
        text: the workflow file's.
        changes: each "NODE.INPUT=VALUE".
        models: a folder laid out like ComfyUI's models/; the bundled models are found in any case.
        output: folder for what is saved; None: output/ of the pack.
        stage_of: (title, class) of a node -> the name of its stage on the terminal; None for a node not worth a line.
    """
    folder = (output or pack.ROOT / "output").resolve()
    if models is not None and not models.is_dir():
        raise NotADirectoryError(f"{models} is no folder; --models takes one laid out like ComfyUI's models/")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; the output goes into a folder")
    pack.mount()
    from opent2v import nodes  # pyright: ignore[reportMissingImports]
    from opent2v.headless import overrides, runner, workflow  # pyright: ignore[reportMissingImports]
    from opent2v.host import embedded  # pyright: ignore[reportMissingImports]

    embedded.configure(
        models=models and models.resolve(),
        output=folder,
        on_progress=lambda _, value, total: stages.update(value, total),
    )
    classes, titles = nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS
    data = overrides.override(workflow.read_json(text), changes, classes, titles)
    graph = workflow.load_workflow(data, classes, titles)
    names = {node_id: stage_of(node["title"], node["class_type"]) for node_id, node in graph.items()}

    def on_node(node_id: str, result: dict[str, Any] | None) -> None:
        name = names[node_id]
        if name and result is None:
            stages.start(name)
        elif name and result:
            stages.end(result["seconds"])

    results = runner.run(graph, classes, on_node=on_node)
    return Outcome().add(graph, {node_id: result["ui"] for node_id, result in results.items()}, folder)
