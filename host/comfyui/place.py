"""ComfyUI's folders, progress and interrupts."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from ...base.remarks import drawings, in_language, lines
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


def language() -> str:
    """That of the page: what its user chose there, else what web/language.js has left of his browser's."""
    file = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        return str(settings.get("Comfy.Locale") or settings.get("OpenT2V.Language") or "en")
    except (OSError, ValueError, AttributeError):
        return "en"  # no page has been opened yet


def say(remarks: list[str], node: str | None) -> None:
    """web/remarks.js reads it."""
    for remark in remarks:
        logging.info(remark)
    show(remarks, node)


def show(remarks: list[str], node: str | None) -> None:
    from server import PromptServer  # scripts that run only parts of the host need not have it

    remarks = in_language(remarks, language())
    page = getattr(PromptServer, "instance", None)
    if page is not None and node is not None:
        message = {"node": node, "remarks": lines(remarks), "report": drawings(remarks)}
        page.send_sync("opent2v_remarks", message, page.client_id)


def progress(total: int, node: str | None = None, name: str = "", is_bytes: bool = False) -> Callable[[int], None]:
    from tqdm import tqdm

    bar = comfy.utils.ProgressBar(total, node_id=node)
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1024} if is_bytes else {}
    line = tqdm(total=total, desc=name, disable=not name, delay=1, leave=False, **unit)  # what is short shows none

    def report(value: int) -> None:
        check_interrupt()
        bar.update_absolute(value, total)
        line.update(value - line.n)
        if value >= total:
            line.close()

    return report


def blocks_bar(name: str) -> Callable[[int, int], None]:
    """For `watch.watched`: reports a network's blocks on the bar of the node that runs."""
    report: Callable[[int], None] | None = None

    def on_block(begun: int, total: int) -> None:
        nonlocal report
        report = report or progress(total, name=name)
        report(begun)

    return on_block


def check_interrupt() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def node_outputs(class_name: str) -> tuple[str, ...]:
    # ComfyUI's own module; it is there before any node runs.
    classes = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})
    return tuple(getattr(classes.get(class_name), "RETURN_TYPES", None) or ())


def file_metadata(
    prompt: Any, extra_pnginfo: Any, node: str | None = None, info: Mapping[str, Any] | None = None
) -> dict[str, str]:
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    return graph_tags(prompt, extra_pnginfo, node, info)
