"""What every request gets whatever its dialect: an id, a line in the log, a place in the metrics, a last resort.

Neither bodies nor query strings nor headers are ever logged: they carry secrets.
"""

import asyncio
import re
import secrets
import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hutch.api import service
from hutch.api.metrics import Metrics

REQUEST_ID = "hutch.request_id"
"""Where the request's id is in an ASGI scope."""

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_HUNG_UP = 499  # nginx's word for a client that went away before it was answered
_HEADER = b"x-request-id"
_SWITCHED = 101  # a WebSocket that was accepted
_FAULT = 1011  # with which a WebSocket is closed when something in the service failed (RFC 6455, 7.4.1)
_BEGINNINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start")

log = structlog.stdlib.get_logger("hutch.api")


def request_id(scope: Scope) -> bytes:
    """The client's own id if it is safe to echo and to log, else a fresh one."""
    for name, value in scope["headers"]:
        if name == _HEADER and _SAFE_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(8).encode()


def _method(scope: Scope) -> str:
    return str(scope.get("method", "GET"))  # a WebSocket begins as a GET


def route_template(scope: Scope) -> str:
    """The route's template (`/v1/machines/{id}`), or `unmatched`."""
    return getattr(scope.get("route"), "path_format", "unmatched")


class Observe:
    """ASGI, the outermost: see the module."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request or the WebSocket on, and note how it went."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        path, id = scope["path"], request_id(scope)
        scope[REQUEST_ID] = id.decode()
        status: int | None = None

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] in _BEGINNINGS:
                status = message.get("status", _SWITCHED)
                message["headers"] = [*message.get("headers", ()), (_HEADER, id)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=scope[REQUEST_ID]):
            try:
                await self._app(scope, receive, numbered)
            except ClientDisconnect:
                status = _HUNG_UP
            except asyncio.CancelledError:  # the server does so when it ends and the request does not
                if status is None:
                    await PlainTextResponse("the service is ending", 503)(scope, receive, numbered)
            except Exception:
                log.exception("request failed", method=_method(scope), path=path)
                if status is None:
                    await PlainTextResponse("internal server error", 500)(scope, receive, numbered)
                elif scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": _FAULT})
            self._note(scope, path, status or _HUNG_UP, time.perf_counter() - began)

    def _note(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        self._metrics.count_request(_method(scope), route_template(scope), status, seconds)
        caller = scope.get(service.PRINCIPAL)
        log.info(
            "request",
            method=_method(scope),
            path=path,
            status=status,
            ms=round(seconds * 1000, 2),
            key=caller.key if caller else None,
        )
