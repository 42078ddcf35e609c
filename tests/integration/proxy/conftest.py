"""The proxy on its own port, over a simulated host whose guests' ports are this box's: servers of the test itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hutch import bootstrap, settings
from hutch.api import server
from hutch.api.proxy.app import Proxy
from hutch.api.proxy.listener import Listener
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.model.ids import MachineId
from hutch.model.network import PublishedPort

LIMIT = 60.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Guest:
    """A server in the machine. `seen` is what came of each connection, `gone` that one was closed by the proxy."""

    port: int
    seen: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def head(self) -> str:
        """Of the last request, in lower case."""
        return self.seen[-1].partition(b"\r\n\r\n")[0].decode("latin-1").lower()


@dataclass
class Rig:
    """The proxy, and one machine behind it."""

    plane: ControlPlane
    caller: Principal
    key: str
    machine: MachineId
    url: str
    http: httpx.AsyncClient
    stack: contextlib.AsyncExitStack
    listener: Listener

    async def guest(self, handler: Handler, is_public: bool = True) -> Guest:
        """A server whose every connection `handler` answers, published."""
        guest = Guest(0)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            with contextlib.suppress(ConnectionError):
                writer.close()
                await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20, backlog=512)
        self.stack.push_async_callback(server.wait_closed)
        self.stack.callback(server.close)
        guest.port = server.sockets[0].getsockname()[1]
        await self.publish(guest.port, is_public)
        return guest

    async def answering(self, answer: bytes, is_public: bool = True, rest: bool = False) -> Guest:
        """A guest that says this to whatever it is asked; with `rest` it reads until the proxy lets go."""
        holder: list[Guest] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen = await read_request(reader)
            holder[0].seen.append(seen)
            writer.write(answer)
            await writer.drain()
            if rest:
                while await reader.read(65536):
                    pass
                holder[0].gone.set()

        holder.append(await self.guest(handler, is_public))
        return holder[0]

    async def publish(self, port: int, is_public: bool) -> None:
        ports = self.plane.machines.get(self.caller, self.machine).ports
        await self.plane.exposure.publish(self.caller, self.machine, [*ports, PublishedPort(port, is_public)])

    def path(self, guest: Guest | int, rest: str = "/") -> str:
        return f"/proxy/{self.machine}/{guest if isinstance(guest, int) else guest.port}{rest}"

    def host(self, guest: Guest) -> str:
        return f"{self.machine}-{guest.port}.hutch.localhost"

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A client's, to the proxy."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()

    async def raw(self, request: bytes) -> bytes:
        """What the proxy answers to these bytes, until it closes."""
        async with self.connection() as (reader, writer), asyncio.timeout(LIMIT):
            writer.write(request)
            return await reader.read()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """A request: its head, and its body as its framing says."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
        return head + body
    if b"content-length: " in lower:
        return head + await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return head


@contextlib.asynccontextmanager
async def open_rig(home: Path, **environment: str) -> AsyncIterator[Rig]:
    """A rig with these settings."""
    with server.bind("127.0.0.1:0") as sock:
        its = settings.load({"HUTCH_HOME": str(home), **environment}).listening(sock.getsockname()[1])
        plane = bootstrap.build_simulated(its)
        await plane.open()
        try:
            key = await plane.keys.bootstrap()
            assert key is not None
            caller = plane.keys.authenticate(key)
            made = await plane.machines.create(caller, MachineRequest("debian"))
            await plane.machines.start(caller, made.id)
            listener = Listener(Proxy(plane.exposure, plane.keys, its.proxy), sock, its.proxy.idle_timeout)
            async with (
                contextlib.AsyncExitStack() as stack,
                listener.serving(),
                httpx.AsyncClient(base_url=listener.url, trust_env=False, timeout=LIMIT) as http,
            ):
                yield Rig(plane, caller, key, made.id, listener.url, http, stack, listener)
        finally:
            await plane.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as rig:
        yield rig
