"""Published ports through the API's own port: `connect` for HTTP and WebSockets, `tunnel` for raw TCP in a WebSocket.

What carries the bytes is `hutch.api.proxy.forward`. These are not in the OpenAPI document: what is asked and answered
is the guest's. Any method is passed on, and no path is redirected.
"""

import re

from fastapi import APIRouter
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from hutch.api import rawpath, service
from hutch.api.proxy import errors as proxying
from hutch.api.proxy import forward, headers, wayin
from hutch.api.proxy.upstream import UpstreamFailed
from hutch.api.smol import errors as wording
from hutch.api.smol import refs
from hutch.control import addresses
from hutch.control.exposure import Target, Visitor
from hutch.model import errors

router = APIRouter()

_CONNECT = "/v1/machines/{id}/connect/{port}"
_TUNNEL = "/v1/machines/{id}/tunnel/{port}"
_BEFORE = re.compile(rb".*?/machines/[^/]+/connect/[^/]+")
_NO_WEBSOCKET = "a tunnel is a WebSocket: ask for an upgrade\n"


class Connect:
    """ASGI: the request, as the guest's port answers it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or say why not."""
        connection = HTTPConnection(scope)
        its = service.of(connection)
        try:
            target = _target(connection)
            before = _BEFORE.match(scope["raw_path"])
            if before is None:
                raise errors.InvalidRequest("the path is malformed")
            asker = headers.client(scope, bool(its.settings.proxy.url))
            brought = wayin.read(scope["headers"], scope["query_string"], asker.host, its.control.keys.authenticate)
            framing = headers.framing(brought.headers) if scope["type"] == "http" else []
            visitor = Visitor(brought.visitor.token, service.principal(connection))
            async with its.control.exposure.visit(target, visitor) as endpoint:
                onward = forward.Onward(
                    endpoint,
                    (scope["raw_path"][before.end() :] or b"/") + (b"?" + brought.query if brought.query else b""),
                    asker.host,
                    headers.request(brought.headers, asker, target.machine, before[0]),
                    framing,
                )
                carry = forward.http if scope["type"] == "http" else forward.websocket
                await carry(scope, receive, send, onward, its.settings.proxy)
        except errors.HutchError as error:
            await _refusal(error)(scope, receive, send)


class Tunnel:
    """ASGI: a WebSocket whose binary messages are the bytes of a TCP connection to the guest's port."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Join the two, or say why not."""
        connection = HTTPConnection(scope)
        its = service.of(connection)
        try:
            visitor = Visitor(principal=service.principal(connection))
            async with its.control.exposure.visit(_target(connection), visitor) as endpoint:
                await forward.tunnel(receive, send, endpoint, its.settings.proxy)
        except errors.HutchError as error:
            await _refusal(error)(scope, receive, send)


def _target(connection: HTTPConnection) -> Target:
    text = connection.path_params["port"]
    port = addresses.parse_port(text)
    if port is None:
        raise errors.InvalidRequest(f"{text[:20]!r} is not a port: 1 to 65535")
    return Target(refs.machine(connection), port)


def _refusal(error: errors.HutchError) -> Response:
    """As documented: 404 for a port that is not published, 503 for a machine that does not run.

    The caller has a key: whom it does not let in, to them the machine is another tenant's.
    """
    match error:
        case errors.Unauthenticated():
            return PlainTextResponse("machine not found", 404)
        case errors.NotPublished():
            return PlainTextResponse(error.message, 404)
        case UpstreamFailed() | errors.NotRunning():
            code = proxying.status(error)
            return PlainTextResponse(error.message, code, {"retry-after": proxying.RETRY_AFTER} if code == 503 else {})
        case _:
            return wording.response(error)


class NotUpgraded:
    """ASGI: a tunnel that was not asked for as a WebSocket."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """426."""
        await PlainTextResponse(_NO_WEBSOCKET, 426, {"upgrade": "websocket"})(scope, receive, send)


assert rawpath, "which knows what a guestpath is"
_connect = Connect()
for _path in (_CONNECT, _CONNECT + "/{path:guestpath}"):
    router.routes.append(Route(_path, _connect))
    router.routes.append(WebSocketRoute(_path, _connect))
router.routes.append(Route(_TUNNEL, NotUpgraded()))
router.routes.append(WebSocketRoute(_TUNNEL, Tunnel()))
