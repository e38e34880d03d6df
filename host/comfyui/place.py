"""ComfyUI's folders, progress and interrupts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from ...base.remarks import drawings, lines
from ..tags import graph_tags

PACK = Path(__file__).resolve().parent.parent.parent


def register_models() -> None:
    """Add every folder of the pack's models/ to the host's search paths, behind the user's own."""
    for folder in sorted((PACK / "models").iterdir()):
        if folder.is_dir() and str(folder) not in _paths(folder.name):
            folder_paths.add_model_folder_path(folder.name, str(folder))


def model_roots(kind: str) -> list[Path]:
    bundled = PACK / "models" / kind
    return [bundled, *(Path(p) for p in _paths(kind) if Path(p) != bundled)]


def _paths(kind: str) -> list[str]:
    try:
        return folder_paths.get_folder_paths(kind)
    except KeyError:
        return []


def output_folder() -> Path:
    return Path(folder_paths.get_output_directory())


def file_folders() -> dict[str, Path]:
    return {
        "input": Path(folder_paths.get_input_directory()),
        "output": Path(folder_paths.get_output_directory()),
        "temp": Path(folder_paths.get_temp_directory()),
    }


def profile_folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "opent2v" / "step_cache"


def prompt_folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "opent2v" / "prompt_cache"


def say(remarks: list[str], node: str | None) -> None:
    """web/remarks.js reads it."""
    for remark in remarks:
        logging.info(remark)
    from server import PromptServer  # scripts that run only parts of the host need not have it

    page = getattr(PromptServer, "instance", None)
    if page is not None and node is not None:
        message = {"node": node, "remarks": lines(remarks), "report": drawings(remarks)}
        page.send_sync("opent2v_remarks", message, page.client_id)


def progress(total: int, node: str | None = None) -> Callable[[int], None]:
    bar = comfy.utils.ProgressBar(total, node_id=node)

    def report(value: int) -> None:
        check_interrupt()
        bar.update_absolute(value, total)

    return report


def check_interrupt() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def file_metadata(
    prompt: Any, extra_pnginfo: Any, node: str | None = None, info: Mapping[str, Any] | None = None
) -> dict[str, str]:
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    return graph_tags(prompt, extra_pnginfo, node, info)
