"""Without PyAV, or with one that is too old, media still imports; writing a file says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from opent2v.media import VideoWriter, pyav

ROOT = Path(__file__).resolve().parents[2]
INSTALL = f'Install what the pack needs and restart: "{sys.executable}" -m pip install -r "{ROOT / "requirements.txt"}"'


@pytest.fixture(autouse=True)
def _fresh():
    pyav._pyav.cache_clear()
    yield
    pyav._pyav.cache_clear()


def test_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(pyav.MissingPyAV) as error, VideoWriter(tmp_path, "clip", fps=16, width=8, height=8):
        pass
    assert str(error.value).startswith("av (PyAV) cannot be imported (") and str(error.value).endswith(INSTALL)
    assert not list(tmp_path.iterdir())


def test_too_old(monkeypatch, tmp_path):
    import av

    monkeypatch.setattr(av, "__version__", "14.1.0")
    with pytest.raises(pyav.MissingPyAV) as error, VideoWriter(tmp_path, "clip", fps=16, width=8, height=8):
        pass
    assert str(error.value) == f"av (PyAV) 14.1.0 is too old, 14.2 or newer is needed. {INSTALL}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["14.2.0", "18.1.0", "15.0.0rc1"])
def test_new_enough(monkeypatch, version):
    import av

    monkeypatch.setattr(av, "__version__", version)
    assert pyav.av.open is av.open


def test_the_oldest_version_is_that_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert f"av>={'.'.join(map(str, pyav.OLDEST))}" in lines
