"""The HTTP server: bound before anything else is done, and shut down in bounded time.

Running machines and their commands run on when it ends.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from hutch.api import protocol
from hutch.model import errors

KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than clients keep theirs (smolmachines' 30), so that none sends into a
connection that is being closed."""

WEBSOCKET_MESSAGE = 1024 * 1024
"""Bytes of one message of a client: what is typed or pasted comes in many."""

PING = 15.0
"""Seconds between two pings of a WebSocket; one that does not answer for twice as long is closed."""

GRACE = 3
"""Seconds that requests under way get to finish at shutdown."""


def address(listen: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPV6]:PORT` or `:PORT`. Raises `InvalidRequest`."""
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise errors.InvalidRequest(f"{listen!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def bind(listen: str) -> socket.socket:
    """A listening socket. Raises `Conflict` if the port is taken and `InvalidRequest` if the host is not ours."""
    host, port = address(listen)
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise errors.InvalidRequest(f"cannot listen on {listen}: {error.strerror}") from None
        raise errors.Conflict(f"cannot listen on {listen}: {error.strerror}") from None


def url(sock: socket.socket) -> str:
    """Where a client on this box reaches it."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a comparison, not a bind)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, ended by SIGTERM or SIGINT without dying of it, so that what comes after it can close in order."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_end = on_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As inherited; then requests are being answered, which `on_ready` is told."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As inherited, once `on_end` has been told, while every request is still whole."""
        self._on_end()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As inherited, but a signal that has been obeyed is not raised again."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _nothing() -> None:
    pass


_NO_NEWS = frozenset(
    {
        "ASGI callable returned without completing handshake.",  # of a WebSocket that was refused with an answer
        "ASGI callable returned without completing response.",  # which the proxy breaks off where its upstream did
    }
)


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in _NO_NEWS


def config(app: ASGIApp) -> uvicorn.Config:
    """How `app` is served."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return uvicorn.Config(
        app,
        http=protocol.Careful,
        loop="uvloop",
        ws="websockets-sansio",
        ws_max_size=WEBSOCKET_MESSAGE,
        ws_ping_interval=PING,
        ws_ping_timeout=2 * PING,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )


def server(app: ASGIApp, on_ready: Callable[[], None] = _nothing, on_end: Callable[[], None] = _nothing) -> Server:
    """A server of `app`: `await server.serve(sockets=[…])`."""
    return Server(config(app), on_ready, on_end)
