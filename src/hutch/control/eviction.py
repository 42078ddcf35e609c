"""Which sticky machines go when room on the disk is needed, and their going.

Only machines that say so of themselves and do not run: lowest priority first, of these the one longest not used.
"""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from hutch.control import timers
from hutch.control.records import Entry, Records
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.machine import Machine, Persistence
from hutch.model.states import State

log = structlog.get_logger(__name__)

GIB = 2**30


def in_order(machines: Iterable[Machine]) -> list[Machine]:
    """Those that may go, the first to go first."""
    going = [
        machine
        for machine in machines
        if machine.persistence is Persistence.STICKY and machine.state in (State.STOPPED, State.SUSPENDED)
    ]
    return sorted(going, key=lambda machine: (machine.priority, timers.last_use(machine)))


class Eviction:
    """Makes room. `destroy` deletes a machine for a cause, and tells whether it did: not one that somebody works on."""

    def __init__(
        self, records: Records, host: Host, destroy: Callable[[Entry, str], Awaitable[bool]], quota_gib: int
    ) -> None:
        self._records = records
        self._host = host
        self._destroy_idle = destroy
        self._quota = quota_gib * GIB

    async def enforce(self) -> None:
        """Destroy sticky machines until machines and snapshots take no more than the quota, if there is one."""
        if self._quota == 0:
            return
        sizes = {entry.machine.id: await self._size(entry) for entry in self._records.all()}
        used = sum(sizes.values()) + sum(snapshot.size for snapshot in self._host.snapshots())
        for machine in self._candidates():
            if used <= self._quota:
                return
            over = f"{(used - self._quota) / GIB:.2f} GiB"
            if await self._destroy(machine, f"the storage quota of {self._quota // GIB} GiB is exceeded by {over}"):
                used -= sizes.get(machine.id, 0)
        if used > self._quota:
            log.warning("the storage quota is exceeded and nothing sticky is left to destroy", bytes=used)

    async def make_room(self) -> bool:
        """The host's disk is full: destroy one. False if there is none."""
        for machine in self._candidates():
            if await self._destroy(machine, "the host's disk is full"):
                return True
        return False

    def _candidates(self) -> list[Machine]:
        return in_order(entry.machine for entry in self._records.all())

    async def _destroy(self, machine: Machine, why: str) -> bool:
        entry = self._records.get(machine.id)
        if entry is None or not in_order([entry.machine]):
            return False  # it was started, or went, meanwhile
        cause = f"{why}, and it is sticky with priority {machine.priority}"
        log.warning("destroying a sticky machine", machine=machine.id, name=machine.name, cause=cause)
        return await self._destroy_idle(entry, cause)

    async def _size(self, entry: Entry) -> int:
        try:
            return await self._host.storage(entry.machine.id)
        except errors.HutchError:
            return 0  # it went meanwhile
