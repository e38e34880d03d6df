"""The oldest ComfyUI that this side works in; an older one is told in a sentence what to do."""

from __future__ import annotations

import re

import comfyui_version

# As `requires-comfyui` in pyproject.toml.
FLOOR = "0.8.0"


def check_floor(version: str) -> None:
    """Raise where the host's version is older; one that is no number (a fork's name) is let through.

    Raises:
        ImportError: with the version found, the one needed and what to do.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if found and tuple(map(int, found.groups())) < tuple(map(int, FLOOR.split("."))):
        raise ImportError(
            f"This is ComfyUI {version}; OpenT2V needs {FLOOR} or newer. Update ComfyUI (with its Manager, or `git "
            "pull` and `pip install -r requirements.txt` in its folder) and start it again."
        )


check_floor(comfyui_version.__version__)
