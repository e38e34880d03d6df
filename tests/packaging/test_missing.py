"""Whatever is missing, the pack loads with every node, and running it says the one line that mends it.

Each case is a process of its own, which starts a copy of exactly what the registry's archive holds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.host.server import Server
from opent2v.tests.packaging.archive import shipped

ROOT = Path(__file__).resolve().parents[2]
PUT_IT_HERE = "put a diffusers folder into models/diffusers"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The unpacked archive."""
    folder = tmp_path_factory.mktemp("archive") / "a name with spaces"
    for file in shipped(ROOT):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, folder / file)
    return folder


def start(pack: Path, output: Path, *hidden: str) -> dict:
    order = {"pack": str(pack), "output": str(output), "hidden": hidden}
    output.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("start.py")), json.dumps(order)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    answer = json.loads(run.stdout.splitlines()[-1])
    assert answer["nodes"] == list(NODE_CLASS_MAPPINGS)
    return answer


def mend(pack: Path) -> str:
    return (
        f'Install what the pack needs and restart: "{sys.executable}" -m pip install -r "{pack / "requirements.txt"}"'
    )


def bundled(pack: Path) -> Path:
    return pack / "models" / "diffusers" / "opent2v-quickstart"


def test_the_archive_alone_makes_a_video(archive, tmp_path):
    if not (bundled(archive) / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    assert start(archive, tmp_path / "output")["error"] == ""


@pytest.mark.parametrize(
    ("hidden", "node", "name"),
    [
        ("safetensors", "Load Video Model", "failed: safetensors"),
        ("transformers", "Load Video Model", "failed: transformers"),
        ("diffusers", "Load Video Model", "failed: diffusers"),
        # Told before anything runs, not after the last step.
        ("av", "Save Video File", "(OpenT2VSaveVideo): av (PyAV)"),
    ],
)
def test_a_library_is_missing(archive, tmp_path, hidden, node, name):
    if not (bundled(archive) / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    error = start(archive, tmp_path / "output", hidden)["error"]
    said = f"{name} cannot be imported (No module named '{hidden}'). {mend(archive)}"
    assert node in error and error.endswith(said), error
    assert not list((tmp_path / "output").rglob("*.*"))


def test_no_model_in_any_folder(archive, tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree(archive, pack, ignore=lambda folder, names: ["models"] if Path(folder) == archive else [])
    answer = start(pack, tmp_path / "output")
    assert answer["models"] == [PUT_IT_HERE]
    assert "'opent2v-quickstart'" in answer["error"] and PUT_IT_HERE in answer["error"], answer["error"]


@pytest.mark.host
def test_a_comfyui_without_diffusers(comfyui, python, tmp_path, monkeypatch):
    (tmp_path / "hide").mkdir()
    here = json.dumps(str(Path(__file__).parent))
    (tmp_path / "hide" / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({here})\nfrom start import hide\nsys.path.pop()\nhide(['diffusers'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hide"))
    prompt = json.loads((ROOT / "tests/workflows_of_old/0.1.0/quickstart_api.json").read_text(encoding="utf-8"))
    with Server(comfyui, python, tmp_path / "base") as server:
        known = server.get("/object_info")
        assert [name for name in NODE_CLASS_MAPPINGS if name not in known] == []
        assert "IMPORT FAILED" not in server.log.read_text(errors="replace")
        entry = server.wait(server.queue(prompt))
    error = next(m[1] for m in entry["status"]["messages"] if m[0] == "execution_error")
    assert error["node_type"] == "OpenT2VLoadModel"
    said = "diffusers cannot be imported (No module named 'diffusers'). Install what the pack needs and restart: "
    assert error["exception_message"].startswith(f'{said}"{python}" -m pip install -r "'), error
