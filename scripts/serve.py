"""A service that makes videos from one workflow: FastAPI on Ray Serve, on this machine or a cluster.

    python3 scripts/serve.py --workflow workflows/quickstart.json
    curl -d '{"prompt": "a red circle"}' -H 'content-type: application/json' localhost:8000/videos

docs/batches.md says what requests may hold, which limits there are and what it answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import batch_ray
import batch_session
import comfyui_start
import console
import embedded_run
import environment
import pack
import service_worker

WORKER, APP = "Worker", "opent2v"


def main() -> int:
    arguments = _parser().parse_args()
    cluster = environment.requirements(pack.ROOT / "requirements-cluster.txt")
    comfyui = arguments.comfyui and arguments.comfyui.expanduser().resolve()
    if comfyui:
        comfyui_start.ensure(comfyui)
    environment.ensure(cluster)
    import service_app

    settings = service_app.Settings(
        root=str(pack.ROOT),
        text=embedded_run.read(arguments.workflow),
        output=str(arguments.output.expanduser().resolve()),
        models=_folder(arguments.models),
        inputs=_folder(arguments.input),
        comfyui=str(comfyui or ""),
        prompts=str(batch_session.prompt_folder(arguments.prompt_cache, comfyui) or ""),
        exposed=tuple(arguments.exposed),
        most=dict(_limit(limit) for limit in arguments.limits),
        key=arguments.key_file.read_text(encoding="utf-8").strip() if arguments.key_file else "",
        queue=arguments.queue,
        of_client=arguments.of_client or arguments.queue,
        expire=arguments.expire * 3600,
        replicas=arguments.replicas,
        batch=arguments.batch,
    )
    if arguments.batch < 1:
        raise ValueError(f"--batch is {arguments.batch}; expected 1 or more clips in one run")
    if arguments.key_file and not settings.key:
        raise ValueError(f"{arguments.key_file} is empty; expected the key in its first line")
    service_app.describe(settings)  # a workflow that cannot be served is told before Ray starts
    run(settings, arguments.host, arguments.port, arguments.ray, arguments.cores)
    return 0


def run(settings: Any, host: str, port: int, where: str, cores: int) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    # On a busy machine the proxy takes longer to start than the 5 seconds after which Serve starts it anew.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    with batch_ray.cluster(where, settings.replicas, cores) as (_, _, takes):
        from ray import cloudpickle, serve

        cloudpickle.register_pickle_by_value(service_worker)
        serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "WARNING"})
        serve.run(_application(serve, settings, takes), name=APP, route_prefix="/")
        for number in (signal.SIGINT, signal.SIGTERM):  # after Ray, which sets its own
            signal.signal(number, lambda *_: stop.set())
        console.say(f"Serving on http://{host}:{port} (its page: /docs); Ctrl-C stops it.")
        stop.wait()
        console.say("Stopping.")
        serve.shutdown()


def _application(serve: Any, settings: Any, takes: dict[str, float]) -> Any:
    fields = dataclasses.asdict(settings)
    # The app lets in one run for each worker; what it would let in beyond the queue, Serve refuses.
    worker = serve.deployment(
        service_worker.Worker,
        name=WORKER,
        num_replicas=settings.replicas,
        max_ongoing_requests=1,
        max_queued_requests=settings.queue + 1,
        ray_actor_options=takes,
        graceful_shutdown_timeout_s=5,
    ).bind(*(fields[name] for name in ("root", "text", "output", "models", "inputs", "comfyui", "prompts")))
    worker_name, app_name = WORKER, APP

    def build() -> Any:
        sys.path.insert(0, os.path.join(fields["root"], "scripts"))
        import service_app as app_module
        from ray import serve as replica_serve

        handle = replica_serve.get_deployment_handle(worker_name, app_name)
        return app_module.make(app_module.Settings(**fields), handle)

    door = serve.deployment(
        serve.ingress(build)(), name="Door", max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0}
    )
    return door.bind(worker)


def _folder(path: Path | None) -> str:
    return str(path.expanduser().resolve()) if path else ""


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, int(value) if value.isdecimal() else float(value)
    except ValueError:
        raise ValueError(f"cannot read --limit {text!r}; expected NAME=NUMBER, for example width=1280") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve one workflow over HTTP, on Ray Serve.")
    add = parser.add_argument
    add("--workflow", type=Path, default=pack.ROOT / "workflows" / "quickstart.json", metavar="FILE")
    add("--output", type=Path, default=pack.ROOT / "output" / "service", metavar="DIR", help="for videos and records")
    add("--models", type=Path, metavar="DIR", help="laid out like ComfyUI's models/; the bundled ones are there anyway")
    add("--input", type=Path, metavar="DIR", help="where pictures, sounds and videos lie")
    add("--comfyui", type=Path, metavar="PATH", help="run in this ComfyUI checkout instead of the embedded host")
    batch_session.add_prompt_cache(parser)
    batch_session.add_batch(parser)
    add("--replicas", type=int, default=1, metavar="N", help="workers; each has the models loaded (default: 1)")
    add("--cores", type=int, default=4, metavar="N", help="of a worker where there is no GPU (default: 4)")
    add("--ray", default="local", metavar="WHERE", help="auto or an address: a running Ray cluster (default: local)")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=8000)
    add("--key-file", type=Path, metavar="FILE", help="holds the key that requests send as X-API-Key")
    add("--expose", dest="exposed", action="append", default=[], metavar="NAME", help="one more input of requests")
    add("--limit", dest="limits", action="append", default=[], metavar="NAME=MOST", help="such as width=1280")
    add("--queue", type=int, default=100, metavar="N", help="videos that may wait or run (default: 100)")
    add("--of-client", type=int, default=0, metavar="N", help="of them from one address (default: all)")
    add("--expire", type=float, default=24.0, metavar="HOURS", help="finished videos are kept so long; 0: for good")
    console.add_common(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.guard(main))
