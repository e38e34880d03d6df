"""Runs a workflow on the embedded host, with its stages on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import console
import pack

# Files that may carry a workflow, told by their names: to look inside takes libraries that may have to be installed.
_CARRIERS = frozenset({".png", ".apng", ".webp", ".mp4", ".m4v", ".mov", ".webm", ".mkv"})


def is_carrier(path: Path) -> bool:
    """Whether a file is a video or a picture rather than a workflow file."""
    return path.suffix.lower() in _CARRIERS and path.is_file()


def read_inside(path: Path) -> str:
    """The text of the workflow inside a saved video or picture."""
    pack.mount()
    from opent2v.headless.inside import workflow_inside  # pyright: ignore[reportMissingImports]

    return workflow_inside(path)


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


class Session:
    """The embedded host, set up for workflows that are run one after another; models stay loaded between them.

    Args:
        models: a folder laid out like ComfyUI's models/; the bundled models are found in any case.
        inputs: folder with the workflow's pictures, sounds and videos; None: input/ beside the output folder.
        beside: the folder of the workflow file, where its pictures are looked for if there is no such input/.
        prompts: folder that encoded prompts are kept in; None: as the workflow's nodes say, in the host's own.
    Raises:
        NotADirectoryError: a folder that is none.
    """

    def __init__(
        self,
        *,
        models: Path | None,
        inputs: Path | None = None,
        stages: console.Stages,
        beside: Path | None = None,
        prompts: Path | None = None,
    ) -> None:
        if models is not None and not models.is_dir():
            raise NotADirectoryError(f"{models} is no folder; --models takes one laid out like ComfyUI's models/")
        if inputs is not None and not inputs.is_dir():
            raise NotADirectoryError(
                f"{inputs} is no folder; --input takes the one with the workflow's pictures and videos"
            )
        pack.mount()
        from opent2v import nodes  # pyright: ignore[reportMissingImports]
        from opent2v.headless.kept import Kept  # pyright: ignore[reportMissingImports]

        self.classes, self.titles = nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS
        self._models, self._inputs, self._stages = models and models.resolve(), inputs and inputs.resolve(), stages
        self._beside, self._prompts, self._kept = beside and beside.resolve(), prompts and prompts.resolve(), Kept()

    @property
    def loads(self) -> int:
        """How many times nodes that give weights were run."""
        return self._kept.loads

    def interrupt(self) -> None:
        """Stop the running workflow at its next step; callable from another thread."""
        from opent2v.host import embedded  # pyright: ignore[reportMissingImports]

        embedded.interrupt()

    def configure(self, folder: Path) -> None:
        """Set the host's folders; `folder` is where files are saved."""
        from opent2v.host import embedded  # pyright: ignore[reportMissingImports]

        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; the output goes into a folder")
        usual = folder.parent / "input"
        embedded.speak(console.language())
        embedded.configure(
            models=self._models,
            output=folder,
            input=self._inputs or (usual if usual.is_dir() or self._beside is None else self._beside),
            prompts=self._prompts,
            on_progress=lambda _, value, total: self._stages.update(value, total),
        )

    def run(
        self,
        text: str,
        changes: Sequence[str],
        folder: Path,
        stage_of: Callable[[str, str], str | None] = lambda title, kind: title,
    ) -> Any:
        """Run a workflow with these changes, saving into `folder`: a `headless.Outcome`."""
        (outcome,) = self.run_together(text, [changes], [folder], stage_of=stage_of)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run_together(
        self,
        text: str,
        changes: Sequence[Sequence[str]],
        folders: Sequence[Path],
        *,
        is_wanted: Callable[[int], bool] = lambda number: True,
        stage_of: Callable[[str, str], str | None] = lambda title, kind: title,
    ) -> list[Any]:
        """Run a workflow several times side by side, each with its changes and saving into its folder.

        Clips of equal shape and settings are sampled in one run of the model.

        Args:
            is_wanted: whether a run, by its number, is still waited for.
        Returns:
            Of each run a `headless.Outcome`, what stopped it, or None where nobody waited for it any more.
        Raises:
            Exception: nothing could run, or all was interrupted.
        """
        from opent2v.headless import Outcome, keep_prompts, load_changed, runner  # pyright: ignore[reportMissingImports]
        from opent2v.host import embedded  # pyright: ignore[reportMissingImports]

        self.configure(folders[0])
        graphs = [load_changed(text, each, self.classes, self.titles) for each in changes]
        if self._prompts:
            for graph in graphs:
                keep_prompts(graph)
        names = {node_id: stage_of(node["title"], node["class_type"]) for node_id, node in graphs[0].items()}

        def on_node(node_id: str, result: dict[str, Any] | None) -> None:
            name = names[node_id]
            if name and result is None:
                self._stages.start(name)
            elif name and result:
                self._stages.end(result["seconds"])

        class Clips(runner.Side):
            def turn(self, number: int) -> None:
                embedded.save_into(folders[number])

            def is_wanted(self, number: int) -> bool:
                return is_wanted(number)

        runs = runner.run_together(graphs, self.classes, on_node=on_node, kept=self._kept, side=Clips())
        outcomes: list[Any] = []
        for graph_run, folder in zip(runs, folders, strict=True):
            ui = {node_id: result["ui"] for node_id, result in graph_run.results.items()}
            is_whole = len(ui) == len(graph_run.order)
            outcomes.append(graph_run.error or (Outcome.of(graph_run.graph, ui, folder) if is_whole else None))
        return outcomes


def run(
    text: str,
    changes: Sequence[str],
    *,
    models: Path | None,
    output: Path | None,
    inputs: Path | None = None,
    stages: console.Stages,
    stage_of: Callable[[str, str], str | None] = lambda title, kind: title,
    beside: Path | None = None,
) -> Any:
    """Run one workflow.

    Args:
        text: the workflow file's.
        changes: each "NODE.INPUT=VALUE".
        models, inputs, beside: as of `Session`.
        output: folder for what is saved; None: output/ of the pack.
        stage_of: (title, class) of a node -> the name of its stage on the terminal; None for a node not worth a line.
    Returns:
        A `headless.Outcome`.
    """
    session = Session(models=models, inputs=inputs, stages=stages, beside=beside)
    return session.run(text, changes, (output or pack.ROOT / "output").resolve(), stage_of)
