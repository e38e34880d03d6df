"""The service's queue, with workers that write a text: nothing lost, in order, limits, cancels, deaths, restarts.

Tests: scripts/service_turns.py, scripts/service_app.py. Over real HTTP, with Ray and a model: test_serve.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")
FLOW = (Path(__file__).resolve().parents[2] / "workflows" / "quickstart.json").read_text(encoding="utf-8")


class Workers:
    """Takes the place of Ray Serve's handle. `runs` are the seeds of each run, in their order.

    Args:
        held: runs wait for `gate` before they end.
        deadly: seeds whose run kills its worker, and how often.
    """

    def __init__(self, output: Path, count: int = 1, held: bool = False, deadly: dict[int, int] | None = None):
        self.output, self.count, self.deadly = output, count, deadly or {}
        self.gate, self.runs, self.busy, self.most, self.cancelled = asyncio.Event(), [], 0, 0, []
        if not held:
            self.gate.set()

    def options(self, stream):
        assert stream
        return self

    @property
    def render(self):
        return self

    def remote(self, keys, changes):
        return Stream(self, keys, changes)

    async def make(self, keys, changes):
        from ray.exceptions import RayActorError

        seeds = [int(next(c for c in of_video if ".seed=" in c).rpartition("=")[2]) for of_video in changes]
        self.runs.append(seeds)
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            yield {"stage": "Video Sampler", "value": 1, "total": 2}
            await self.gate.wait()
            for seed in seeds:
                if self.deadly.get(seed, 0) > 0:
                    self.deadly[seed] -= 1
                    raise RayActorError()
            for key, seed in zip(keys, seeds, strict=True):
                (self.output / key / "clip.mp4").write_text(f"seed {seed}")
            results = [{"files": ["clip.mp4"], "remarks": []} for _ in keys]
            yield {"results": results, "loads": 3, "worker": 1}
        finally:
            self.busy -= 1


class Stream:
    def __init__(self, workers, keys, changes):
        self._workers, self._keys, self._events = workers, keys, workers.make(keys, changes)

    def __aiter__(self):
        return self._events

    def cancel(self):
        self._workers.cancelled.append(self._keys)


class Client:
    """Speaks to the app without a socket, from an address."""

    def __init__(self, app, address: str = "10.0.0.1"):
        self._app, self._address = app, address

    async def ask(self, method: str, path: str, body: object = None):
        """(status, body), of JSON or bytes."""
        data, sent = b"" if body is None else json.dumps(body).encode(), []
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http"}
        scope |= {"client": (self._address, 1), "server": ("127.0.0.1", 80), "root_path": ""}
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive():
            if not messages:
                await asyncio.Event().wait()  # the client stays connected
            return messages.pop()

        async def send(message):
            sent.append(message)

        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        is_json = b"json" in dict(sent[0]["headers"]).get(b"content-type", b"")
        return sent[0]["status"], json.loads(content) if is_json else content

    async def post(self, **inputs):
        return await self.ask("POST", "/videos", inputs)

    async def video(self, key: str) -> dict:
        return (await self.ask("GET", f"/videos/{key}"))[1]

    async def until(self, key: str, *states: str) -> dict:
        for _ in range(10_000):
            video = await self.video(key)
            if video["state"] in states:
                return video
            await asyncio.sleep(0)
        raise AssertionError(video)


def app_of(folder: Path, workers: Workers, **settings):
    import service_app

    return service_app.make(
        service_app.Settings(root="", text=FLOW, output=str(folder), replicas=workers.count, **settings), workers
    )


def test_sixty_clients_lose_nothing_and_are_served_in_their_order(tmp_path):
    async def run():
        workers = Workers(tmp_path)
        app = app_of(tmp_path, workers, queue=20, of_client=2)
        taken, refused = [], []

        async def client(number: int):
            client = Client(app, f"10.0.1.{number}")
            for take in range(4):
                seed = number * 10 + take
                while True:
                    status, body = await client.post(seed=seed)
                    if status == 202:
                        break
                    assert status == 429 and "20 videos are waiting" in body["detail"]
                    refused.append(seed)
                    await asyncio.sleep(0)
                taken.append((seed, body["id"], client))
                if take % 2:  # some wait for theirs, some ask for the next one at once
                    await client.until(body["id"], "done")

        await asyncio.gather(*(client(number) for number in range(60)))
        for seed, key, asker in taken:
            await asker.until(key, "done")
            assert await asker.ask("GET", f"/videos/{key}/file") == (200, f"seed {seed}".encode())
        assert len(taken) == 240 and len(refused) > 60
        assert workers.runs == [[seed] for seed, *_ in taken] and workers.most == 1

    asyncio.run(run())


def test_a_client_has_a_limit_of_its_own(tmp_path):
    async def run():
        app = app_of(tmp_path, Workers(tmp_path, held=True), queue=20, of_client=2)
        first, other = Client(app), Client(app, "10.0.0.2")
        assert [(await first.post(seed=n))[0] for n in range(3)] == [202, 202, 429]
        assert (await other.post(seed=9))[0] == 202

    asyncio.run(run())


def test_what_waits_is_made_in_one_run_where_only_texts_and_seed_differ(tmp_path):
    async def run():
        workers = Workers(tmp_path, held=True)
        client = Client(app_of(tmp_path, workers, batch=3))
        keys = [(await client.post(seed=0))[1]["id"]]
        await client.until(keys[0], "running")
        for seed in (1, 2, 3, 4, 5):
            size = {"width": 64} if seed == 2 else {}
            keys.append((await client.post(seed=seed, prompt=f"take {seed}", **size))[1]["id"])
        workers.gate.set()
        ended = [await client.until(key, "done") for key in keys]
        assert workers.runs == [[0], [1, 3, 4], [2], [5]]
        assert [video["inputs"]["seed"] for video in ended] == [0, 1, 2, 3, 4, 5]
        for seed, key in enumerate(keys):
            assert (await client.ask("GET", f"/videos/{key}/file"))[1] == f"seed {seed}".encode()
        metrics = (await client.ask("GET", "/metrics"))[1].decode()
        assert 'opent2v_together_bucket{le="1.0"} 3.0' in metrics and 'opent2v_loads{worker="1"} 3.0' in metrics

    asyncio.run(run())


def test_a_cancelled_video_leaves_the_others_of_its_run(tmp_path):
    async def run():
        workers = Workers(tmp_path, held=True)
        client = Client(app_of(tmp_path, workers, batch=4))
        first = (await client.post(seed=0))[1]["id"]
        await client.until(first, "running")
        second, third = [(await client.post(seed=seed))[1]["id"] for seed in (1, 2)]
        await client.ask("DELETE", f"/videos/{first}")
        await client.until(second, "running")
        assert workers.runs == [[0], [1, 2]] and workers.cancelled == [[first]]
        assert (await client.ask("DELETE", f"/videos/{second}"))[1]["state"] == "cancelled"
        workers.gate.set()
        assert (await client.until(third, "done", "failed"))["state"] == "done"
        assert (await client.video(second))["state"] == "cancelled" and workers.cancelled == [[first]]

    asyncio.run(run())


def test_a_cancel_frees_the_worker(tmp_path):
    async def run():
        workers = Workers(tmp_path, held=True)
        client = Client(app_of(tmp_path, workers))
        keys = [(await client.post(seed=seed))[1]["id"] for seed in (1, 2, 3)]
        await client.until(keys[0], "running")
        await client.ask("DELETE", f"/videos/{keys[1]}")  # waits
        await client.ask("DELETE", f"/videos/{keys[0]}")  # runs
        await client.until(keys[2], "running")
        workers.gate.set()
        await client.until(keys[2], "done")
        assert workers.runs == [[1], [3]] and workers.most == 1

    asyncio.run(run())


def test_a_dead_workers_videos_are_made_again_each_by_itself(tmp_path):
    async def run():
        workers = Workers(tmp_path, held=True, deadly={2: 9})
        client = Client(app_of(tmp_path, workers, batch=4))
        keys = [(await client.post(seed=0))[1]["id"]]
        await client.until(keys[0], "running")
        keys += [(await client.post(seed=seed))[1]["id"] for seed in (1, 2, 3)]
        workers.gate.set()
        ended = [await client.until(key, "done", "failed") for key in keys]
        assert [video["state"] for video in ended] == ["done", "done", "failed", "done"]
        assert "given up: its worker died 3 times" in ended[2]["error"]
        assert workers.runs == [[0], [1, 2, 3], [1], [2], [2], [3]]

    asyncio.run(run())


def test_two_workers_make_two_videos_at_once(tmp_path):
    async def run():
        workers = Workers(tmp_path, count=2, held=True, deadly={1: 1})
        client = Client(app_of(tmp_path, workers))
        keys = [(await client.post(seed=seed))[1]["id"] for seed in (1, 2, 3)]
        await client.until(keys[1], "running")
        assert (await client.video(keys[2]))["place"] == 1
        workers.gate.set()
        for key in keys:
            await client.until(key, "done")
        assert workers.runs[:2] == [[1], [2]] and workers.runs.count([1]) == 2 and workers.most == 2

    asyncio.run(run())


def test_a_restart_keeps_what_is_finished_and_says_what_was_cut(tmp_path):
    async def run():
        workers = Workers(tmp_path)
        client = Client(app_of(tmp_path, workers))
        done = (await client.post(seed=1))[1]["id"]
        await client.until(done, "done")
        workers.gate.clear()
        cut = [(await client.post(seed=seed))[1]["id"] for seed in (2, 3)]
        await client.until(cut[0], "running")
        after = Client(app_of(tmp_path, Workers(tmp_path)))
        assert (await after.ask("GET", f"/videos/{done}/file"))[1] == b"seed 1"
        for key in cut:
            video = await after.video(key)
            assert video["state"] == "cut" and "ask for it again" in video["error"]

    asyncio.run(run())
