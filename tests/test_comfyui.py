"""Which ComfyUI the tests take, and that a stated one that is broken is an error. Tests: tests/comfyui.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from opent2v.tests import comfyui


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('# made by a script\n__version__ = "0.33.0"\n', encoding="utf-8")
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").touch()
    return folder


def test_the_stated_one_is_taken_and_described(checkout, monkeypatch):
    monkeypatch.chdir(checkout.parent)
    monkeypatch.setenv("COMFYUI_PATH", "ComfyUI")
    assert comfyui.find_comfyui() == checkout
    assert comfyui.described() == f"0.33.0, {checkout}, {checkout / 'venv' / 'bin' / 'python'}"


def test_a_stated_one_that_is_not_there_is_an_error(checkout, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(checkout / "custom_nodes"))
    with pytest.raises(comfyui.BrokenHost, match=r"COMFYUI_PATH is .*custom_nodes, and no ComfyUI is there"):
        comfyui.find_comfyui()
    assert comfyui.described().startswith("error: COMFYUI_PATH is")


def test_without_one_the_header_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(comfyui, "ROOT", tmp_path / "a" / "b" / "pack")
    monkeypatch.setattr(comfyui.Path, "home", lambda: tmp_path)
    assert comfyui.find_comfyui() is None
    assert comfyui.described() == "none found; tests that need one are skipped"
