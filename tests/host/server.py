"""A real ComfyUI server in a folder of its own, with this pack as its only custom node."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


class Server:
    """Started on enter, stopped on exit. Folders: `base`/output, /input, /models, /custom_nodes.

    `pack` False: a ComfyUI as it comes, without this pack.
    """

    def __init__(self, comfyui: Path, python: str, base: Path, *options: str, pack: bool = True):
        self.base = base
        self.log = base / "server.log"
        (base / "custom_nodes").mkdir(parents=True)
        if pack:
            (base / "custom_nodes" / "OpenT2V").symlink_to(ROOT, target_is_directory=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [python, str(comfyui / "main.py"), "--cpu", "--port", str(self.port)]
        self.command += ["--base-directory", str(base), "--database-url", f"sqlite:///{base / 'comfyui.db'}", *options]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.base)
        for _ in range(1500):
            if self.process.poll() is not None:
                raise AssertionError(f"ComfyUI stopped while starting:\n{self.tail()}")
            try:
                self.get("/system_stats")
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise AssertionError(f"ComfyUI did not answer within five minutes:\n{self.tail()}")

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def tail(self, characters: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def post(self, path: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> str:
        """Queue an API-format prompt, with the page's workflow beside it; returns its id."""
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        answer = self.post("/prompt", {"prompt": prompt, "client_id": "test", "extra_data": extra})
        assert "prompt_id" in answer, answer
        return answer["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 180) -> dict[str, Any]:
        """The history entry of a finished prompt, however it ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            assert self.process is not None and self.process.poll() is None, f"ComfyUI died:\n{self.tail()}"
            time.sleep(0.1)
        raise AssertionError(f"no result after {seconds} s:\n{self.tail()}")
