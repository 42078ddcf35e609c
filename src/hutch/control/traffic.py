"""How much machines send: read from the host's counters with every heartbeat, and before a machine's process ends.

A counter counts from the start of a process. What a machine sends while no service runs is not counted, and of a
process that dies what came after the last heartbeat: nothing is ever counted twice.
"""

import asyncio
from collections.abc import Iterable

import structlog

from hutch.control.metering import Meter
from hutch.control.records import Entry
from hutch.host.interface import Networks
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.states import State

log = structlog.get_logger(__name__)

LIMIT = 5.0
"""Seconds a counter may take to be read; it is read again with the next heartbeat."""

_HAVE_COUNTERS = frozenset({State.RUNNING, State.PAUSED})


class TrafficMeter:
    """Reads the counters; `Meter` keeps what they have grown by."""

    def __init__(self, networks: Networks, meter: Meter) -> None:
        self._networks = networks
        self._meter = meter
        self._seen: dict[MachineId, int | None] = {}  # None: how much of it was counted before, nobody knows
        self._reading = asyncio.Lock()  # two readers of one counter would count the same bytes

    async def adopt(self, entries: Iterable[Entry]) -> None:
        """These ran before this service did: what they have sent until now is not counted."""
        for entry in entries:
            self._seen[entry.machine.id] = None
            await self.count(entry)

    async def count_all(self, entries: Iterable[Entry]) -> None:
        """Each of them."""
        for entry in entries:
            await self.count(entry)

    async def count(self, entry: Entry) -> None:
        """What it has sent since it was last looked at; nothing while it has no process."""
        machine = entry.machine
        if machine.state not in _HAVE_COUNTERS:
            return
        try:
            async with asyncio.timeout(LIMIT), self._reading:
                sent = (await self._networks.traffic(machine.id)).sent
                before = self._seen.get(machine.id, 0)
                self._seen[machine.id] = sent
        except errors.Unsupported:  # QEMU's user network has no counters
            return
        except (TimeoutError, errors.HutchError) as error:
            log.warning("traffic cannot be counted now", machine=machine.id, error=str(error))
            return
        if before is not None and sent > before:
            self._meter.count_sent(machine, sent - before)

    def forget(self, machine: MachineId) -> None:
        """It is gone, or is about to have another process."""
        self._seen.pop(machine, None)
