"""ComfyUI's own page in a headless Chromium; skipped with a reason where ComfyUI, Chromium or playwright is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opent2v.tests.browser.pages import Browser
from opent2v.tests.comfyui import comfyui, python, quickstart_model
from opent2v.tests.host.server import Server

__all__ = ["comfyui", "python", "quickstart_model"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_folders: list[Path] = []


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser: CHROMIUM_PATH, or one of the usual names on PATH."""
    pytest.importorskip("playwright", reason="no browser tests: pip install playwright")
    stated = os.environ.get("CHROMIUM_PATH")
    found = next(filter(None, map(shutil.which, [stated] if stated else NAMES)), None)
    if found is None and stated:
        pytest.fail(f"CHROMIUM_PATH is {stated}, and no program is there", pytrace=False)
    if found is None:
        pytest.skip(f"no browser tests: none of {', '.join(NAMES)} is installed; or set CHROMIUM_PATH")
    return found


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where each stage leaves a picture: OPENT2V_SCREENSHOTS, or pytest's temporary folder."""
    stated = os.environ.get("OPENT2V_SCREENSHOTS")
    folder = Path(stated).resolve() if stated else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    _folders.append(folder)
    return folder


def pytest_terminal_summary(terminalreporter) -> None:
    for folder in _folders:
        terminalreporter.write_line(f"screenshots of ComfyUI's page: {folder}")


@pytest.fixture(scope="session")
def server(chromium: str, comfyui: Path, python: str, quickstart_model: Path, tmp_path_factory) -> Iterator[Server]:
    with Server(comfyui, python, tmp_path_factory.mktemp("comfyui") / "base") as running:
        (running.base / "input").mkdir(exist_ok=True)
        shutil.copy(comfyui / "input" / "example.png", running.base / "input")  # which every ComfyUI comes with
        yield running


@pytest.fixture(scope="session")
def browser(chromium: str, screenshots: Path) -> Iterator[Browser]:
    with Browser(chromium, screenshots) as opened:
        yield opened
