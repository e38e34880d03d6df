"""Finds or makes a Python environment that has what the pack needs, so that every script here starts with one command.

An interpreter that has everything (ComfyUI's own, say) is used as it is. Otherwise `.venv` in the pack's folder is made
on the first run, and the script starts again in it. Later runs neither start pip nor need a network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import console

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# Marker file: empty when an install begins, "complete" when it ends, so that an interrupted one shows. It also says
# that OpenT2V made the environment; one without it is used, but never wiped or marked.
MARKER = VENV / ".opent2v"
# ComfyUI owns torch, so requirements.txt does not name it; outside ComfyUI it is installed from here.
TORCH = "torch>=2.7"
# Used where pip can find it and there is no NVIDIA driver: a tenth of the size of the CUDA build.
TORCH_CPU = "torch==2.13.0+cpu"


class SetupError(RuntimeError):
    """The environment could not be made; the message says what to do."""


def ensure(extra: Sequence[str] = ()) -> None:
    """Return only in an interpreter that has torch, the pack's requirements and `extra`; else start again in one.

    Raises:
        SetupError: Python is too old, or the environment could not be made.
    """
    # The AV1 encoder writes a page about itself to the terminal for each video; 1 is errors alone. It reads this
    # variable and has no option for it.
    os.environ.setdefault("SVT_LOG", "1")
    if sys.version_info < (3, 10):  # noqa: UP036 - people start these scripts with whatever python3 they have
        raise SetupError(
            f"this is Python {sys.version.split()[0]}; OpenT2V needs 3.10 or newer: start the script with a newer one"
        )
    needed = [TORCH, *requirements(ROOT / "requirements.txt"), *extra]
    if in_venv():
        if missing(needed) or not is_complete():
            install(needed)
        if missing(needed):
            raise SetupError(
                f"{VENV} still lacks {', '.join(missing(needed))} after an install; remove that folder and start again"
            )
    elif missing(needed):
        if not (python_of(VENV).exists() and is_complete()):
            begin()
            install(needed)
        restart(python_of(VENV))


def requirements(path: Path) -> list[str]:
    """The requirement lines of a requirements.txt, without comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def missing(needed: Sequence[str]) -> list[str]:
    """Which requirements this interpreter lacks. Names and lower bounds count; the rest is left to pip."""
    return [requirement for requirement in needed if not _is_met(requirement)]


def in_venv() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def is_complete() -> bool:
    """Whether no install into `.venv` was cut short."""
    return not MARKER.exists() or MARKER.read_text(encoding="utf-8") == "complete\n"


def python_of(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def begin() -> None:
    """Make `.venv`, or mend one that was cut short."""
    python, is_ours = python_of(VENV), MARKER.exists()
    if python.exists() and _succeeds(python, "-m", "pip", "--version"):
        return
    if VENV.exists() and any(VENV.iterdir()) and not is_ours:
        raise SetupError(
            f"{VENV} was not made by OpenT2V and has no working Python with pip; repair or remove it, and start again"
        )
    console.say(f"Making {VENV} ...")
    try:
        if VENV.exists():
            shutil.rmtree(VENV)
        VENV.mkdir()
        MARKER.touch()
    except OSError as error:
        raise SetupError(
            f"cannot write to {VENV} ({error.strerror}); make the folder writable, or start the script with a Python "
            f"that has {TORCH} and the packages of requirements.txt"
        ) from error
    if subprocess.call([sys.executable, "-m", "venv", str(VENV)]) or not _succeeds(python, "-m", "pip", "--version"):
        raise SetupError(
            "python3 could not make a virtual environment with pip (see above); on Debian and Ubuntu, run: "
            "apt install python3-venv"
        )


def install(needed: Sequence[str]) -> None:
    """Install into `.venv`, torch first so that nothing else chooses its build, and mark it complete."""
    pip = [str(python_of(VENV)), "-m", "pip", "install", "--disable-pip-version-check"]
    console.say("Installing what OpenT2V needs; this happens once and takes some minutes.")
    is_ours = MARKER.exists()
    if is_ours:
        MARKER.write_text("", encoding="utf-8")
    wants_cpu = (
        sys.platform == "linux" and not has_nvidia_driver() and not _succeeds(python_of(VENV), "-c", "import torch")
    )
    # It is no error if that build is not found, so pip's message (on stderr) is hidden.
    has_torch = wants_cpu and subprocess.call([*pip, TORCH_CPU], stderr=subprocess.DEVNULL) == 0
    if wants_cpu and not has_torch:
        console.say(
            "No NVIDIA driver here, but pip knows no CPU build of torch: taking the usual one, which is several GB."
        )
        console.say(
            "To save that, stop and set pip's extra-index-url as the CPU choice on PyTorch's install page says."
        )
    others = [requirement for requirement in needed if requirement != TORCH]
    for step in ([] if has_torch else [TORCH], others):
        if step and subprocess.call([*pip, *step]):
            raise SetupError(
                f"pip could not install {' '.join(step)} (see above). The first run needs a package index: check the "
                "network or pip's settings and start again; it goes on from here"
            )
    if is_ours:
        MARKER.write_text("complete\n", encoding="utf-8")


def install_if_possible(optional: Sequence[str]) -> None:
    """Install into `.venv` what only some tests need; they are skipped where pip cannot."""
    if in_venv() and missing(optional):
        pip = [str(python_of(VENV)), "-m", "pip", "install", "--disable-pip-version-check"]
        subprocess.call([*pip, *missing(optional)])


def has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def restart(python: Path) -> None:
    """Start this script again, with the same arguments, in another interpreter; does not return."""
    command = [str(python), *sys.argv]
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(command[0], command)
    try:  # Windows has no true exec: the shell would take the script for ended
        raise SystemExit(subprocess.call(command))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _is_met(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    if name is None or ";" in requirement:  # a condition only pip can judge
        return True
    try:
        installed = _release(version(name[0]))
    except PackageNotFoundError:
        return False
    return all(installed >= _release(bound) for bound in re.findall(r">=\s*([0-9.]+)", requirement))


def _release(text: str) -> tuple[int, ...]:
    numbers = re.match(r"[0-9.]*", text)
    return tuple(int(part) for part in (numbers[0] if numbers else "").split(".") if part)


def _succeeds(*command: str | Path) -> bool:
    return subprocess.call([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
