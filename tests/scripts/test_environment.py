"""The environment: found, made once, mended when an install was cut short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
_AV1 = """
import sys
sys.path.insert(0, {scripts!r})
import environment
environment.missing = lambda needed: []
environment.ensure()
import av
stream = av.open({file!r}, "w").add_stream("libsvtav1", rate=24)
stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
stream.encode(av.VideoFrame(64, 64, "yuv420p"))
stream.encode(None)
"""


class Restarted(Exception):
    """Stands for starting again in another interpreter."""


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The module on an empty pack, its commands recorded in `commands` and succeeding unless `fails` says otherwise."""
    import environment

    (tmp_path / "requirements.txt").write_text("numpy  # arrays\n\n# a comment\nmissing-thing>=1.2\n")
    monkeypatch.setenv("SVT_LOG", "1")  # as it is set, and taken back behind the test
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "MARKER", tmp_path / ".venv" / ".opent2v")
    monkeypatch.setattr(environment, "commands", commands := [], raising=False)
    monkeypatch.setattr(environment, "fails", lambda command: False, raising=False)
    monkeypatch.setattr(environment, "has_nvidia_driver", lambda: True)

    def call(command, **_):
        commands.append(" ".join(command[1:]))
        if command[1:3] == ["-m", "venv"]:
            python = environment.python_of(Path(command[3]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return int(environment.fails(commands[-1]))

    def restart(python):
        raise Restarted(python)

    monkeypatch.setattr(environment.subprocess, "call", call)
    monkeypatch.setattr(environment, "restart", restart)
    return environment


def installs(environment) -> list[str]:
    start = "-m pip install --disable-pip-version-check "
    return [command.removeprefix(start) for command in environment.commands if command.startswith(start)]


def test_an_interpreter_that_has_everything_is_used_as_it_is(environment):
    (environment.ROOT / "requirements.txt").write_text("numpy\n")
    environment.ensure(["pytest>=7"])
    assert environment.commands == []
    assert not environment.VENV.exists()


def test_the_first_run_makes_an_environment_and_starts_again_in_it(environment):
    with pytest.raises(Restarted, match=r"\.venv"):
        environment.ensure(["extra"])
    assert environment.commands[0].startswith("-m venv ")
    assert installs(environment) == ["torch>=2.7", "numpy missing-thing>=1.2 extra"]
    assert environment.MARKER.read_text() == "complete\n"


def test_the_second_run_starts_no_pip(environment):
    with pytest.raises(Restarted):
        environment.ensure()
    environment.commands.clear()
    with pytest.raises(Restarted):
        environment.ensure()
    assert environment.commands == []


def test_an_install_that_was_cut_short_is_completed(environment):
    environment.fails = lambda command: "missing-thing" in command
    with pytest.raises(
        environment.SetupError, match=r"pip could not install numpy missing-thing>=1\.2 .*goes on from here"
    ):
        environment.ensure()
    assert environment.MARKER.read_text() == ""
    environment.fails = lambda command: False
    environment.commands.clear()
    with pytest.raises(Restarted):
        environment.ensure()
    assert installs(environment) == ["torch>=2.7", "numpy missing-thing>=1.2"]
    assert not any(command.startswith("-m venv") for command in environment.commands)


def test_a_half_made_environment_is_made_anew(environment):
    environment.VENV.mkdir()
    environment.MARKER.touch()
    (environment.VENV / "rest").touch()
    with pytest.raises(Restarted):
        environment.ensure()
    assert not (environment.VENV / "rest").exists()
    assert environment.MARKER.read_text() == "complete\n"


def test_a_broken_environment_of_somebody_else_is_not_touched(environment):
    environment.VENV.mkdir()
    (environment.VENV / "theirs").touch()
    with pytest.raises(environment.SetupError, match="was not made by OpenT2V and has no working Python with pip"):
        environment.ensure()
    assert (environment.VENV / "theirs").exists()


def test_a_working_environment_of_somebody_else_is_used(environment):
    python = environment.python_of(environment.VENV)
    python.parent.mkdir(parents=True)
    python.touch()
    with pytest.raises(Restarted):
        environment.ensure()
    assert environment.commands == []


def test_inside_the_environment_what_is_missing_is_installed(environment, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(environment.VENV))
    environment.VENV.mkdir()
    with pytest.raises(
        environment.SetupError, match=r"still lacks missing-thing>=1\.2 after an install; remove that folder"
    ):
        environment.ensure()
    assert installs(environment) == ["torch>=2.7", "numpy missing-thing>=1.2"]


def test_without_a_way_to_make_environments_the_way_out_is_told(environment):
    environment.fails = lambda command: "venv" in command
    with pytest.raises(environment.SetupError, match="apt install python3-venv"):
        environment.ensure()


def test_an_old_python_is_refused(environment, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(environment.SetupError, match=r"OpenT2V needs 3\.10 or newer"):
        environment.ensure()


@pytest.mark.skipif(sys.platform != "linux", reason="CPU builds of torch are looked for on Linux only")
@pytest.mark.parametrize("is_offered", [True, False])
def test_without_an_nvidia_driver_a_cpu_build_is_preferred(environment, monkeypatch, is_offered):
    monkeypatch.setattr(environment, "has_nvidia_driver", lambda: False)
    environment.fails = lambda command: "import torch" in command or ("+cpu" in command and not is_offered)
    with pytest.raises(Restarted):
        environment.ensure()
    assert installs(environment)[:-1] == [environment.TORCH_CPU] + ([] if is_offered else ["torch>=2.7"])


@pytest.mark.parametrize(
    ("requirement", "is_missing"),
    [
        ("numpy", False),
        ("NumPy>=1.0", False),
        ("numpy>=999", True),
        ("torch>=2.7", False),
        ("no-such-thing", True),
        ('no-such-thing; python_version < "3"', False),
    ],
)
def test_requirements_are_met_by_name_and_lower_bound(environment, requirement, is_missing):
    assert environment.missing([requirement]) == ([requirement] if is_missing else [])


def test_versions_are_compared_as_numbers(environment):
    assert environment._release("2.13.0+cpu") > environment._release("2.7")
    assert environment._release("4.10.0.dev1") > environment._release("4.9")


def test_the_av1_encoder_writes_no_page_about_itself(tmp_path):
    av = pytest.importorskip("av")
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV has no SVT-AV1")
    code = _AV1.format(scripts=str(SCRIPTS), file=str(tmp_path / "clip.mp4"))
    silent = {name: value for name, value in os.environ.items() if name != "SVT_LOG"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=silent, check=True)
    assert "Svt[info]" not in run.stderr
