"""Puts the hyperfleet dialect together: its routes, its errors, its documents, behind its keys."""

import re

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hutch.api import auth, limits, rooms
from hutch.api.hyperfleet import errors, execs, files, health, machines, requests, responses
from hutch.api.service import Service

JSON_DOCUMENT = "/docs/json"
PUBLIC = health.PATHS | {*rooms.DOCUMENTS, JSON_DOCUMENT}
STATUSES = (400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 501, 502, 503, 504)
"""Of errors, on any path."""

_CORRELATION = b"x-correlation-id"
_SAFE = re.compile(rb"[\x21-\x7e]{1,128}")

_DESCRIPTION = """Linux microVMs as records that are started and stopped: the Machines API of Hyperfleet."""


class Correlate:
    """ASGI, the outermost of the dialect: a client's `X-Correlation-ID` is on the answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        given = next((value for name, value in scope.get("headers", ()) if name == _CORRELATION), b"")

        async def correlated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (_CORRELATION, given)]
            await send(message)

        await self._app(scope, receive, correlated if _SAFE.fullmatch(given) else send)


def routes(its: Service) -> FastAPI:
    """The dialect without its lock: for its documents, and for tests that list every route."""
    every = (machines.router, execs.router, files.router, health.router)
    app = rooms.application(its, "hyperfleet", _DESCRIPTION, every, dict.fromkeys(STATUSES, responses.Error))
    errors.TELLER.install(app)
    return app


def build(its: Service) -> ASGIApp:
    """The dialect as one ASGI application, its paths beginning at `/machines`."""
    app = routes(its)
    rooms.add_documents(app, requests.ALL, PUBLIC, also_at=(JSON_DOCUMENT,))
    limited = limits.Limit(app, its.control.rates, execs.is_free, errors.TELLER.response)
    return Correlate(auth.Authenticate(limited, its.control.keys, PUBLIC, errors.TELLER.response))
