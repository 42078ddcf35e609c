"""TCP connections to published ports of machines, through the service, over a WebSocket."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hutch.client import errors, wire
from hutch.client._sync.http import Http

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


class Tunnel:
    """One that is open. Reading and writing may be done at the same time."""

    def __init__(self, socket: "ClientConnection") -> None:
        self._socket = socket

    def read(self) -> bytes:
        """What comes next; empty when the machine has closed its end."""
        from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

        try:
            message = self._socket.recv()
        except ConnectionClosedOK:
            return b""
        except ConnectionClosed as error:
            raise errors.Unreachable(f"the tunnel broke off: {error.rcvd.reason if error.rcvd else error}") from error
        return message if isinstance(message, bytes) else message.encode()

    def write(self, data: bytes) -> None:
        """Send; waits while the machine does not take it."""
        if data:
            self._socket.send(data)

    def end(self) -> None:
        """There is no more to send; what the machine still says can be read."""
        self._socket.send(b"")


class Tunnels:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @contextmanager
    def open(self, machine: str, port: int) -> Iterator[Tunnel]:
        """A new connection; a machine that sleeps is woken. `NotFound` if the port is not published."""
        from websockets import exceptions
        from websockets.sync.client import connect

        url = f"ws{self._http.url.removeprefix('http')}{wire.machine_path(machine, 'tunnel', str(port))}"
        try:
            socket = connect(
                url,
                additional_headers=self._http.headers,
                compression=None,
                max_size=None,
                max_queue=4,
                open_timeout=None,
                proxy=None,
            )
        except exceptions.InvalidStatus as error:
            answer, text = error.response, bytes(error.response.body or b"").decode()
            raise errors.of(answer.status_code, text, answer.headers.get("x-request-id")) from error
        except OSError as error:
            raise errors.Unreachable(f"{self._http.url}: {error}") from error
        with socket:
            yield Tunnel(socket)
