"""A workplace that needs neither torch nor the pack, for tests and benches of what is around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def stub(
    scratch: str, seconds: float = 0.0, poison: str = ""
) -> Callable[[], Callable[[list[dict[str, Any]]], list[dict[str, Any]]]]:
    """Opens a workplace that saves a job's changes as its file; a job with the change `poison` kills the process."""

    def open_workplace():
        import hashlib
        import os
        import time

        def do(job):
            if poison and poison in job["changes"]:
                os._exit(1)
            time.sleep(seconds)
            content = "\n".join(job["changes"]).encode()
            folder = os.path.join(scratch, f"{job['number']:06d}")
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "clip_00001.mp4"), "wb") as file:
                file.write(content)
            digest = hashlib.sha256(content).hexdigest()
            files = [{"name": "clip_00001.mp4", "size": len(content), "sha256": digest, "content": None}]
            fields = {"number": job["number"], "seconds": seconds, "files": files, "remarks": [], "folder": folder}
            return {**fields, "error": "", "is_full": False, "loads": 0, "worker": str(os.getpid())}

        return lambda jobs: [do(job) for job in jobs]

    return open_workplace
