"""The oldest supported ComfyUI; an older one stops with a message that says what to do."""

from __future__ import annotations

import re

import comfyui_version

# The same version as `requires-comfyui` in pyproject.toml.
FLOOR = "0.8.0"


def check_floor(version: str) -> None:
    """Raise where the host's version is older; a version without numbers (a fork's name) is accepted.

    Raises:
        ImportError: with the version found, the one needed and what to do.
    """
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if match and tuple(map(int, match.groups())) < tuple(map(int, FLOOR.split("."))):
        raise ImportError(
            f"This is ComfyUI {version}; OpenT2V needs {FLOOR} or newer. Update ComfyUI (with its Manager, or `git "
            "pull` and `pip install -r requirements.txt` in its folder) and start it again."
        )


check_floor(comfyui_version.__version__)
