"""Does a batch's jobs on Ray: one actor for each GPU, or for a number of cores. Ray places, restarts and retries them.

What travels is plain data, so that no worker needs the pack before its actor has mounted it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pack

# Tries of a job whose worker dies, the first included.
TRIES = 3
# What a cluster's machines do not need of this folder.
_LEFT_OUT = ["/.git", "/.venv", "/tests", "/training", "/docs", "/web", "/output", "/input", "__pycache__"]

# Called in an actor: a function that does jobs that one run can make, all as dictionaries of plain data.
OpenWorkplace = Callable[[], Callable[[list[dict[str, Any]]], list[dict[str, Any]]]]


@dataclass(frozen=True)
class PackWorkplace:
    """Opens a host in an actor's process.

    Attributes:
        root: the pack's folder; "": the working folder that Ray has copied to the machine.
        text: the workflow file's.
        scratch: for unfinished files; "": a temporary folder, and the files are sent home.
    """

    root: str
    text: str
    output: str
    scratch: str
    models: str = ""
    inputs: str = ""
    comfyui: str = ""
    prompts: str = ""

    def __call__(self) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
        import tempfile

        sys.path.insert(0, os.path.join(self.root or os.getcwd(), "scripts"))
        import batch_session

        host = batch_session.Host.of_texts(self.models, self.inputs, self.comfyui, self.prompts)
        session = batch_session.open_session(host, Path(self.output))
        batch = batch_session.room(session)
        place = batch.Workplace(
            lambda changes, folders: session.run_together(self.text, changes, folders),
            Path(self.scratch or tempfile.mkdtemp(prefix="opent2v-")),
            sends=not self.scratch,
            loads=lambda: session.loads,
            name=f"process {os.getpid()}",
        )
        return lambda jobs: [asdict(result) for result in place.do_all([batch.Job(**job) for job in jobs])]


class Worker:
    """An actor: does one group of jobs after another."""

    def __init__(self, open_workplace: OpenWorkplace) -> None:
        self._do = open_workplace()

    def ready(self) -> int:
        """The process's id, once everything is imported."""
        return os.getpid()

    def do(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._do(jobs)


@contextmanager
def cluster(where: str, actors: int = 0, cores: int = 4) -> Iterator[tuple[Any, int, dict[str, float]]]:
    """Ray, started here ("local") or a running cluster's ("auto" or an address): (ray, actors, what each takes).

    Args:
        actors: how many; 0: one for each GPU of the cluster, without GPUs one for each `cores` cores, at least one.
        cores: that an actor takes on a machine without GPUs; torch computes with as many threads.
    Raises:
        ConnectionError: no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    import logging

    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options: dict[str, Any] = {"include_dashboard": False} if where == "local" else {}
    if where != "local":
        options["runtime_env"] = {"working_dir": str(pack.ROOT), "excludes": _LEFT_OUT}
    _start(ray, address=where, log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        resources = ray.cluster_resources()
        gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        count = actors or gpus or max(cpus // cores, 1)
        takes = {"num_gpus": min(1.0, gpus / count)} if gpus else {"num_cpus": min(float(cores), cpus / count)}
        yield ray, count, takes
    finally:
        ray.shutdown()


def _start(ray: Any, **options: Any) -> None:
    """Start or join Ray; once more where a busy machine took longer than the 30 seconds that Ray waits for itself."""
    try:
        ray.init(**options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        ray.init(**options)


def makers(
    ray: Any, open_workplace: OpenWorkplace, count: int, takes: dict[str, float], batch: Any, most: int = 1
) -> Callable[[Iterator[Any]], Iterator[tuple[Any, Any]]]:
    """Does jobs in `count` actors, each with its models loaded.

    Args:
        batch: `headless.batch`, for its `Result`, `ResultFile`, `BatchStopped` and `grouped`.
        most: jobs that are made in one run.
    """
    actor = ray.remote(Worker).options(max_restarts=-1, max_task_retries=TRIES - 1, **takes)

    def run(jobs: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        workers = [actor.remote(open_workplace) for _ in range(count)]
        try:
            _await(ray, workers, batch)
            running: dict[Any, tuple[Any, list[Any]]] = {}
            free, alone = deque(workers), deque[list[Any]]()
            groups = batch.grouped(jobs, most)
            while True:
                group = alone.popleft() if alone else next(groups, None)
                if group is None and not running:
                    break
                if group is None or not free:
                    worker, ended = _next(ray, running, batch)
                    free.append(worker)
                    # One of them may have killed the worker: each is tried by itself.
                    alone.extend([job] for job, result in ended if result is None)
                    yield from ((job, result) for job, result in ended if result is not None)
                if group is not None:
                    worker = free.popleft()
                    tries = TRIES - 1 if len(group) == 1 else 0
                    do = worker.do.options(max_task_retries=tries)
                    running[do.remote([asdict(job) for job in group])] = (worker, group)
        finally:
            for worker in workers:
                ray.kill(worker)

    return run


def _await(ray: Any, workers: list[Any], batch: Any) -> None:
    """Wait until every actor has its host, and say why one has not."""
    try:
        ray.get([worker.ready.remote() for worker in workers])
    except ray.exceptions.RayError as error:
        raise batch.BatchStopped(f"a worker could not start: {error}") from error


def _next(ray: Any, running: dict[Any, tuple[Any, list[Any]]], batch: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """The actor that is free again, and its jobs with their results: None for jobs of a group whose worker died."""
    ended = ray.wait(list(running), num_returns=1)[0][0]
    worker, jobs = running.pop(ended)
    try:
        results = [_result(fields, batch) for fields in ray.get(ended)]
        return worker, list(zip(jobs, results, strict=True))
    except ray.exceptions.RayActorError:
        if len(jobs) > 1:
            return worker, [(job, None) for job in jobs]
        text = f"given up: its worker died {TRIES} times, which too little memory does as well (see Ray's log)"
    except ray.exceptions.RayError as error:
        text = f"Ray could not run it: {error}"
    return worker, [(job, batch.Result(job.number, 0.0, error=text)) for job in jobs]


def _result(fields: dict[str, Any], batch: Any) -> Any:
    files = [batch.ResultFile(**file) for file in fields["files"]]
    return batch.Result(**{**fields, "files": files})
