"""Grants: links to ports that are listed, revoked and over; ports that are opened for them; looking at ports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hutch.control import grants
from hutch.control.exposure import Target, Visitor
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.network import PublishedPort
from unit.control.rig import Rig, soon


async def is_let_in(rig: Rig, machine: MachineId, port: int, token: str | None) -> bool:
    try:
        async with rig.plane.exposure.visit(Target(machine, port), Visitor(token)):
            return True
    except errors.Unauthenticated:
        return False


async def test_a_grant_opens_its_port_and_lets_in_until_it_is_over(rig: Rig) -> None:
    machine = await rig.launch(private_traffic=True)
    grant, link = await rig.plane.grants.issue(rig.me, machine, 80, 60)
    assert rig.get(machine).ports == (PublishedPort(80),)
    assert link.url == f"{rig.plane.exposure.url(rig.get(machine), 80)}/?hutch_token={link.token}"
    assert grant.expires_at == link.expires_at
    assert await is_let_in(rig, machine, 80, link.token)
    assert not await is_let_in(rig, machine, 80, None)
    await rig.plane.exposure.publish(rig.me, machine, [PublishedPort(80), PublishedPort(81)])
    assert not await is_let_in(rig, machine, 81, link.token)
    rig.clock.advance(60)
    assert not await is_let_in(rig, machine, 80, link.token)


async def test_one_grant_is_revoked_and_the_others_are_good(rig: Rig) -> None:
    machine = await rig.launch(private_traffic=True)
    (first, one), (second, two) = [await rig.plane.grants.issue(rig.me, machine, 80, 60) for _ in range(2)]
    assert one.token != two.token
    for _ in range(2):
        revoked = await rig.plane.grants.revoke(rig.me, machine, first.id)
        assert revoked.revoked_at == rig.clock.now()
    assert [await is_let_in(rig, machine, 80, it.token) for it in (one, two)] == [False, True]
    assert [it.id for it in rig.plane.grants.list(rig.me, machine)] == [first.id, second.id]
    with pytest.raises(errors.NotFound, match="link"):
        await rig.plane.grants.revoke(rig.me, machine, "none")
    changed = await rig.plane.exposure.revoke(rig.me, machine)
    assert not second.is_good(rig.clock.now(), changed.token_generation)
    assert not await is_let_in(rig, machine, 80, two.token)


async def test_grants_are_there_after_a_restart(rig: Rig) -> None:
    machine = await rig.launch(private_traffic=True)
    _, link = await rig.plane.grants.issue(rig.me, machine, 80, 60, in_header=True)
    before = rig.plane.grants.list(rig.me, machine)
    await rig.crash_and_restart()
    assert rig.plane.grants.list(rig.me, machine) == before
    assert await is_let_in(rig, machine, 80, link.token)


async def test_ports_opened_at_once_are_all_published(rig: Rig) -> None:
    machine = await rig.launch()
    await asyncio.gather(*(soon(rig.plane.grants.open(rig.me, machine, port)) for port in (3, 1, 2, 1)))
    assert rig.get(machine).ports == tuple(PublishedPort(port, is_public=True) for port in (3, 1, 2))


async def test_a_port_that_is_published_stays_as_it_is(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.exposure.publish(rig.me, machine, [PublishedPort(80)])
    await rig.plane.grants.open(rig.me, machine, 80)
    assert rig.get(machine).ports == (PublishedPort(80),)


async def test_what_cannot_be_granted_is_refused(rig: Rig) -> None:
    machine = await rig.launch()
    for port, seconds in ((0, 60.0), (65536, 60.0), (80, 0.0), (80, 1e12)):
        with pytest.raises(errors.InvalidRequest):
            await rig.plane.grants.issue(rig.me, machine, port, seconds)
    reader = await rig.someone("machine:read")
    for refused in (rig.plane.grants.issue(reader, machine, 80, 60), rig.plane.grants.open(reader, machine, 80)):
        with pytest.raises(errors.Forbidden):
            await refused
    assert (rig.get(machine).ports, rig.plane.grants.list(reader, machine)) == ((), [])


async def test_a_machine_keeps_so_many_and_those_that_are_over_go_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST", 2)
    machine = await rig.launch()
    first, second = [(await rig.plane.grants.issue(rig.me, machine, 80, seconds))[0] for seconds in (60, 600)]
    with pytest.raises(errors.Conflict, match="2 links"):
        await rig.plane.grants.issue(rig.me, machine, 80, 60)
    rig.clock.advance(60)
    third, _ = await rig.plane.grants.issue(rig.me, machine, 80, 60)
    assert first.id not in (second.id, third.id)
    assert [it.id for it in rig.plane.grants.list(rig.me, machine)] == [second.id, third.id]


@contextlib.asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_is_looked_at_and_no_machine_is_woken(rig: Rig) -> None:
    machine = await rig.launch()

    async def probe(path: str | None = None) -> tuple[bool, bool, str | None]:
        it = await rig.plane.grants.probe(rig.me, machine, port, path, 0, 0)
        return it.is_reachable, it.is_serving, it.error

    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert [await probe(), await probe("/x")] == [(True, True, None)] * 2
        await rig.plane.machines.suspend(rig.me, machine)
        assert await probe() == (False, False, "the machine is suspended")
    await rig.plane.machines.start(rig.me, machine)
    assert await probe() == (True, False, f"nothing listens at port {port}")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.0 404 Not Found\r\n\r\n", None),
        (b"HTTP/1.1 503 No\r\n\r\n", "503"),
        (b"SSH-2.0-x\r\n", "HTTP"),
        (b"", "HTTP"),
    ],
)
async def test_a_web_server_is_asked_for_a_page(rig: Rig, answer: bytes, error: str | None) -> None:
    machine = await rig.launch()
    async with serving(answer) as port:
        probe = await rig.plane.grants.probe(rig.me, machine, port, "/health", 0, 0)
    assert probe.is_serving == (error is None)
    assert (error or "") in (probe.error or "")


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\nX: y", "/ä"])
async def test_a_path_that_is_none_is_refused(rig: Rig, path: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="path"):
        await rig.plane.grants.probe(rig.me, await rig.launch(), 80, path, 0, 0)
