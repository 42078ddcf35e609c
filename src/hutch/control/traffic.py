"""How much machines send: read from the host's counters with every heartbeat, and before a machine's process ends.

A counter counts from the start of a process. What a machine sends while no service runs is not counted, and of a
process that dies what came after the last heartbeat: nothing is ever counted twice.

Where a machine's timers say so, what it receives and sends is also a use of it: as often as more than so many bytes
have come together, however many looks that takes. `Keeper` looks often enough for its idle time.
"""

import asyncio
from collections.abc import Callable, Iterable

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
    """Reads the counters; `Meter` keeps what they have grown by, and `touch` is told of a machine that was used."""

    def __init__(self, networks: Networks, meter: Meter, touch: Callable[[Entry], None]) -> None:
        self._networks = networks
        self._meter = meter
        self._touch = touch
        self._seen: dict[MachineId, int | None] = {}  # None: how much of it was counted before, nobody knows
        self._used: dict[MachineId, int | None] = {}  # bytes both ways when that last was its use; None: nobody knows
        self._reading = asyncio.Lock()  # two readers of one counter would count the same bytes

    async def adopt(self, entries: Iterable[Entry]) -> None:
        """These ran before this service did: what they have sent until now is not counted."""
        for entry in entries:
            self._seen[entry.machine.id] = self._used[entry.machine.id] = None
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
                traffic = await self._networks.traffic(machine.id)
                sent = traffic.sent
                before = self._seen.get(machine.id, 0)
                self._seen[machine.id] = sent
        except errors.Unsupported:  # QEMU's user network has no counters
            return
        except (TimeoutError, errors.HutchError) as error:
            log.warning("traffic cannot be counted now", machine=machine.id, error=str(error))
            return
        if before is not None and sent > before:
            self._meter.count_sent(machine, sent - before)
        self._note_use(entry, traffic.received + sent)

    def _note_use(self, entry: Entry, total: int) -> None:
        """What came while no service looked may have been a use: it is taken for one."""
        used, most = self._used.get(entry.machine.id, 0), entry.machine.timers.idle_bytes
        if most is None:
            self._used[entry.machine.id] = total
        elif used is None or total - used > most:
            self._used[entry.machine.id] = total
            self._touch(entry)

    def forget(self, machine: MachineId) -> None:
        """It is gone, or is about to have another process."""
        self._seen.pop(machine, None)
        self._used.pop(machine, None)
