"""Whether the ports of a machine accept."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from hutch.control import readiness
from hutch.control.machines import MachineRequest
from hutch.model.ids import MachineId
from hutch.model.network import Endpoint, PublishedPort
from unit.control.rig import Rig, turn


@contextlib.asynccontextmanager
async def server(port: int = 0) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and a list that grows with every connection."""
    came: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(len(await reader.read()))
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", port)
    async with listening:
        yield listening.sockets[0].getsockname()[1], came


def free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def is_ready(rig: Rig, machine: MachineId) -> bool:
    return machine in await rig.plane.exposure.accepting([rig.get(machine)])


async def test_a_machine_without_ports_is_ready_when_it_runs(rig: Rig) -> None:
    machine = await rig.create()
    assert not await is_ready(rig, machine)
    await rig.plane.machines.start(rig.me, machine)
    assert await is_ready(rig, machine)
    await rig.plane.machines.suspend(rig.me, machine)
    assert not await is_ready(rig, machine)


async def test_all_ports_must_accept_and_are_asked_until_they_do(rig: Rig) -> None:
    later = free()
    async with server() as (port, came):
        machine = await rig.launch(ports=(PublishedPort(port), PublishedPort(later)))
        assert not await is_ready(rig, machine)
        async with server(later):
            assert await is_ready(rig, machine)
        assert await is_ready(rig, machine), "what has accepted is not asked again"
        assert not any(came), "nothing is sent"


async def test_a_machine_that_begins_to_run_anew_is_asked_anew(rig: Rig) -> None:
    async with server() as (port, _):
        machine = await rig.launch(ports=(PublishedPort(port),))
        assert await is_ready(rig, machine)
    assert await is_ready(rig, machine)
    await rig.plane.machines.stop(rig.me, machine)
    rig.clock.advance(1)
    await rig.plane.machines.start(rig.me, machine)
    assert not await is_ready(rig, machine)


async def test_other_ports_are_asked_anew(rig: Rig) -> None:
    async with server() as (port, _):
        machine = await rig.launch(ports=(PublishedPort(port),))
        assert await is_ready(rig, machine)
        await rig.plane.exposure.publish(rig.me, machine, (PublishedPort(port), PublishedPort(free())))
        assert not await is_ready(rig, machine)


async def test_silent_ports_keep_no_other_tenant_waiting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    connects = readiness._connects

    async def silent(endpoint: Endpoint) -> bool:
        return await (asyncio.Event().wait() if endpoint.port < 1024 else connects(endpoint))

    monkeypatch.setattr(readiness, "_connects", silent)
    monkeypatch.setattr(readiness, "LIMIT", 1000)
    other = await rig.someone(tenant="other")
    theirs = []
    for _ in range(readiness.AT_ONCE // 16):
        it = await rig.plane.machines.create(
            other, MachineRequest("debian", ports=tuple(map(PublishedPort, range(1, 17))))
        )
        theirs.append(await rig.plane.machines.start(other, it.id))
    asking = asyncio.ensure_future(rig.plane.exposure.accepting(theirs))
    await turn()
    async with server() as (port, _), asyncio.timeout(30):
        assert await is_ready(rig, await rig.launch(ports=(PublishedPort(port),)))
    asking.cancel()


async def test_looking_at_ports_is_no_activity(rig: Rig) -> None:
    machine = await rig.launch(ports=(PublishedPort(free()),))
    before = rig.get(machine).last_activity_at
    rig.clock.advance(60)
    assert not await is_ready(rig, machine)
    assert rig.get(machine).last_activity_at == before


async def test_a_machine_that_is_gone_is_not_ready(rig: Rig) -> None:
    machine = await rig.launch()
    known = rig.get(machine)
    await rig.plane.machines.delete(rig.me, machine)
    assert await rig.plane.exposure.accepting([known]) == set()
