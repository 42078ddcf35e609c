"""HTTP/1.1 as uvicorn reads and writes it, with what that leaves undone: no request is left without an end.

The parser holds a request for another protocol to be a connection's last, and without a body; only the last request of
a connection is told that its client has gone; a WebSocket whose head cannot be read is not answered.
"""

import sys

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class Careful(HttpToolsProtocol):
    """See the module."""

    _answering: RequestResponseCycle | None = None
    _data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._data = data
        super().data_received(data)
        self._data = b""

    def handle_websocket_upgrade(self) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self.send_400_response("A WebSocket cannot begin while a request is being answered.")
            return
        super().handle_websocket_upgrade()
        joined = self.transport.get_protocol()
        if isinstance(joined, WebSocketsSansIOProtocol) and not joined.handshake_initiated:
            self.send_400_response("The request for a WebSocket is malformed or too large.")

    def _unsupported_upgrade_warning(self) -> None:
        """Have it read anew without its `Upgrade`, and answered in HTTP/1.1 as the connection's last."""
        error = sys.exception()
        assert isinstance(error, httptools.HttpParserUpgrade)
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        super().data_received(b"".join([*head, b"connection: close\r\n\r\n", self._data[error.args[0] :]]))

    def _is_to_be_read_anew(self) -> bool:
        is_asked = self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)
        return is_asked and not self._should_upgrade()

    def on_headers_complete(self) -> None:
        if not self._is_to_be_read_anew():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._is_to_be_read_anew():
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)
