"""tunnel: a port of a machine as a port of this box, through the service, with the key that is configured.

For what is not HTTP (ssh, databases), and for ports that nobody else is to reach.
"""

import asyncio
import contextlib
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hutch.cli import options, out, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.client import AsyncHutch
    from hutch.client._async.tunnels import Tunnel

CONNECTIONS = 64
"""At once; more are closed."""

_PIECE = 32 * 1024


def ports(typed: str) -> tuple[int, int]:
    """`[LOCAL:]PORT`: the port here, by default the same, and the one in the machine. 0 here: any that is free."""
    here, colon, there = typed.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", there) or not 1 <= int(there) <= 65535:
        raise typer.BadParameter(f"{there!r} is not a port: 1 to 65535", param_hint="PORT")
    if colon and not (re.fullmatch(r"\d{1,5}", here) and int(here) <= 65535):
        raise typer.BadParameter(f"{here!r} is not a port of this box: 0 to 65535", param_hint="PORT")
    return int(here) if colon else int(there), int(there)


def tunnel(
    machine: options.MachineRef,
    port: Annotated[str, typer.Argument(metavar="[LOCAL:]PORT", help="Here, by default the same; in the machine.")],
) -> None:
    """Lead a port of this box to a published port of a machine until Ctrl-C. Prints the address here."""
    here, there = ports(port)
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if there not in {it.port for it in hutch.machines.get(id).ports}:
            raise Failure(f"port {there} is not published on {machine}", f"`hutch publish {machine} {there}` does that")
    asyncio.run(_serve(id, here, there))


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
