"""Whether the published ports of machines accept connections: what a machine that serves something is ready by.

Each is tried until it has accepted once since its machine last began to run; then that is known. Looking at a machine
that sleeps never wakes it, and nothing is sent to a port.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Iterable

from hutch.control.records import Entry
from hutch.host.interface import Networks
from hutch.model import errors
from hutch.model.ids import MachineId, TenantId
from hutch.model.network import Endpoint
from hutch.model.states import State

LIMIT = 1.0
"""Seconds that a port may take to accept."""

AT_ONCE = 64
"""Connections to machines of one tenant that are tried at the same time: whose ports are silent keeps nobody else."""


class Readiness:
    """Asks the ports of machines."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._turns: weakref.WeakValueDictionary[TenantId, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def find(self, entries: Iterable[Entry]) -> set[MachineId]:
        """Those that run and whose published ports all accept; without any, they do."""
        running = [entry for entry in entries if entry.machine.state is State.RUNNING]
        answers = await asyncio.gather(*(self._is_ready(entry) for entry in running))
        return {entry.machine.id for entry, is_ready in zip(running, answers, strict=True) if is_ready}

    async def _is_ready(self, entry: Entry) -> bool:
        machine = entry.machine
        now = (machine.ready_at, machine.ports)
        if machine.ports and entry.accepted != now:
            turn = self._turns.setdefault(machine.tenant, asyncio.Semaphore(AT_ONCE))
            if not all(await asyncio.gather(*(self._accepts(turn, machine.id, it.port) for it in machine.ports))):
                return False
            entry.accepted = now
        return True

    async def _accepts(self, turn: asyncio.Semaphore, machine: MachineId, port: int) -> bool:
        async with turn:
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
