"""Finds a real ComfyUI and its Python; a test that asks for one is skipped with a reason when there is none.

Where COMFYUI_PATH states one, what is missing there is an error: a run that asks for a host never passes without it.

The fixtures are for the conftest.py of each folder that needs them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = "import torch, aiohttp, diffusers, transformers, av"


class BrokenHost(RuntimeError):
    """COMFYUI_PATH names no ComfyUI that can run; the message says what is missing."""


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, or else the folder two up (the pack lies in custom_nodes), or ~/comfy/ComfyUI.

    Raises:
        BrokenHost: COMFYUI_PATH is set and there is no ComfyUI.
    """
    stated = os.environ.get("COMFYUI_PATH")
    places = [Path(stated).resolve()] if stated else [ROOT.parent.parent, Path.home() / "comfy" / "ComfyUI"]
    for place in places:
        if (place / "main.py").is_file() and (place / "comfy").is_dir():
            return place
    if stated:
        raise BrokenHost(f"COMFYUI_PATH is {stated}, and no ComfyUI is there (its main.py and comfy/)")
    return None


def version_of(comfyui: Path) -> str:
    """As the checkout's own comfyui_version.py says it."""
    file = comfyui / "comfyui_version.py"
    found = re.search(r'__version__ = "([^"]+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return found[1] if found else "of unknown version"


def described() -> str:
    """The ComfyUI that a run of tests would use, for pytest's header."""
    try:
        comfyui = find_comfyui()
        python = find_python(comfyui) if comfyui else None
    except BrokenHost as error:
        return f"error: {error}"
    if comfyui is None:
        return "none found; tests that need one are skipped"
    return f"{version_of(comfyui)}, {comfyui}, {python or 'and no Python that has what it needs'}"


def find_python(comfyui: Path) -> str | None:
    """The checkout's own interpreter, or this one where that has what ComfyUI and the pack need."""
    for name in ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe"):
        if (comfyui / name).is_file():
            return str(comfyui / name)
    has_all = subprocess.run([sys.executable, "-c", NEEDED], capture_output=True).returncode == 0
    return sys.executable if has_all else None


@pytest.fixture(scope="session")
def comfyui() -> Path:
    try:
        found = find_comfyui()
    except BrokenHost as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    if found is None:
        pytest.skip("no ComfyUI found: set COMFYUI_PATH, or put a checkout at ~/comfy/ComfyUI")
    return found


@pytest.fixture(scope="session")
def python(comfyui: Path) -> str:
    found = find_python(comfyui)
    if found is None:
        message = f"{comfyui}: no venv in it, and this Python lacks what ComfyUI needs"
        pytest.fail(message, pytrace=False) if os.environ.get("COMFYUI_PATH") else pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def quickstart_model() -> Path:
    folder = ROOT / "models" / "diffusers" / "opent2v-quickstart"
    if not (folder / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    return folder
