"""The proxy as one ASGI application: finds the machine, lets the visitor in, wakes it, and passes the request on.

Plain ASGI: no framework stands in the way of the bytes. Paths, queries and headers are never logged.
"""

import asyncio
import time

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hutch.api.proxy import errors as wording
from hutch.api.proxy import forward, headers, wayin
from hutch.control.exposure import Exposure, Target
from hutch.control.keys import Keys
from hutch.model import errors
from hutch.settings import Proxy as Settings

log = structlog.stdlib.get_logger("hutch.api.proxy")

_BEGINNINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Proxy:
    """ASGI: see the module."""

    def __init__(self, exposure: Exposure, keys: Keys, its: Settings) -> None:
        self._exposure = exposure
        self._keys = keys
        self._its = its

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or join one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            return
        began = time.perf_counter()
        status: int | None = None

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in _BEGINNINGS:
                status = message.get("status", 101)
            await send(message)

        target: Target | None = None
        refusal: Response | None = None
        try:
            asker = headers.client(scope, bool(self._its.url))
            host = headers.get(scope["headers"], b"host") or b""
            found = self._exposure.find(host.decode("latin-1"), scope["raw_path"].decode("latin-1"))
            if found is None:
                raise errors.NotFound
            target, path = found
            await self._visit(scope, receive, noted, asker, target, path)
        except errors.HutchError as error:
            refusal = wording.response(error, target.port if target else None)
        except asyncio.CancelledError:  # the server does so when it ends and the request does not
            refusal = wording.response(errors.NotRunning())
        except Exception:
            log.exception("request failed", machine=target and target.machine)
            refusal = wording.response(errors.HutchError())
        if refusal is not None and status is None:
            await refusal(scope, receive, noted)
        log.info(
            "proxied",
            machine=target.machine if target else None,
            port=target.port if target else None,
            method=scope.get("method", "WEBSOCKET"),
            status=status,
            ms=round(1000 * (time.perf_counter() - began), 2),
        )

    async def _visit(
        self, scope: Scope, receive: Receive, send: Send, asker: headers.Client, target: Target, path: str
    ) -> None:
        its = wayin.read(scope["headers"], scope["query_string"], asker.host, self._keys.authenticate)
        scope["query_string"] = its.query  # uvicorn writes it into its own log
        raw = scope["raw_path"]
        prefix = raw.removesuffix(path.encode("latin-1")) if raw.endswith(path.encode("latin-1")) else raw
        framing = headers.framing(its.headers) if scope["type"] == "http" else []
        async with self._exposure.visit(target, its.visitor) as endpoint:
            cookie = its.cookie(prefix or b"/", asker.scheme == b"https" or self._its.url.startswith("https:"))
            if cookie is not None and asker.host and _is_page(scope):
                await _redirect(asker, raw, its.query, cookie)(scope, receive, send)
                return
            onward = forward.Onward(
                endpoint,
                path.encode("latin-1") + (b"?" + its.query if its.query else b""),
                headers.get(scope["headers"], b"host") or f"{endpoint.host}:{endpoint.port}".encode(),
                headers.request(its.headers, asker, target.machine, prefix),
                framing,
                cookie,
            )
            carry = forward.http if scope["type"] == "http" else forward.websocket
            await carry(scope, receive, send, onward, self._its)


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for a page: then its address is rid of the token."""
    accept = headers.get(scope["headers"], b"accept") or b""
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and b"text/html" in accept


def _redirect(asker: headers.Client, path: bytes, query: bytes, cookie: bytes) -> Response:
    """To the same address without its token. With its host: a path that begins with `//` would be one."""
    to = asker.scheme + b"://" + asker.host + path + (b"?" + query if query else b"")
    told = {"location": to.decode("latin-1"), "set-cookie": cookie.decode(), "cache-control": "no-store"}
    return Response(status_code=302, headers={**told, "referrer-policy": "no-referrer"})
