"""The way of `hutch tunnel`: connections here, each joined with one to the machine's port.

Apart from the command, so that `hutch --help` needs no asyncio.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from hutch.cli import out, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.client import AsyncHutch
    from hutch.client._async.tunnels import Tunnel

CONNECTIONS = 64
"""At once; more are closed."""

_PIECE = 32 * 1024


def run(machine: str, here: int, there: int) -> None:
    """Serve until Ctrl-C; prints the address. `Failure` if the port here is taken."""
    asyncio.run(_serve(machine, here, there))


async def _serve(machine: str, here: int, there: int) -> None:
    from hutch.client import AsyncHutch

    target = service.configured()
    joined: set[asyncio.Task[None]] = set()
    async with AsyncHutch(target.url, target.key) as hutch:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(joined) >= CONNECTIONS:
                writer.close()
                return
            task = asyncio.create_task(_join(hutch, machine, there, reader, writer))
            joined.add(task)
            task.add_done_callback(joined.discard)

        try:
            server = await asyncio.start_server(accept, "127.0.0.1", here, limit=2 * _PIECE)
        except OSError as error:
            raise Failure(
                f"cannot listen on 127.0.0.1:{here}: {error.strerror}", "choose another: LOCAL:PORT"
            ) from None
        async with server:
            out.data(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await server.serve_forever()


async def _join(
    hutch: "AsyncHutch", machine: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    from hutch.client import errors

    try:
        async with hutch.tunnels.open(machine, port) as tunnel:
            await _either(_send(tunnel, reader), _receive(tunnel, writer))
    except errors.ClientError as error:
        out.say(f"hutch: {error}")
    finally:
        writer.close()


async def _send(tunnel: "Tunnel", reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_PIECE):
        await tunnel.write(data)
    await tunnel.end()
    await asyncio.Event().wait()  # what the machine still says is read; its end ends this


async def _receive(tunnel: "Tunnel", writer: asyncio.StreamWriter) -> None:
    while data := await tunnel.read():
        writer.write(data)
        await writer.drain()


async def _either(*ways: Coroutine[Any, Any, None]) -> None:
    """Both, until one of them ends."""
    from websockets.exceptions import ConnectionClosed

    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(ConnectionClosed, OSError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
