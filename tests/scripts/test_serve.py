"""The service over real HTTP, on the bundled model.

Tests: scripts/serve.py, scripts/service_app.py, scripts/service_jobs.py, scripts/service_worker.py,
scripts/service_inputs.py
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")
ROOT = Path(__file__).resolve().parents[2]
KEY = "a key"
LONG = {"steps": 1000, "frames": 49, "width": 128, "height": 128}  # many minutes


class Service:
    """A service process; `start` and `kill` may be called again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        (folder / "key").write_text(KEY)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        flags = ["--output", self.folder / "videos", "--port", self.port, "--cores", 1, "--queue", 4]
        flags += ["--key-file", self.folder / "key", "--limit", "cfg=30", "--limit", "width=128"]
        command = [sys.executable, ROOT / "scripts" / "serve.py", *flags]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def kill(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # Ray's processes end by themselves a moment after a killed driver
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                time.sleep(0.2)
            except OSError:
                return
        raise AssertionError("the port is still open a minute after the service was killed")

    def ask(self, method: str, path: str, body: object = None, key: str = KEY, **headers: str):
        """(status, headers, body)."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-API-Key": key, "Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def get(self, path: str, **headers: str):
        return self.ask("GET", path, **headers)

    def post(self, **inputs: object):
        status, headers, body = self.ask("POST", "/videos", {"frames": 5, **inputs})
        return status, json.loads(body), headers

    def video(self, key: str) -> dict:
        return json.loads(self.get(f"/videos/{key}")[2])

    def until(self, key: str, *states: str, seconds: float = 180) -> dict:
        deadline = time.monotonic() + seconds
        while (video := self.video(key))["state"] not in states:
            assert time.monotonic() < deadline, video
            time.sleep(0.1)
        return video


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service"))
    service.start()
    yield service
    service.kill()


def test_a_video_from_request_to_file(service):
    status, video, headers = service.post(prompt="a red circle", seed=3, steps=1)
    assert status == 202 and video["state"] == "waiting" and headers["Location"] == f"/videos/{video['id']}"
    done = service.until(video["id"], "done", "failed")
    assert done["state"] == "done", done
    assert any("1 steps" in remark for remark in done["remarks"])
    status, headers, whole = service.get(done["file"])
    assert status == 200 and whole[4:8] == b"ftyp" and headers["Content-Type"] == "video/mp4"
    status, headers, part = service.get(done["file"], Range="bytes=4-7")
    assert status == 206 and part == b"ftyp" and headers["Content-Range"] == f"bytes 4-7/{len(whole)}"
    assert service.get(done["file"], Range=f"bytes={len(whole)}-")[0] == 416
    assert json.loads(service.ask("DELETE", f"/videos/{done['id']}")[2])["state"] == "removed"
    assert service.get(f"/videos/{done['id']}")[0] == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"prompt": "a", "sede": 1}, 422, "Extra inputs are not permitted"),
        ({"seed": "7"}, 422, "valid integer"),
        ({"seed": True}, 422, "valid integer"),
        ({"seed": -1}, 422, "greater than or equal to 0"),
        ({"width": 256}, 422, "less than or equal to 128"),
        ({"cfg": 1e999}, 422, "finite number"),
        (b'{"seed": NaN}', 422, "valid integer"),
        ({"cfg": 31}, 422, "less than or equal to 30"),
        ({"prompt": "a" * 4001}, 422, "at most 4000"),
        (b"{", 422, "JSON"),
        (b"[]", 422, "dict"),
        (b'{"prompt": "' + b"a" * 70_000 + b'"}', 413, "the body is too large"),
    ],
)
def test_requests_that_are_refused(service, body, status, said):
    answer = service.ask("POST", "/videos", body)
    assert answer[0] == status and said in answer[2].decode()
    assert json.loads(service.get("/health")[2])["waiting"] == 0


@pytest.mark.parametrize(
    "path", ["/videos/..", "/videos/%2e%2e%2fkey/file", "/videos/..%2f..%2fkey/file", "/videos/no"]
)
def test_no_path_leads_out(service, path):
    status, _, body = service.get(path)
    assert status == 404 and KEY not in body.decode()


def test_without_the_key_nothing_is_answered(service):
    for method, path in (("GET", "/inputs"), ("POST", "/videos"), ("GET", "/videos/x"), ("DELETE", "/videos/x")):
        assert service.ask(method, path, {} if method == "POST" else None, key="wrong")[0] == 401


def test_inputs_and_openapi_say_the_same(service):
    inputs = json.loads(service.get("/inputs")[2])
    assert set(inputs["schema"]["properties"]) >= {"prompt", "seed", "width", "steps", "cfg"}
    assert inputs["values"]["prompt"] == "a red triangle moving to the right on a black background"
    api = json.loads(service.get("/openapi.json")[2])
    described = api["components"]["schemas"]["VideoRequest"]["properties"]
    kinds = [{name: entry["anyOf"][0]["type"] for name, entry in part.items()} for part in
             (described, inputs["schema"]["properties"])]  # fmt: skip
    assert kinds[0] == kinds[1] and described["width"]["anyOf"][0]["maximum"] == 128
    assert "429" in api["paths"]["/videos"]["post"]["responses"]


def test_metrics_are_prometheus_text(service):
    text = service.get("/metrics")[2].decode()
    assert "# TYPE opent2v_waiting gauge" in text and 'opent2v_videos_total{state="done"} 1.0' in text


def test_limit_order_and_cancel(service):
    running = service.post(seed=1, **LONG)[1]["id"]
    service.until(running, "running")
    waiting = [service.post(steps=1, seed=seed)[1]["id"] for seed in (2, 3, 4)]
    status, body, headers = service.post(steps=1)
    assert status == 429 and headers["Retry-After"] == "10" and "4 videos are waiting" in body["detail"]
    assert [service.video(key)["place"] for key in waiting] == [1, 2, 3]
    cancelled = json.loads(service.ask("DELETE", f"/videos/{waiting[1]}")[2])
    assert cancelled["state"] == "cancelled"
    began = time.monotonic()
    service.ask("DELETE", f"/videos/{running}")
    ended = [service.until(key, "done", "failed") for key in (waiting[0], waiting[2])]
    assert [video["state"] for video in ended] == ["done", "done"]
    assert ended[0]["ended"] < ended[1]["ended"]
    assert time.monotonic() - began < 60  # so many steps would take longer
    assert service.video(running)["state"] == service.video(waiting[1])["state"] == "cancelled"


def test_a_restart_keeps_what_is_finished_and_says_what_was_cut(service):
    finished = service.post(steps=1, seed=9)[1]["id"]
    whole = service.get(service.until(finished, "done")["file"])[2]
    cut = service.post(seed=1, **LONG)[1]["id"]
    service.until(cut, "running")
    waiting = service.post(steps=1, seed=10)[1]["id"]
    service.kill(signal.SIGKILL)
    service.start()
    assert service.get(f"/videos/{finished}/file")[2] == whole
    for key in (cut, waiting):
        video = service.video(key)
        assert video["state"] == "cut" and "ask for it again" in video["error"]
    again = service.post(steps=1, seed=10)[1]["id"]
    assert service.until(again, "done", "failed")["state"] == "done"


def test_a_workflow_that_cannot_be_served_is_told_at_once(tmp_path):
    (tmp_path / "flow.json").write_text('{"1": {"class_type": "LoadImage", "inputs": {"image": "no.png"}}}')
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--workflow", str(tmp_path / "flow.json")]
    run = subprocess.run([*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and "no node saves or shows anything" in run.stderr
