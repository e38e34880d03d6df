"""Finds a real ComfyUI and its Python; a test that asks for one is skipped with a reason when there is none.

The fixtures are for the conftest.py of each folder that needs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = "import torch, aiohttp, diffusers, transformers, av"


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, the folder two up (the pack lies in custom_nodes), or ~/comfy/ComfyUI."""
    stated = os.environ.get("COMFYUI_PATH")
    for place in ([Path(stated)] if stated else []) + [ROOT.parent.parent, Path.home() / "comfy" / "ComfyUI"]:
        if (place / "main.py").is_file() and (place / "comfy").is_dir():
            return place
    return None


def find_python(comfyui: Path) -> str | None:
    """The checkout's own interpreter, or this one, whichever has what ComfyUI and the pack need."""
    for name in ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe"):
        if (comfyui / name).is_file():
            return str(comfyui / name)
    has_all = subprocess.run([sys.executable, "-c", NEEDED], capture_output=True).returncode == 0
    return sys.executable if has_all else None


@pytest.fixture(scope="session")
def comfyui() -> Path:
    found = find_comfyui()
    if found is None:
        pytest.skip("no ComfyUI found: set COMFYUI_PATH, or put a checkout at ~/comfy/ComfyUI")
    return found


@pytest.fixture(scope="session")
def python(comfyui: Path) -> str:
    found = find_python(comfyui)
    if found is None:
        pytest.skip(f"{comfyui}: no venv in it, and this Python lacks what ComfyUI needs")
    return found


@pytest.fixture(scope="session")
def quickstart_model() -> Path:
    folder = ROOT / "models" / "diffusers" / "opent2v-quickstart"
    if not (folder / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    return folder
