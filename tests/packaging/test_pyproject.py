"""pyproject.toml says what the registry and the Manager read, and says the same as requirements.txt."""

from __future__ import annotations

import importlib.util
import re
import struct
import sys
import types
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # comes with pytest there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/OpenT2V/opent2v"
RAW = "https://raw.githubusercontent.com/OpenT2V/opent2v/main/"


@pytest.fixture(scope="module")
def data() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_fields_of_the_registry(data):
    project, comfy = data["project"], data["tool"]["comfy"]
    # Read as they stand: comfy-cli asks no build tool, so nothing may be "dynamic".
    assert "dynamic" not in project
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["name"]) and len(project["name"]) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["description"] and (ROOT / project["license"]["file"]).is_file()
    assert re.fullmatch(r">=3\.\d+", project["requires-python"])
    assert project["urls"]["Repository"] == REPOSITORY
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert comfy["PublisherId"] and comfy["DisplayName"] == "OpenT2V"


@pytest.mark.parametrize(
    ("version", "is_refused"), [("0.3.64", True), ("0.7.9", True), ("0.8.0", False), ("nightly", False)]
)
def test_a_comfyui_older_than_stated_is_told_what_to_do(data, monkeypatch, version, is_refused):
    monkeypatch.setitem(sys.modules, "comfyui_version", types.SimpleNamespace(__version__=version))
    spec = importlib.util.spec_from_file_location("floor", ROOT / "host" / "comfyui" / "floor.py")
    floor = importlib.util.module_from_spec(spec)
    if is_refused:
        with pytest.raises(ImportError, match=rf"^This is ComfyUI {version}; OpenT2V needs 0.8.0 or newer. Update"):
            spec.loader.exec_module(floor)
    else:
        spec.loader.exec_module(floor)
    assert data["tool"]["comfy"]["requires-comfyui"] == f">={floor.FLOOR}"


def test_the_classifiers_are_ones_the_registry_knows(data):
    # One unknown value, and comfy-cli drops all of its kind.
    known = {
        "Operating System :: OS Independent",
        *(f"Operating System :: {name}" for name in ("Microsoft :: Windows", "POSIX :: Linux", "MacOS")),
        *(f"Environment :: GPU :: {name}" for name in ("NVIDIA CUDA", "AMD ROCm", "Intel Arc", "Apple Metal")),
        "Environment :: NPU :: Huawei Ascend",
    }
    stated = [one for one in data["project"]["classifiers"] if not one.startswith("License ::")]
    assert set(stated) <= known
    assert {one.split(" ::")[0] for one in stated} == {"Operating System", "Environment"}


def test_dependencies_are_those_of_requirements_txt(data):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert data["project"]["dependencies"] == asked
    for line in asked:
        # No upper bounds: the host owns what is installed. No torch: its build is the host's.
        assert re.fullmatch(r"[a-z]+(\[[a-z]+\])?(>=[0-9.]+)?", line), line
        assert not line.startswith("torch")


def test_transformers_stands_before_and_after_diffusers():
    """CONTRIBUTING.md, "Dependencies": the first keeps `pip -r`, the second the Manager from breaking an old host."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [re.match(r"[a-z]+", line)[0] for line in lines if line and not line.startswith("#")]
    assert asked[:3] == ["transformers", "diffusers", "transformers"]


@pytest.mark.parametrize(("field", "width", "height"), [("Icon", 400, 400), ("Banner", 1260, 540)])
def test_the_pictures(data, field, width, height):
    url = data["tool"]["comfy"][field]
    assert url.startswith(RAW)
    head = (ROOT / url.removeprefix(RAW)).read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (width, height)
    assert field != "Icon" or width == height <= 400
    assert field != "Banner" or width * 9 == height * 21


def test_the_version_has_its_changelog(data):
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", data["project"]["version"]]


def test_readme_names_the_repository():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<this repository>" not in text and REPOSITORY in text
