"""Networks: machines are reached, and told how they are connected."""

import asyncio
import contextlib
import socket

import pytest

from contract.host_suite import rig as use
from contract.host_suite.freezing import both_ways, go_on, still
from contract.host_suite.rig import Rig
from hutch.model import errors, ids
from hutch.model.ids import MachineId
from hutch.model.machine import NetworkMode, NetworkPolicy

LIMIT = 60.0
"""Seconds that anything here may take."""


def free_port() -> int:
    """A port that nobody has: a fake's guests share those of this box."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def serve(rig: Rig, machine: MachineId) -> int:
    """A server in the guest that echoes; its port."""
    port = free_port()
    await use.start(rig, machine, f"exec busybox nc -ll -p {port} -e cat")
    return port


async def echo(rig: Rig, machine: MachineId, port: int, text: bytes = b"hello\n") -> bytes:
    """What the guest's server says, as soon as it listens."""
    endpoint = await rig.host.networks.endpoint(machine, port)
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                try:
                    writer.write(text)
                    return await reader.readexactly(len(text))
                finally:
                    writer.close()
            await asyncio.sleep(0.1)


class NetworksSuite:
    async def test_a_server_in_a_guest_is_reached_at_its_endpoint(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        port = await serve(rig, machine)
        assert await echo(rig, machine, port) == b"hello\n"
        assert await rig.host.networks.endpoint(machine, port) == await rig.host.networks.endpoint(machine, port)

    async def test_a_machine_that_may_reach_nothing_is_reached(self, rig: Rig) -> None:
        machine = await use.launch(rig, network=NetworkPolicy(NetworkMode.BLOCKED))
        assert await echo(rig, machine, await serve(rig, machine)) == b"hello\n"

    async def test_only_a_running_machine_has_an_endpoint(self, rig: Rig) -> None:
        machine = await use.create(rig)
        with pytest.raises(errors.NotRunning):
            await rig.host.networks.endpoint(machine, 80)
        await rig.host.start(machine)
        await rig.host.pause(machine)
        with pytest.raises(errors.NotRunning):
            await rig.host.networks.endpoint(machine, 80)

    async def test_a_machine_that_is_not_there_has_no_network(self, rig: Rig) -> None:
        missing, networks = ids.new_machine_id(), rig.host.networks
        for ask in (
            networks.endpoint(missing, 80),
            networks.set_policy(missing, NetworkPolicy()),
            networks.traffic(missing),
        ):
            with pytest.raises(errors.NotFound):
                await ask

    @both_ways
    async def test_a_machine_that_stood_still_is_reached_again(self, rig: Rig, how: str) -> None:
        machine = await use.launch(rig)
        port = await serve(rig, machine)
        assert await echo(rig, machine, port) == b"hello\n"
        await still(rig, machine, how)
        await go_on(rig, machine, how)
        assert await echo(rig, machine, port, b"again\n") == b"again\n"

    async def test_a_machine_is_reached_again_after_the_service_was_restarted(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        port = await serve(rig, machine)
        assert await echo(rig, machine, port) == b"hello\n"
        await rig.reopen()
        assert await echo(rig, machine, port, b"again\n") == b"again\n"

    async def test_facts_are_there_while_there_is_a_process(self, rig: Rig) -> None:
        machine = await use.create(rig)
        assert rig.host.networks.facts(machine) is None
        await rig.host.start(machine)
        facts = rig.host.networks.facts(machine)
        assert facts is not None
        assert facts.guest_address
        assert len(facts.guest_mac) == 17
        await rig.host.pause(machine)
        assert rig.host.networks.facts(machine) == facts
        await rig.host.stop(machine, 0)
        assert rig.host.networks.facts(machine) is None

    async def test_a_policy_that_is_changed_stays_with_the_machine(self, rig: Rig) -> None:
        closed = NetworkPolicy(NetworkMode.BLOCKED)
        source = await use.create(rig)
        await rig.host.networks.set_policy(source, closed)
        await rig.reopen()
        found = rig.host.get(source)
        assert found is not None
        assert found.network == closed
        await rig.host.start(source)
        taker = await use.create(rig, network=closed)
        await rig.host.claim(taker, source)  # a conflict if their policies differed
