"""Puts the freestyle dialect together: its routes, its errors, its documents, behind its keys."""

import asyncio

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hutch.api import auth, limits, rooms
from hutch.api.freestyle import builds, errors, guest, lifecycle, requests, responses, snapshots, specs, vms
from hutch.api.service import Service

PUBLIC = frozenset(rooms.DOCUMENTS)
STATUSES = (400, 401, 403, 404, 405, 408, 409, 410, 413, 429, 500, 503, 504)
"""Of errors, on any path."""

_DESCRIPTION = (
    """Linux microVMs made of layered specs, with systemd services, terminals and builds: the VMs of Freestyle."""
)


def routes(its: Service) -> FastAPI:
    """The dialect without its lock: for its documents, and for tests that list every route."""
    every = (snapshots.router, builds.router, vms.router, lifecycle.router, *guest.ROUTERS)
    app = rooms.application(its, "freestyle", _DESCRIPTION, every, dict.fromkeys(STATUSES, responses.Error))
    errors.install(app)
    return app


def _is_free(path: str) -> bool:
    """Whether a request runs a command: it is never refused for coming too often."""
    return path.startswith("/v1/vms/") and path.endswith("/exec-await")


class _Ending:
    """ASGI: a request that ends with the service is told so as any error is, for clients ask for ever otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        has_begun = scope["type"] != "http"

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:  # the server does so
            if has_begun:
                raise
            await errors.TELLER.response(errors.ENDING, HTTPConnection(scope))(scope, receive, send)


def build(its: Service) -> ASGIApp:
    """The dialect as one ASGI application, its paths beginning at `/v1/vms`."""
    app = routes(its)
    rooms.add_documents(app, (*requests.ALL, *specs.ALL, *guest.BODIES), PUBLIC)
    limited = limits.Limit(app, its.control.rates, _is_free, errors.TELLER.response)
    return _Ending(auth.Authenticate(limited, its.control.keys, PUBLIC, errors.TELLER.response))
