"""How ComfyUI's page shows a saved file on the node, and what it cannot show or read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..media.formats import Format


def preview(path: Path, output: Path, saved: Format, has_workflow: bool) -> tuple[dict[str, Any], list[str]]:
    """Entries for the node's ui, and remarks.

    Args:
        path: the file, or the folder of numbered pictures, inside `output`.
        has_workflow: the file carries a graph.
    """
    remarks = []
    shown = min(path.iterdir()) if path.is_dir() else path
    if path.is_dir():
        remarks.append(f"Saved in the folder {path}; the first picture is shown and carries the workflow.")
    elif not saved.shown:
        remarks.append(f"Saved as {path}. Browsers do not play {saved.key}, so nothing is shown here.")
    if has_workflow and not saved.page_reads:
        remarks.append(f"The workflow is inside, but ComfyUI's page does not restore it from {saved.key}.")
    # The page takes "animated" for a video unless the name holds one of these (frontend 1.27 and 1.35).
    picture_words = [word for word in ("webp", "png") if word in shown.name]
    if saved.shown == "video" and picture_words:
        remarks.append(
            f"Saved as {path}. The page takes a file whose name holds '{picture_words[0]}' for a picture, so nothing "
            "is shown here; choose another filename_prefix."
        )
        return {}, remarks
    if not saved.shown:
        return {}, remarks
    folder = shown.parent.relative_to(output).as_posix()
    entry = {"filename": shown.name, "subfolder": "" if folder == "." else folder, "type": "output"}
    is_animated = saved.shown == "video" or saved.suffix == ".webp"
    return {"images": [entry], **({"animated": (True,)} if is_animated else {})}, remarks
