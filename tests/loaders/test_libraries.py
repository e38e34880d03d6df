"""diffusers and transformers: missing, too old, or next to a broken torchaudio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opent2v.loaders import MissingLibrary, libraries, library, library_class

ROOT = Path(__file__).resolve().parents[2]
INSTALL = f'Install what the pack needs and restart: "{sys.executable}" -m pip install -r "{ROOT / "requirements.txt"}"'


@pytest.fixture(autouse=True)
def _fresh():
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.parametrize("asked", ["diffusers", "transformers"])
@pytest.mark.parametrize("name", ["diffusers", "transformers", "safetensors"])
def test_a_missing_library_is_named_whichever_is_asked_for(monkeypatch, name, asked):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingLibrary) as error:
        library(asked)
    assert str(error.value).startswith(f"{name} cannot be imported (") and str(error.value).endswith(INSTALL)


def test_a_library_that_refuses_its_neighbours(monkeypatch):
    """As transformers 4 does next to a huggingface-hub of today."""
    import_module = libraries.import_module

    def refuse(name):
        if name == "transformers":
            raise ImportError("huggingface-hub<1.0 is required, found 2.4.0")
        return import_module(name)

    monkeypatch.setattr(libraries, "import_module", refuse)
    with pytest.raises(MissingLibrary) as error:
        library("diffusers")
    assert str(error.value) == (
        f"transformers cannot be imported (huggingface-hub<1.0 is required, found 2.4.0). {INSTALL}"
    )


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("diffusers", "0.34.9", "0.35"),
        ("diffusers", "0.9.1", "0.35"),
        ("diffusers", "0.35.0.dev0", None),
        ("diffusers", "1.0", None),
        ("transformers", "4.49.0", "4.50"),
        ("transformers", "4.50.0", None),
        ("transformers", "5.0.0rc1", None),
        ("safetensors", "0.4.2", "0.4.3"),
        ("safetensors", "0.4.3", None),
    ],
)
def test_the_oldest_versions(monkeypatch, name, version, wanted):
    installed = {"safetensors": "0.8.0", "transformers": "5.23.0", "diffusers": "0.42.1", name: version}

    def fake(name):
        module = ModuleType(name)
        module.__version__ = installed[name]
        return module

    monkeypatch.setattr(libraries, "import_module", fake)
    if wanted is None:
        assert library(name).__version__ == version
        return
    with pytest.raises(MissingLibrary) as error:
        library("diffusers")
    assert str(error.value) == f"{name} {version} is too old, {wanted} or newer is needed. {INSTALL}"


def test_the_oldest_versions_are_those_of_the_requirements():
    asked = dict(line.split(">=") for line in (ROOT / "requirements.txt").read_text().splitlines() if ">=" in line)
    for name, oldest in libraries.OLDEST.items():
        assert libraries.release(asked[name]) == oldest


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
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / "scripts")!r}]
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
