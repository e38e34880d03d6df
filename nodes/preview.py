"""Previews of saved files on ComfyUI's page, and remarks on files that it cannot show or read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..media.formats import Format


def preview(path: Path, output: Path, saved: Format, has_workflow: bool) -> tuple[dict[str, Any], list[str]]:
    """Entries for the node's ui, and remarks.

    Every file is told under a key that ComfyUI's own save nodes use: the page's assets and its queue, the jobs API and
    workers outside find it by that.

    Args:
        path: the file, or the folder of numbered pictures, inside `output`.
        has_workflow: the file carries a graph.
    """
    remarks = []
    if path.is_dir():
        remarks.append(f"Saved in the folder {path}; the first picture is shown and carries the workflow.")
    elif not saved.shown:
        remarks.append(f"Saved as {path}. Browsers do not play {saved.key}, so nothing is shown here.")
    if has_workflow and not saved.page_reads:
        remarks.append(f"The workflow is inside, but ComfyUI's page does not restore it from {saved.key}.")
    entries = [_entry(file, output) for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    if not saved.shown:
        # the page lists these, and tries to show on the node only entries of "images"
        return {"video": entries}, remarks
    # The page treats an animated file as a video, unless its name ends in .webp.
    is_animated = saved.shown == "video" or saved.suffix == ".webp"
    return {"images": entries, **({"animated": (True,)} if is_animated else {})}, remarks


def _entry(file: Path, output: Path) -> dict[str, str]:
    folder = file.parent.relative_to(output).as_posix()
    return {"filename": file.name, "subfolder": "" if folder == "." else folder, "type": "output"}
