"""Whether the published ports of machines accept connections: what a machine that serves something is ready by.

Each is tried until it has accepted once since its machine last began to run; then that is known. Looking at a machine
that sleeps never wakes it, and nothing is sent to a port.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from hutch.control.records import Entry
from hutch.host.interface import Networks
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.network import Endpoint
from hutch.model.states import State

LIMIT = 1.0
"""Seconds that a port may take to accept."""

AT_ONCE = 64
"""Connections that are tried at the same time."""


class Readiness:
    """Asks the ports of machines."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def find(self, entries: Iterable[Entry]) -> set[MachineId]:
        """Those that run and whose published ports all accept; without any, they do."""
        running = [entry for entry in entries if entry.machine.state is State.RUNNING]
        answers = await asyncio.gather(*(self._is_ready(entry) for entry in running))
        return {entry.machine.id for entry, is_ready in zip(running, answers, strict=True) if is_ready}

    async def _is_ready(self, entry: Entry) -> bool:
        machine = entry.machine
        now = (machine.ready_at, machine.ports)
        if machine.ports and entry.accepted != now:
            if not all(await asyncio.gather(*(self._accepts(machine.id, it.port) for it in machine.ports))):
                return False
            entry.accepted = now
        return True

    async def _accepts(self, machine: MachineId, port: int) -> bool:
        async with self._turn:
            try:
                async with asyncio.timeout(LIMIT):
                    return await _connects(await self._networks.endpoint(machine, port))
            except (TimeoutError, errors.HutchError):
                return False


async def _connects(endpoint: Endpoint) -> bool:
    try:
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
