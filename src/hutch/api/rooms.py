"""What dialects are put together with: the application, and its documents."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from hutch.api import openapi, page
from hutch.api.answers import Json
from hutch.api.service import Service

DOCUMENTS = ("/openapi.json", "/docs")


def application(
    its: Service,
    name: str,
    description: str,
    routers: Iterable[APIRouter],
    errors: Mapping[int, type[BaseModel]],
) -> FastAPI:
    """A dialect without its lock. `errors` are the bodies of errors on any path, by status."""
    app = FastAPI(
        title=f"Hutch, {name} dialect",
        version=metadata.version("hutch"),
        description=description,
        openapi_url=None,
        redirect_slashes=False,
        servers=[{"url": f"/{name}"}, {"url": "/"}],
        telemetry={"tracing": False, "metrics": False},
    )
    app.state.service = its
    told: dict[int | str, dict[str, Any]] = {status: {"model": model} for status, model in errors.items()}
    for router in routers:
        app.include_router(router, responses=told)
    return app


def add_documents(
    app: FastAPI,
    read: Sequence[type[BaseModel]],
    public: frozenset[str],
    also_at: Sequence[str] = (),
    amend: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Its OpenAPI document, of requests that `read` these bodies, and the page that shows it; made when asked for."""

    @functools.cache
    def paper() -> dict[str, Any]:
        made: dict[str, Any] = openapi.document(app, read, public)
        amend(made)
        return made

    @functools.cache
    def html() -> str:
        return page.render(paper())

    async def show_document(_: Request) -> Response:
        return Json(paper())

    async def show_page(_: Request) -> Response:
        return HTMLResponse(html())

    for path in ("/openapi.json", *also_at):
        app.add_route(path, show_document)
    app.add_route("/docs", show_page)
