"""Many clients at once on a service of this machine: nothing lost, first come first served, 429 beyond the limit.

python3 scripts/bench/serve.py --clients 200 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import console
import environment
import pack

BODY = {"prompt": "a red circle", "steps": 1, "frames": 5}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--queue", type=int, default=150, help="of the service (default: 150)")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1], help="one service after another (default: 1)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="one service after another (default: 1)")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    environment.ensure(environment.requirements(pack.ROOT / "requirements-cluster.txt"))
    kinds = itertools.product(arguments.replicas, arguments.batch)
    for number, (replicas, batch) in enumerate(kinds):
        print(f"{replicas} workers, up to {batch} videos in a run:", flush=True)
        _serve(arguments, replicas, batch, arguments.port + number)
    return 0


def _serve(arguments: argparse.Namespace, replicas: int, batch: int, port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--output", folder, "--port", port, "--queue", arguments.queue, "--cores", 1, "--replicas", replicas]
        flags += ["--batch", batch]
        command = [sys.executable, pack.ROOT / "scripts" / "serve.py", *flags]
        service = subprocess.Popen([str(part) for part in command])
        try:
            asyncio.run(_measure(f"http://127.0.0.1:{port}", arguments, service))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)


async def _measure(url: str, arguments: argparse.Namespace, service: subprocess.Popen[bytes]) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        await _until_up(session, service)
        first = await _ask(session, Counter())
        await _ended(session, first["id"])  # the first video loads the model
        answers, ids = Counter[int](), list[str]()
        deadline = time.monotonic() + arguments.seconds
        await asyncio.gather(*(_client(session, answers, ids, deadline) for _ in range(arguments.clients)))
        videos = [await _ended(session, key) for key in ids]
        files = Counter([await _status(session, f"/videos/{key}/file") for key in ids])
    states = Counter(video["state"] for video in videos)
    by_request = sorted(videos, key=lambda video: video["created"])
    late = sum(a["ended"] > b["ended"] for a, b in itertools.pairwise(by_request))
    span = max(video["ended"] for video in videos) - min(video["created"] for video in videos)
    print(f"  {len(videos) / span:.2f} videos a second;")
    print(f"{arguments.clients} clients, {arguments.seconds:g} s, queue {arguments.queue}: answers {dict(answers)};")
    print(f"  {len(ids)} taken, ended as {dict(states)}, files answered {dict(files)};")
    print(f"  neighbours in the order of requests that ended the other way round: {late}")


async def _client(session: Any, answers: Counter[int], ids: list[str], deadline: float) -> None:
    while time.monotonic() < deadline:
        video = await _ask(session, answers)
        if video is None:
            await asyncio.sleep(1)
            continue
        ids.append(video["id"])
        await _ended(session, video["id"])


async def _ask(session: Any, answers: Counter[int]) -> Any:
    async with session.post("/videos", json=BODY) as answer:
        answers[answer.status] += 1
        return await answer.json() if answer.status == 202 else None


async def _ended(session: Any, key: str) -> Any:
    while True:
        async with session.get(f"/videos/{key}") as answer:
            video = await answer.json()
        if video.get("state") not in ("waiting", "running"):
            return video
        await asyncio.sleep(1)


async def _status(session: Any, path: str) -> int:
    async with session.get(path) as answer:
        await answer.read()
        return answer.status


async def _until_up(session: Any, service: subprocess.Popen[bytes]) -> None:
    import aiohttp

    while service.poll() is None:
        try:
            async with session.get("/health") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.5)
    raise RuntimeError("the service did not start; its message is above")


if __name__ == "__main__":
    sys.exit(console.guard(main))
