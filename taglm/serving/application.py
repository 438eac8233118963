"""The HTTP application: routes, limits, the token, and errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from taglm.entities import Entity
from taglm.serving.batching import Batcher, Prediction, QueueFull
from taglm.serving.messages import Limits, Refusal, RequestRefused, TagAnswer, TagRequest, read_request, too_large
from taglm.serving.models import CurrentModel

# The page has its script and style inside, calls this server alone, and no other page may frame it.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": description}
    for status, description in (
        (400, "no JSON"),
        (401, "the token is missing or wrong"),
        (413, "too large"),
        (422, "a field is wrong"),
        (503, "too many requests wait"),
        (504, "not answered in time"),
    )
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": TagRequest.model_json_schema()}},
    }
}


def create_application(current: CurrentModel, limits: Limits, token: str | None = None) -> FastAPI:
    """Return the application of a tagger.

    Args:
        current: what is served.
        limits: what a request may ask for.
        token: what `/tag` and `/openapi.json` want as `Authorization: Bearer`; None: nothing.
    """
    batcher = Batcher(lambda: current.model, limits.waiting)
    started, served = datetime.now(UTC), 0

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        current.start()
        yield
        current.stop()
        await asyncio.to_thread(batcher.stop)

    def require_token(request: Request) -> None:
        if token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestRefused(
                HTTPStatus.UNAUTHORIZED, "a wrong token" if given else "no token", "the header `Authorization: Bearer "
                "TOKEN`", "send the token that the server was started with", {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    app = FastAPI(
        title="TagLM", version=version("taglm"), description="Entities of texts.", lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None,
    )  # fmt: skip
    guarded = [Depends(require_token)]
    page = files("taglm.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.post("/tag", dependencies=guarded, responses={200: {"model": TagAnswer}, **REFUSALS}, openapi_extra=BODY)
    async def tag(request: Request) -> JSONResponse:
        """Return the entities of texts or of tokenised sentences."""
        nonlocal served
        try:
            async with asyncio.timeout(limits.seconds):
                wanted = read_request(await _body(request, limits), limits, current.model.tagger.labels)
                answer = batcher.submit(wanted.inputs, baseline=wanted.baseline)
                prediction = await asyncio.wrap_future(answer)
        except TimeoutError:
            raise RequestRefused(
                HTTPStatus.GATEWAY_TIMEOUT, f"no answer after {limits.seconds:g} s", "an answer by then",
                "send less text at a time, or start the server with a larger --timeout",
            ) from None  # fmt: skip
        except QueueFull:
            raise RequestRefused(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{limits.waiting:,} requests that wait", "fewer",
                "send the request again after a second", {"Retry-After": "1"},
            ) from None  # fmt: skip
        served += 1
        return JSONResponse(_answer(prediction, wanted))

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Return which tagger is served, since when, and how many requests were answered."""
        model = current.model
        return {
            "model": model.to_dict(),
            "labels": model.tagger.labels,
            "baseline": model.baseline is not None,
            "loaded": model.since.isoformat(timespec="seconds"),
            "started": started.isoformat(timespec="seconds"),
            "requests": served,
            "token": token is not None,
        }

    @app.get("/openapi.json", include_in_schema=False, dependencies=guarded)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    @app.get("/", include_in_schema=False)
    async def root() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> RedirectResponse:
        return RedirectResponse("/#http")  # FastAPI's own page loads its parts from the internet

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> JSONResponse:
        return JSONResponse(error.to_dict(), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        found = f"{request.method} {request.url.path}"
        routes = "POST /tag, GET /healthz, GET /openapi.json, GET /docs or GET /"
        refusal = RequestRefused(HTTPStatus(error.status_code), found, routes, "correct the address")
        return JSONResponse(refusal.to_dict(), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        refusal = RequestRefused(
            HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__, "entities",
            "this is a bug in taglm; please report it with the trace in the server's log",
        )  # fmt: skip
        return JSONResponse(refusal.to_dict(), refusal.status)

    return app


async def _body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request, and read no more of it than a request may have.

    Raises:
        RequestRefused: it is larger.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limits.bytes:
            raise too_large(
                f"a body of more than {limits.bytes:,} bytes", f"at most {limits.characters:,} characters",
                "split the request, or start the server with a larger --max-characters",
            )  # fmt: skip
    return bytes(body)


def _answer(prediction: Prediction, wanted: TagRequest) -> dict[str, Any]:
    results: list[dict[str, Any]] = [{"entities": _chosen(found, wanted)} for found in prediction.entities]
    for result, found in zip(results, prediction.baseline or (), strict=False):
        result["baseline"] = _chosen(found, wanted)
    return {"results": results, "model": prediction.model.to_dict()}


def _chosen(found: Collection[Entity], wanted: TagRequest) -> list[dict[str, Any]]:
    """Return the entities that a request wants: its threshold and labels do not keep it from sharing a batch."""
    return [entity.to_dict() for entity in found if entity.is_wanted(wanted.threshold, wanted.labels)]
