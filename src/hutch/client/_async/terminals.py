"""Terminals in machines, over a WebSocket."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hutch.client import errors, models, wire
from hutch.client._async.http import Http

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


class Terminal:
    """One that is open; `process` is what it is called. Reading and writing may be done at the same time."""

    def __init__(self, socket: "ClientConnection", process: str) -> None:
        self._socket = socket
        self.process = process

    async def read(self) -> bytes | models.Exited:
        """What comes next: output, and at last how its program ended."""
        from websockets.exceptions import ConnectionClosed

        try:
            while isinstance(message := await self._socket.recv(), str):
                told = json.loads(message)
                if told.get("type") == "exit":
                    return models.Exited(told["code"])
        except ConnectionClosed as error:
            raise errors.Unreachable(f"the terminal broke off: {error.rcvd.reason if error.rcvd else error}") from error
        return message

    async def write(self, data: bytes) -> None:
        """Type."""
        await self._socket.send(data)

    async def resize(self, cols: int, rows: int) -> None:
        """Tell its program another size."""
        await self._socket.send(wire.to_json({"type": "resize", "cols": cols, "rows": rows}))


class Terminals:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @asynccontextmanager
    async def open(
        self,
        machine: str,
        command: Sequence[str] | str = (),
        size: tuple[int, int] = (80, 24),
        cwd: str | None = None,
        user: str | None = None,
        keep: bool = False,
    ) -> AsyncIterator[Terminal]:
        """A new one, of `size` columns and rows: the user's login shell, a shell line, or an argv.

        Leaving ends it, unless `keep` is said: then `attach` comes back to it.
        """
        words = [command] if isinstance(command, str) else [*command, *([""] if len(command) == 1 else [])]
        asked = [("cols", str(size[0])), ("rows", str(size[1])), *(("cmd", word) for word in words)]
        asked += [(name, value) for name, value in (("cwd", cwd), ("user", user)) if value is not None]
        async with self._join(machine, [*asked, ("keep", str(keep).lower())]) as terminal:
            yield terminal

    @asynccontextmanager
    async def attach(self, machine: str, process: str, offset: int = 0, keep: bool = True) -> AsyncIterator[Terminal]:
        """One that was left, from an offset of its output on, as far as that is kept (the last 1 MiB)."""
        asked = [("process", process), ("offset", str(offset)), ("keep", str(keep).lower())]
        async with self._join(machine, asked) as terminal:
            yield terminal

    @asynccontextmanager
    async def _join(self, machine: str, asked: Sequence[tuple[str, str]]) -> AsyncIterator[Terminal]:
        from websockets import exceptions
        from websockets.asyncio.client import connect

        url = f"ws{self._http.url.removeprefix('http')}{wire.machine_path(machine, 'exec', 'interactive')}"
        try:
            socket = await connect(
                f"{url}?{urlencode(asked)}",
                additional_headers=self._http.headers,
                compression=None,
                max_size=None,
                open_timeout=None,
                proxy=None,
            )
        except exceptions.InvalidStatus as error:
            answer, text = error.response, bytes(error.response.body or b"").decode()
            raise errors.of(answer.status_code, text, answer.headers.get("x-request-id")) from error
        except OSError as error:
            raise errors.Unreachable(f"{self._http.url}: {error}") from error
        async with socket:
            assert socket.response is not None, "the handshake is over"
            yield Terminal(socket, socket.response.headers["x-hutch-process-id"])
