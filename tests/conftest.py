"""Mounts the pack as `opent2v` without running the root module, and keeps runs repeatable."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

_spec = importlib.util.spec_from_file_location("opent2v_pack", ROOT / "scripts" / "pack.py")
assert _spec is not None and _spec.loader is not None
_pack = importlib.util.module_from_spec(_spec)
sys.modules["opent2v_pack"] = _pack
_spec.loader.exec_module(_pack)
_pack.mount("opent2v")


def pytest_report_header() -> str:
    from opent2v.tests.comfyui import described

    return f"ComfyUI: {described()}"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _plain_settings(tmp_path: Path):
    """Every test gets an output folder of its own."""
    from opent2v.host import embedded

    embedded.configure(output=tmp_path / "output")
    yield
    embedded.configure()
