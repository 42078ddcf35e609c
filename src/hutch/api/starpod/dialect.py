"""Puts the starpod dialect together: its routes, its errors, its documents, behind its keys."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from hutch.api import auth, bearer, limits, rooms
from hutch.api.service import Service
from hutch.api.starpod import errors, health, instances, requests, responses

KEY_HEADER = "X-API-Key"
PUBLIC = health.PATHS | frozenset(rooms.DOCUMENTS)
STATUSES = (400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 501, 503, 504)
"""Of errors, on any path."""

_NAME = KEY_HEADER.lower().encode()
_DESCRIPTION = """Linux microVMs that run when they are made, with their health: the instances of Starpod."""


def key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key of a request: the header its document names, else the bearer token that its client sends."""
    every = list(headers)
    given = next((value.strip().decode("latin-1") for name, value in every if name == _NAME), None)
    return given or bearer.token(every)


def routes(its: Service) -> FastAPI:
    """The dialect without its lock: for its documents, and for tests that list every route."""
    every = (instances.router, health.router)
    app = rooms.application(its, "starpod", _DESCRIPTION, every, dict.fromkeys(STATUSES, responses.Error))
    errors.TELLER.install(app)
    return app


def tell_of_key(paper: dict[str, Any]) -> None:
    """Add the header that carries a key to the document."""
    paper["components"]["securitySchemes"]["key"] = {"type": "apiKey", "in": "header", "name": KEY_HEADER}
    paper["security"] = [{"key": []}, {"bearer": []}]


def build(its: Service) -> ASGIApp:
    """The dialect as one ASGI application, its paths beginning at `/api`."""
    app = routes(its)
    rooms.add_documents(app, requests.ALL, PUBLIC, amend=tell_of_key)
    limited = limits.Limit(app, its.control.rates, lambda _: False, errors.TELLER.response)
    return auth.Authenticate(limited, its.control.keys, PUBLIC, errors.TELLER.response, key)
