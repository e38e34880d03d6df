"""Installs the pack as the Manager does, line by line, into clean environments: what was there keeps its version.

Slow, and needs a package index, so only on request: `python3 scripts/test.py -m install`. The environments hold what
the ComfyUI at COMFYUI_PATH asks for, but for torchvision and torchaudio, whose builds must fit torch's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

ROOT = Path(__file__).resolve().parents[2]
TORCH = ("torch", "torchvision", "torchaudio")
# What stands in the environment besides ComfyUI's newest requirements before the pack comes.
STACKS = {
    "newest": [],
    "oldest": ["transformers==4.50.3", "huggingface-hub<1", "diffusers==0.35.2"],
    # As found where ComfyUI was installed before 2026 and no other pack brought diffusers.
    "old without diffusers": ["transformers==4.50.3", "huggingface-hub<1"],
}
RUN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
import console, headless
text = Path({str(ROOT / "workflows" / "quickstart.json")!r}).read_text(encoding="utf-8")
outcome = headless.run(text, ["OpenT2VSampler.steps=2"], models=None, output=Path(sys.argv[1]), stages=console.Stages())
print("saved", outcome.files[0].stat().st_size > 1000)
"""


@pytest.fixture(scope="module")
def host_requirements(request, comfyui) -> list[str]:
    """The lines of a ComfyUI's requirements.txt."""
    if "install" not in (request.config.getoption("markexpr") or ""):
        pytest.skip("slow, and needs a package index: ask for it with -m install")
    lines = (comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = (line.split("#")[0].strip() for line in lines)
    return [line for line in asked if line and line not in TORCH]


@pytest.fixture(scope="module", params=STACKS)
def stack(request, host_requirements, tmp_path_factory) -> tuple[str, Path]:
    """(name, interpreter) of an environment with ComfyUI's requirements and torch, without the pack's."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if pip(python, "install", "torch==2.13.0+cpu").returncode and pip(python, "install", "torch").returncode:
        pytest.skip("pip finds no torch: no package index here")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(STACKS[request.param]))
    # The old versions first: pip would search for long if it had to find out what fits them.
    for lines in (STACKS[request.param], host_requirements):
        done = pip(python, "install", "-c", str(constraints), *lines) if lines else None
        assert done is None or done.returncode == 0, done.stderr[-3000:]
    return request.param, python


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check"]
    return subprocess.run(command, capture_output=True, text=True)


def versions(python: Path) -> dict[str, str]:
    return {one["name"]: one["version"] for one in json.loads(pip(python, "list", "--format=json").stdout)}


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [f"{name} {old} -> {after.get(name)}" for name, old in before.items() if after.get(name) != old]


def make_video(python: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), "-c", RUN, str(output)], capture_output=True, text=True)


def test_line_by_line_changes_no_version_and_the_pack_runs(stack, tmp_path):
    name, python = stack
    before = versions(python)
    requirements = ROOT / "requirements.txt"
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            done = pip(python, "install", line)
            assert done.returncode == 0, done.stderr[-3000:]
    assert changed(before, versions(python)) == []
    run = make_video(python, tmp_path)
    if name == "old without diffusers":
        # pip took a diffusers that is too new for this huggingface-hub, and line by line it could not know.
        # ComfyUI keeps what it needs, and the node's message has the line that mends the rest.
        assert run.returncode and "diffusers cannot be imported (" in run.stderr, run.stderr[-3000:]
        assert f'"{python}" -m pip install -r "{requirements}"' in run.stderr, run.stderr[-3000:]
        assert pip(python, "install", "-r", str(requirements)).returncode == 0
        assert changed(before, versions(python)) == []
        run = make_video(python, tmp_path)
    assert run.stdout.splitlines()[-1:] == ["saved True"], run.stderr[-3000:]
