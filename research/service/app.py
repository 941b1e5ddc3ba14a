"""The HTTP interface: submit, list, status, result, cancel. Errors are JSON with `error` and, where known, `field`."""

import asyncio
import re
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from node.config import NodeConfig, format_time
from research.service.guard import MAX_BODY
from research.service.jobs import STATES, Job, Queue
from research.service.request import RequestError, Roots, parse
from strategies.errors import JournalError
from trials import config_hash

_ID = re.compile(r"[0-9a-f]{32}")
_BODY_SECONDS = 10.0
_MOST_LISTED = 200


def make_app(queue: Queue, roots: Roots, *, most_waiting: int) -> FastAPI:
    """Return the application; :class:`research.service.guard.Guard` must stand before it."""
    app = FastAPI(openapi_url=None)  # no page without a token

    @app.get("/health")
    def health() -> Response:
        return _json({"ok": True})

    @app.post("/backtests")
    async def submit(request: Request) -> Response:
        body = await _body(request)
        config = await run_in_threadpool(parse, body, roots)
        identity = await run_in_threadpool(_add, queue, config, most_waiting)
        if identity is None:
            raise HTTPException(429, f"{most_waiting} jobs wait already", headers={"Retry-After": "30"})
        job = await run_in_threadpool(queue.get, identity)
        return _json(_plain(job) if job else {}, 201, {"Location": f"/backtests/{identity}"})

    @app.get("/backtests")
    def listing(request: Request) -> Response:
        state, limit, before = (request.query_params.get(k) for k in ("state", "limit", "before"))
        if state is not None and state not in STATES:
            raise RequestError("state", f"one of {', '.join(STATES)}")
        jobs = queue.newest(
            state=state,
            limit=_number("limit", limit, 50, _MOST_LISTED) or 50,
            before=_number("before", before, None, 2**63 - 1),
        )
        return _json({"jobs": [_plain(j) for j in jobs], "before": jobs[-1].created if jobs else None})

    @app.get("/backtests/{identity}")
    def status(identity: str) -> Response:
        return _json(_plain(_job(queue, identity)))

    @app.get("/backtests/{identity}/result")
    def result(identity: str) -> Response:
        job = _job(queue, identity)
        if job.state != "done":
            why = f": {job.error}" if job.error else ""
            raise HTTPException(409, f"the job is {job.state}{why}; a result exists when it is done")
        return Response(queue.result(identity), media_type="application/json")

    @app.post("/backtests/{identity}/cancel")
    def cancel(identity: str) -> Response:
        _job(queue, identity)
        job = queue.cancel(identity)
        if job is None or job.state in ("done", "failed"):
            raise HTTPException(409, f"the job is {job.state if job else 'gone'}")
        return _json(_plain(job), 200 if job.state == "cancelled" else 202)

    _errors(app)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(_: Request, e: Any) -> Response:
        return _json({"error": e.message, "field": e.field or None}, 422)

    @app.exception_handler(JournalError)
    async def away(_: Request, e: Exception) -> Response:
        return _json({"error": str(e)}, 503, {"Retry-After": "5"})

    @app.exception_handler(HTTPException)
    async def known(_: Request, e: Any) -> Response:
        return _json({"error": str(e.detail)}, e.status_code, dict(e.headers or {}))


async def _body(request: Request) -> bytes:
    """Return the body, at most MAX_BODY bytes, sent within ten seconds and valid UTF-8 JSON."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise HTTPException(
                        413, f"the body is larger than {MAX_BODY} bytes", headers={"Connection": "close"}
                    )
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {_BODY_SECONDS:.0f} s") from None
    body = b"".join(parts)
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise HTTPException(400, f"the body is not JSON: {e}") from None
    return body


def _add(queue: Queue, config: NodeConfig, most_waiting: int) -> str | None:
    text = msgspec.json.encode(config).decode()
    return queue.add(text, config_hash(config), most_waiting=most_waiting)


def _job(queue: Queue, identity: str) -> Job:
    job = queue.get(identity) if _ID.fullmatch(identity) else None
    if job is None:
        raise HTTPException(404, "no such job")
    return job


def _number(field: str, text: str | None, default: int | None, most: int) -> int | None:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:20]) <= most:
        raise RequestError(field, f"a number from 1 to {most}")
    return int(text)


def _plain(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "progress": round(job.progress, 4),
        "attempt": job.attempt,
        "cancelling": job.cancel and job.state == "running",
        "created": format_time(job.created),
        "started": format_time(job.started),
        "finished": format_time(job.finished),
        "error": job.error,
        "config_hash": job.config_hash,
        "trial": job.trial,
    }


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")
