"""Puts the nullspace dialect together: its routes, its errors, its documents, behind its keys."""

from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from hutch.api import auth, limits, openapi, page
from hutch.api.answers import Json
from hutch.api.nullspace import (
    channels,
    edits,
    errors,
    execs,
    files,
    freezing,
    health,
    keys,
    leases,
    lifecycle,
    lifecycle_channel,
    machines,
    metrics,
    pools,
    previews,
    pty_channel,
    rawfiles,
    requests,
    responses,
    templates,
    undone,
    volumes,
    webhooks,
)
from hutch.api.service import Service

_DOCUMENTS = frozenset({"/openapi.json", "/docs"})
PUBLIC = health.PATHS | _DOCUMENTS
STATUSES = (400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 501, 502, 503, 504)
"""Of errors, on any path."""

_DESCRIPTION = """Linux microVMs that run when they are made: the API of Nullspace, as far as one box can speak it."""


def routes(its: Service) -> FastAPI:
    """The dialect without its lock: for its documents, and for tests that list every route."""
    app = FastAPI(
        title="Hutch, nullspace dialect",
        version=metadata.version("hutch"),
        description=_DESCRIPTION,
        openapi_url=None,
        redirect_slashes=False,
        servers=[{"url": "/nullspace"}, {"url": "/"}],
        telemetry={"tracing": False, "metrics": False},
    )
    app.state.service = its
    told: dict[int | str, dict[str, Any]] = {status: {"model": responses.Error} for status in STATUSES}
    rooms = (
        *(machines, leases, freezing, previews, execs, pty_channel, files, rawfiles, edits, metrics),
        *(lifecycle, webhooks, templates, pools, volumes, keys, health, undone),
    )
    for room in rooms:
        app.include_router(room.router, responses=told)
    for room in (channels, lifecycle_channel):
        app.include_router(room.router)
    errors.install(app)
    return app


def _add_documents(app: FastAPI) -> None:
    paper: dict[str, Any] = openapi.document(app, requests.ALL, PUBLIC)
    html = page.render(paper)

    async def show_document(_: Request) -> Response:
        return Json(paper)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(html)

    app.add_route("/openapi.json", show_document)
    app.add_route("/docs", show_page)


def build(its: Service) -> ASGIApp:
    """The dialect as one ASGI application, its paths beginning at `/v1`."""
    app = routes(its)
    _add_documents(app)
    limited = limits.Limit(app, its.control.rates, execs.is_free, errors.response)
    return auth.Authenticate(limited, its.control.keys, PUBLIC, errors.unauthorized)
