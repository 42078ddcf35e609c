"""The proxy's own port: a second server in the service's process, which ends with the API's.

uvicorn has no limit of its own on how long or how large the head of a request is; here it has.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import ASGIApp

from hutch.api import protocol, server
from hutch.api.proxy import forward

CONNECTIONS = 4096
"""Clients at once; one more is answered with a 503, …"""

TURNED_AWAY = 256
"""… as long as there are not so many of those: then it is hung up on."""

HEAD_LIMIT = 64 * 1024
"""Bytes of the head of a request."""

HEAD_SECONDS = 30.0
"""Seconds a client has for the head of a request, its first one counted from the connection."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Bounded(protocol.Careful):
    """With limits on the heads of requests."""

    _timer: asyncio.TimerHandle | None = None
    _size = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS + TURNED_AWAY:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._size += len(data)
            if self._size > HEAD_LIMIT:
                self.send_400_response("Request head too large.")

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        if len(self.connections) > CONNECTIONS:  # which uvicorn does not see to where a WebSocket is asked for
            self.transport.write(_BUSY)
            self.transport.close()
        else:
            super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._disarm()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_LIMIT:
            raise ValueError("request head too large")  # which the parser makes a 400 of
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Inner(server.Server):
    """Obeys the one that ends it; signals are the API server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """The proxy, served on a socket."""

    def __init__(self, app: ASGIApp, sock: socket.socket, untaken: float) -> None:
        """`untaken`: seconds a client may leave what it is sent; closing alone would wait for it for ever."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, min(round(1000 * untaken), 2**31 - 1))  # inherited
        self._sock = sock
        self._ready = asyncio.Event()
        config = server.config(app)
        config.http = Bounded
        config.limit_concurrency = CONNECTIONS + 1  # it refuses from so many on
        config.ws_max_size = forward.MESSAGE_LIMIT
        config.ws_per_message_deflate = False
        self._server = _Inner(config, self._ready.set, lambda: None)

    @property
    def url(self) -> str:
        """Where a client on this box reaches it."""
        return server.url(self._sock)

    def end(self) -> None:
        """Take no more requests; those under way get a while to finish."""
        self._server.should_exit = True

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Requests are answered within."""
        task = asyncio.create_task(self._server.serve(sockets=[self._sock]))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            ready.cancel()
            self.end()
            await task
