"""diffusers and transformers: missing, too old, or next to a broken torchaudio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opent2v.loaders import MissingLibrary, libraries, library, library_class

INSTALL = "Install the pack's requirements: pip install -r requirements.txt (with the Python that runs ComfyUI)."


@pytest.fixture(autouse=True)
def _fresh():
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.parametrize("name", ["diffusers", "transformers"])
def test_a_missing_library(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingLibrary) as error:
        library(name)
    assert str(error.value).startswith(f"{name} cannot be imported (") and str(error.value).endswith(INSTALL)


@pytest.mark.parametrize(
    ("version", "is_good"), [("0.34.9", False), ("0.9.1", False), ("0.35.0.dev0", True), ("1.0", True)]
)
def test_the_oldest_diffusers(monkeypatch, version, is_good):
    fake = ModuleType("diffusers")
    fake.__version__ = version
    monkeypatch.setitem(sys.modules, "diffusers", fake)
    if is_good:
        assert library("diffusers") is fake
        return
    with pytest.raises(MissingLibrary) as error:
        library("diffusers")
    assert str(error.value) == f"diffusers {version} is too old, 0.35 or newer is needed. {INSTALL}"


def test_a_class_comes_from_either_library():
    assert library_class("WanTransformer3DModel").__module__.startswith("diffusers.")
    assert library_class("UMT5EncoderModel").__module__.startswith("transformers.")
    with pytest.raises(MissingLibrary) as error:
        library_class("NoSuchModel")
    assert str(error.value) == (
        f"Neither diffusers nor transformers has a class NoSuchModel: they are too old. {INSTALL}"
    )


def test_a_class_whose_import_fails(monkeypatch):
    class Lazy(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError(f"Failed to import {name}")

    monkeypatch.setattr(libraries, "library", lambda name: Lazy(name))
    with pytest.raises(MissingLibrary) as error:
        library_class("WanTransformer3DModel")
    assert "diffusers.WanTransformer3DModel cannot be imported (Failed to import WanTransformer3DModel)" in str(
        error.value
    )


def test_a_broken_torchaudio_does_not_keep_models_from_loading(tmp_path):
    """As with a torchaudio built for another torch: installed by all signs, and raising on import."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('undefined symbol: _ZNK5torch8autograd4Node')")
    (tmp_path / "torchaudio-2.0.0.dist-info").mkdir()
    (tmp_path / "torchaudio-2.0.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.0.0\n"
    )
    script = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(Path(__file__).resolve().parents[2] / "scripts")!r}]
import pack
pack.mount()
from opent2v.loaders import library_class
for name in ("WanTransformer3DModel", "AutoencoderKLWan", "UMT5EncoderModel", "AutoTokenizer"):
    print(library_class(name).__name__)
import transformers
print(transformers.utils.is_torchaudio_available(), "torchaudio" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == [
        "WanTransformer3DModel", "AutoencoderKLWan", "UMT5EncoderModel", "AutoTokenizer", "False", "False",
    ], run.stderr[-2000:]  # fmt: skip
