"""The service's HTTP side: FastAPI routes in front of Ray Serve's workers."""

from __future__ import annotations

import asyncio
import hmac
import importlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pack
import service_inputs
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from service_jobs import DONE, RUNNING, WAITING, TooMany, Video, Videos
from service_metrics import Metrics
from service_turns import Making

# Bytes of a request's body; a prompt is far below.
MOST_BYTES = 64 * 1024
_SWEEP = 60  # seconds between two looks for videos that are too old


@dataclass(frozen=True)
class Settings:
    """How a service is set up.

    Attributes:
        text: the workflow file's.
        exposed: inputs that requests may set beside the usual ones, by short name or as NODE.INPUT.
        most: name -> the highest value of a number.
        key: what the header X-API-Key must hold; "": no key.
        queue, of_client: how many videos may wait or run, in all and of one client's address.
        expire: seconds that a finished video is kept; 0: for good.
        replicas: workers.
        batch: videos that differ in texts and seed only and are made in one run.
    """

    root: str
    text: str
    output: str
    models: str = ""
    inputs: str = ""
    comfyui: str = ""
    prompts: str = ""
    exposed: tuple[str, ...] = ()
    most: dict[str, float] = field(default_factory=dict)
    key: str = ""
    queue: int = 100
    of_client: int = 100
    expire: float = 86400.0
    replicas: int = 1
    batch: int = 1


def make(settings: Settings, worker: Any) -> Any:
    """The FastAPI app.

    Args:
        worker: Ray Serve's handle of the workers.
    """
    columns, checker, current = _inputs(settings)
    cells = importlib.import_module("opent2v.media.rows")
    batch = importlib.import_module("opent2v.headless.batch")
    model = service_inputs.request_model(columns, settings.most, current)
    videos = Videos(Path(settings.output), settings.queue, settings.of_client)
    metrics = Metrics(videos, settings.replicas)
    # In their order, which Serve's router does not promise.
    making = Making(worker, videos, metrics, settings.replicas, settings.batch)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(videos, settings.expire))
        yield
        sweeper.cancel()

    async def authorised(request: Request) -> None:
        sent = request.headers.get("X-API-Key", "")
        if settings.key and not hmac.compare_digest(sent.encode(), settings.key.encode()):
            raise HTTPException(401, "the header X-API-Key is missing or wrong")

    app = FastAPI(
        title="OpenT2V", description="Videos from one workflow.", lifespan=lifespan, dependencies=[Depends(authorised)]
    )
    app.add_middleware(SmallBodies)

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> Any:
        """Without the values: what was sent (infinity, say) may have no JSON."""
        faults = [{key: fault[key] for key in ("type", "loc", "msg")} for fault in error.errors()]
        return JSONResponse({"detail": faults}, 422)

    refused: dict[int | str, dict[str, Any]] = {401: {"description": "no key"}, 404: {"description": "no such video"}}

    def known(key: str) -> Video:
        if key not in videos:
            raise HTTPException(404, f"there is no video {key[:64]!r}; it may have expired")
        return videos[key]

    @app.get("/inputs", responses={401: refused[401]})
    async def inputs() -> dict[str, Any]:
        """What POST /videos takes, as JSON Schema, and the workflow's own values."""
        return {"schema": model.model_json_schema(), "values": current}

    async def create(body: Any, request: Request) -> Any:
        """Ask for a video; returns its id at once."""
        chosen = {name: value for name, value in body.model_dump(by_alias=True).items() if value is not None}
        texts = {columns[name]: cells.cell_text(value) for name, value in chosen.items()}
        problem = checker.problem(texts)
        if problem:
            raise HTTPException(422, problem)
        changes = [f"{column.target}={text}" for column, text in texts.items()]
        client = request.client.host if request.client else ""
        video = Video(secrets.token_hex(12), client, chosen, changes, alike=batch.alike(texts))
        try:
            videos.add(video)
        except TooMany as error:
            metrics.refused.inc()
            raise HTTPException(429, str(error), headers={"Retry-After": "10"}) from error
        making.add(video)
        return JSONResponse(_shown(videos, video), 202, headers={"Location": f"/videos/{video.id}"})

    create.__annotations__.update(body=model, request=Request)
    described: dict[int | str, dict[str, Any]] = {
        202: {"description": "taken"},
        400: {"description": "the body is no text"},
        413: {"description": "the body is too large"},
        401: refused[401],
    }
    described |= {429: {"description": "too many videos are waiting"}, 422: {"description": "a value does not fit"}}
    app.post("/videos", status_code=202, responses=described)(create)

    @app.get("/videos/{key}", responses=refused)
    async def show(key: str) -> dict[str, Any]:
        """State, place in the queue, stage and how far it is, remarks, error."""
        return _shown(videos, known(key))

    @app.get("/videos/{key}/file", responses={**refused, 409: {"description": "not done"}}, response_class=FileResponse)
    async def file(key: str) -> Any:
        """The video's file; takes Range headers."""
        video = known(key)
        if video.state != DONE:
            raise HTTPException(409, f"the video is {video.state}; ask for its file when it is done")
        path = videos.file(video)
        if path is None:
            raise HTTPException(404, "the video's file is not there any more")
        return FileResponse(path, filename=path.name)

    @app.delete("/videos/{key}", responses=refused)
    async def delete(key: str) -> dict[str, Any]:
        """Cancel a video that waits or runs; remove one that has ended."""
        video = known(key)
        if video.is_open:
            making.cancel(video)
            return _shown(videos, video)
        videos.remove(key)
        return {"id": key, "state": "removed"}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Says that requests are taken, and how many videos wait and run."""
        return {"status": "ok", "waiting": videos.count(WAITING), "running": videos.count(RUNNING)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Any:
        """Counts, queue and seconds for Prometheus."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


def describe(settings: Settings) -> dict[str, Any]:
    """JSON Schema of what requests may set.

    Raises:
        WorkflowError, ValueError: the workflow, or what is to be shown of it, does not fit.
    """
    columns, checker, current = _inputs(settings)
    problem = checker.problem({})
    if problem:
        raise ValueError(problem)
    return service_inputs.request_model(columns, settings.most, current).model_json_schema()


async def _sweep(videos: Videos, seconds: float) -> None:
    while seconds:
        videos.expire(seconds)
        await asyncio.sleep(min(_SWEEP, seconds))


def _shown(videos: Videos, video: Video) -> dict[str, Any]:
    shown = {"id": video.id, "state": video.state, "place": videos.place(video), "inputs": video.inputs}
    shown |= {"stage": video.stage, "value": video.value, "total": video.total}
    shown |= {"remarks": video.remarks, "error": video.error, "created": video.created, "ended": video.ended}
    return shown | {"file": f"/videos/{video.id}/file" if video.state == DONE else ""}


def _inputs(settings: Settings) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """(name -> column, what checks values, name -> the workflow's value)."""
    pack.mount()
    from opent2v import nodes
    from opent2v.headless.batch import Plan

    plan = Plan(settings.text, nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS)
    short = plan.columns.short_names()
    columns = {name: short[name] for name in service_inputs.SHOWN if name in short}
    for name in settings.exposed:
        column = plan.columns[name]
        if column is None:
            raise ValueError(f"--expose {name}: expected {', '.join(short)} or NODE.INPUT")
        columns[name] = column
    current = {
        name: plan.columns.graph[column.node_id]["inputs"].get(column.item.name)
        for name, column in columns.items()
        if column.node_id in plan.columns.graph
    }
    return columns, plan.checker, current


class SmallBodies:
    """ASGI middleware: refuses a body that is too large before it is read into memory."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(stated) if stated.isdigit() else 0
        chunks: list[Any] = []
        while size <= MOST_BYTES:
            message = await receive()
            chunks.append(message)
            size = max(size, sum(len(chunk.get("body", b"")) for chunk in chunks))
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        if size > MOST_BYTES:
            body = b'{"detail":"the body is too large"}'
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            with suppress(Exception):
                await send({"type": "http.response.start", "status": 413, "headers": headers})
                await send({"type": "http.response.body", "body": body})
            return

        async def replay() -> Any:
            return chunks.pop(0) if chunks else await receive()

        await self._app(scope, replay, send)
