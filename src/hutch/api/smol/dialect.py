"""Puts the smol dialect together: its routes, its errors, its documents, behind its keys."""

from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from hutch.api import auth, limits, openapi, page
from hutch.api.service import Service
from hutch.api.smol import (
    builds,
    checkpoints,
    connect,
    console,
    domains,
    errors,
    execs,
    feed,
    files,
    free,
    freezing,
    health,
    images,
    jobs,
    keys,
    machines,
    papers,
    pools,
    ports,
    present,
    processes,
    recipes,
    requests,
    services,
    sessions,
    tenants,
    terminals,
    usage,
    volumes,
    watching,
    webhooks,
)

_DOCUMENTS = frozenset({"/openapi.json", "/docs"})
PUBLIC = health.PATHS | _DOCUMENTS

_ROOMS = (
    *(machines, freezing, checkpoints, builds, pools, execs, terminals, sessions, jobs, processes, services),
    *(files, feed, console, watching, ports, connect),
    *(volumes, usage, domains, webhooks, images, keys, tenants, health),
)
BODIES = (
    *requests.ALL,
    *recipes.BODIES,
    *(sessions.CreateSession, jobs.CreateJob, files.NewFiles, volumes.CreateVolume),
    *(tenants.CreateTenant, tenants.UpdateTenant, domains.CreateDomain, webhooks.CreateWebhook, webhooks.UpdateWebhook),
)
"""Of the requests, for the OpenAPI document."""

_DESCRIPTION = """Linux microVMs: the API of smolmachines Cloud, extended in its style with what Hutch can do besides.
Operations and fields that are Hutch's own say *native*."""


def routes(its: Service) -> FastAPI:
    """The dialect without its lock: for its documents, and for tests that list every route."""
    app = FastAPI(
        title="Hutch, smol dialect",
        version=metadata.version("hutch"),
        description=_DESCRIPTION,
        openapi_url=None,
        redirect_slashes=False,
        servers=[{"url": "/smol"}, {"url": "/"}],
        telemetry={"tracing": False, "metrics": False},
    )
    app.state.service = its
    for room in _ROOMS:
        app.include_router(room.router)
    errors.install(app)
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    return papers.with_errors(openapi.document(app, BODIES, PUBLIC))


def _add_documents(app: FastAPI) -> None:
    paper = document(app)
    html = page.render(paper)

    async def show_document(_: Request) -> Response:
        return present.Json(paper)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(html)

    app.add_route("/openapi.json", show_document)
    app.add_route("/docs", show_page)


def build(its: Service) -> ASGIApp:
    """The dialect as one ASGI application, its paths beginning at `/v1`."""
    app = routes(its)
    _add_documents(app)
    limited = limits.Limit(app, its.control.rates, free.is_free, errors.response)
    return auth.Authenticate(limited, its.control.keys, PUBLIC, errors.unauthorized)
